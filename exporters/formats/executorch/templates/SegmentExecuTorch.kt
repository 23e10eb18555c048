// Segments a photo by clicks with the ExecuTorch programs of this bundle.
// build.gradle.kts:  implementation("org.pytorch:executorch-android:@tools.executorch@")
import android.graphics.Bitmap
import org.pytorch.executorch.EValue
import org.pytorch.executorch.Module
import org.pytorch.executorch.Tensor

class SegmentExecuTorch(bundle: String) {
    private val encoder = Module.load("$bundle/@encoder.path@")
    private val decoder = Module.load("$bundle/@decoder.path@")
    private lateinit var embedding: Tensor // @encoder.out.image_embedding.shape@
    private var scale = 1f to 1f // input pixels per photo pixel, along x and y

    /**
     * Call once per photo. Resizes its long side to the input's (both sides if STRETCH), normalises it and pads it with
     * zeros. Apply the EXIF orientation first: a Bitmap has none.
     */
    fun setImage(photo: Bitmap) {
        val ratio = SIDE.toFloat() / maxOf(photo.width, photo.height)
        val (w, h) = listOf(photo.width, photo.height).map { if (STRETCH) SIDE else (it * ratio + 0.5f).toInt() }
        val small = Bitmap.createScaledBitmap(photo, w, h, true)
        val argb = IntArray(w * h).also { small.getPixels(it, 0, w, 0, 0, w, h) }
        val pixels = FloatArray(3 * SIDE * SIDE)
        for (y in 0 until h) for (x in 0 until w) for (c in 0..2) {
            val level = (argb[y * w + x] shr (16 - 8 * c)) and 0xFF
            pixels[c * SIDE * SIDE + y * SIDE + x] = (level - MEAN[c]) / DEVIATION[c]
        }
        scale = w.toFloat() / photo.width * FRAME / SIDE to h.toFloat() / photo.height * FRAME / SIDE
        val input = Tensor.fromBlob(pixels, longArrayOf(@encoder.in.pixel_values.shape@)) // @encoder.in.0.name@
        embedding = encoder.forward(EValue.from(input))[0].toTensor()
    }

    /**
     * Logits of three masks, LOW_RES x LOW_RES each in the frame of the padded input, and their predicted IoU.
     *
     * clicks: x, y in pixels of the photo; labels: 1 object, 0 background, 2 and 3 the corners of a box
     */
    fun predict(clicks: List<Pair<Float, Float>>, labels: List<Int>, previous: FloatArray? = null): Pair<FloatArray, FloatArray> {
        val points = FloatArray(2 * SLOTS)
        val kinds = IntArray(SLOTS) { -10 } // an empty slot
        clicks.forEachIndexed { i, (x, y) ->
            points[2 * i] = x * scale.first
            points[2 * i + 1] = y * scale.second
            kinds[i] = labels[i]
        }
        val outputs = decoder.forward( // in this order
            EValue.from(embedding), // @decoder.in.0.name@
            EValue.from(Tensor.fromBlob(points, longArrayOf(@decoder.in.points.shape@))), // @decoder.in.1.name@
            EValue.from(Tensor.fromBlob(kinds, longArrayOf(@decoder.in.labels.shape@))), // @decoder.in.2.name@
            EValue.from(Tensor.fromBlob(previous ?: FloatArray(LOW_RES * LOW_RES), longArrayOf(@decoder.in.mask_input.shape@))), // @decoder.in.3.name@
            EValue.from(Tensor.fromBlob(floatArrayOf(if (previous == null) 0f else 1f), longArrayOf(@decoder.in.has_mask_input.shape@))), // @decoder.in.4.name@
        )
        return outputs[@decoder.out.low_res_masks.index@].toTensor().dataAsFloatArray to outputs[@decoder.out.scores.index@].toTensor().dataAsFloatArray
    }

    companion object {
        const val SIDE = @SIDE@
        const val STRETCH = @STRETCHES@ // whether photos are stretched to the square
        const val FRAME = @FRAME@
        const val SLOTS = @SLOTS@
        const val LOW_RES = @LOW_RES@
        val MEAN = floatArrayOf(@MEAN@) // grey levels, R G B
        val DEVIATION = floatArrayOf(@DEVIATION@)
    }
}
