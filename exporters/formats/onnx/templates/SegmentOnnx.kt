// Segments a photo by clicks with the ONNX files of this bundle.
// build.gradle.kts:  implementation("com.microsoft.onnxruntime:onnxruntime-android:1.23.0")
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import android.graphics.Bitmap
import java.nio.FloatBuffer
import java.nio.LongBuffer

class SegmentOnnx(bundle: String) {
    private val environment = OrtEnvironment.getEnvironment()
    private val encoder = environment.createSession("$bundle/@encoder.path@")
    private val decoder = environment.createSession("$bundle/@decoder.path@")
    private lateinit var encoded: OrtSession.Result
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
        scale = w.toFloat() / photo.width to h.toFloat() / photo.height
        val input = floats(pixels, 1, 3, SIDE.toLong(), SIDE.toLong())
        encoded = encoder.run(mapOf("@encoder.in.pixel_values@" to input))
    }

    /**
     * Predicted IoU (1, 1, 3) and logits of three masks (1, 1, 3, h, w) in the frame of the padded input.
     *
     * clicks: x, y in pixels of the photo; labels: 1 object, 0 background, 2 and 3 the corners of a box
     */
    fun predict(clicks: List<Pair<Float, Float>>, labels: List<Long>): Pair<OnnxTensor, OnnxTensor> {
        val count = clicks.size.toLong()
        val points = clicks.flatMap { (x, y) -> listOf(x * scale.first, y * scale.second) }.toFloatArray()
        val kinds = LongBuffer.wrap(labels.toLongArray())
        val found = decoder.run(
            mapOf(
                "@decoder.in.image_embeddings@" to encoded.get("@encoder.out.image_embeddings@").get() as OnnxTensor,
                "@decoder.in.image_positional_embeddings@" to
                    encoded.get("@encoder.out.image_positional_embeddings@").get() as OnnxTensor,
                "@decoder.in.input_points@" to floats(points, 1, 1, count, 2),
                "@decoder.in.input_labels@" to OnnxTensor.createTensor(environment, kinds, longArrayOf(1, 1, count)),
            ),
        )
        return found.get("@decoder.out.iou_scores@").get() as OnnxTensor to found.get("@decoder.out.pred_masks@").get() as OnnxTensor
    }

    private fun floats(values: FloatArray, vararg shape: Long) =
        OnnxTensor.createTensor(environment, FloatBuffer.wrap(values), shape)

    companion object {
        const val SIDE = @SIDE@
        const val STRETCH = @STRETCHES@ // whether photos are stretched to the square
        val MEAN = floatArrayOf(@MEAN@) // grey levels, R G B
        val DEVIATION = floatArrayOf(@DEVIATION@)
    }
}
