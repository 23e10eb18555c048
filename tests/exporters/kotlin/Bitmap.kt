// The parts of Android's Bitmap that the snippets call; scaling takes the mean of whole blocks, or the nearest pixel.
package android.graphics

class Bitmap(val width: Int, val height: Int, private val argb: IntArray) {
    fun getPixels(to: IntArray, offset: Int, stride: Int, x: Int, y: Int, w: Int, h: Int) {
        for (row in 0 until h) for (column in 0 until w) {
            to[offset + row * stride + column] = argb[(y + row) * width + x + column]
        }
    }

    companion object {
        @JvmStatic
        fun createScaledBitmap(from: Bitmap, w: Int, h: Int, filter: Boolean): Bitmap {
            require(w > 0 && h > 0 && filter)
            if (w == from.width && h == from.height) return from
            return Bitmap(w, h, IntArray(w * h) { from.argb[it / w * from.height / h * from.width + it % w * from.width / w] })
        }
    }
}
