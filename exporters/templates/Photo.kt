// Prepares a photo for the image encoders of this bundle.
import android.graphics.Bitmap

/**
 * Resizes the photo's long side to the encoder's input (both sides if STRETCH), normalises it and pads it with zeros.
 * Apply the EXIF orientation first: a Bitmap has none.
 *
 * pixels: 3 x SIDE x SIDE, for @encoder.in.pixel_values@; scaleX, scaleY: pixels of the input per pixel of the photo
 */
class Photo(photo: Bitmap) {
    val pixels = FloatArray(3 * SIDE * SIDE)
    val scaleX: Float
    val scaleY: Float

    init {
        val ratio = SIDE.toFloat() / maxOf(photo.width, photo.height)
        val (w, h) = listOf(photo.width, photo.height).map { if (STRETCH) SIDE else maxOf((it * ratio + 0.5f).toInt(), 1) }
        var small = photo
        while (small.width >= 2 * w && small.height >= 2 * h) { // scaling reads four pixels, so larger steps would alias
            small = Bitmap.createScaledBitmap(small, small.width / 2, small.height / 2, true)
        }
        small = Bitmap.createScaledBitmap(small, w, h, true)
        val argb = IntArray(w * h).also { small.getPixels(it, 0, w, 0, 0, w, h) }
        fun level(at: Int, channel: Int) = (argb[at] shr (16 - 8 * channel)) and 0xFF
        var low = 255
        var high = 0
        for (at in argb.indices) for (c in 0..2) {
            low = minOf(low, level(at, c))
            high = maxOf(high, level(at, c))
        }
        val mean = if (MIN_MAX) FloatArray(3) { low.toFloat() } else MEAN
        val deviation = if (MIN_MAX) FloatArray(3) { maxOf(high - low, 1).toFloat() } else DEVIATION
        for (y in 0 until h) for (x in 0 until w) for (c in 0..2) {
            pixels[(c * SIDE + y) * SIDE + x] = (level(y * w + x, c) - mean[c]) / deviation[c]
        }
        scaleX = w.toFloat() / photo.width
        scaleY = h.toFloat() / photo.height
    }

    companion object {
        const val SIDE = @SIDE@
        const val STRETCH = @STRETCHES@ // whether photos are stretched to the square
        const val MIN_MAX = @MIN_MAX@ // whether the darkest level becomes 0 and the lightest 1
        val MEAN = floatArrayOf(@MEAN@) // grey levels, R G B
        val DEVIATION = floatArrayOf(@DEVIATION@)
    }
}
