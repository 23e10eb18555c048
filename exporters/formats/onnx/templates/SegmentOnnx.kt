// Segments a photo by clicks with the ONNX files of this bundle; needs Photo.kt beside it.
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

    /** Call once per photo. */
    fun setImage(photo: Bitmap) {
        val prepared = Photo(photo)
        scale = prepared.scaleX to prepared.scaleY
        val side = Photo.SIDE.toLong()
        encoded = encoder.run(mapOf("@encoder.in.pixel_values@" to floats(prepared.pixels, 1, 3, side, side)))
    }

    /**
     * Predicted IoU (1, 1, 3) and logits of three masks (1, 1, 3, h, w) in the frame of the padded input.
     *
     * clicks: x, y in pixels of the photo; labels: 1 object, 0 background, 2 and 3 the corners of a box
     * previous: logits of a mask, only for files exported with --true-inputs: Java cannot feed an optional input
     */
    fun predict(
        clicks: List<Pair<Float, Float>>,
        labels: List<Long>,
        previous: FloatArray? = null
    ): Pair<OnnxTensor, OnnxTensor> {
        val count = clicks.size.toLong()
        val points = clicks.flatMap { (x, y) -> listOf(x * scale.first, y * scale.second) }.toFloatArray()
        val kinds = LongBuffer.wrap(labels.toLongArray())
        val prompt = mutableMapOf(
            "@decoder.in.input_points@" to floats(points, 1, 1, count, 2),
            "@decoder.in.input_labels@" to OnnxTensor.createTensor(environment, kinds, longArrayOf(1, 1, count))
        )
        if ("mask_input" in decoder.inputNames) {
            prompt["mask_input"] = floats(previous ?: FloatArray(LOW_RES * LOW_RES), 1, 1, LOW_RES.toLong(), LOW_RES.toLong())
            prompt["has_mask_input"] = floats(floatArrayOf(if (previous == null) 0f else 1f), 1)
        } else {
            require(previous == null) { "this decoder takes no mask; export the model with --true-inputs" }
        }
        if ("input_boxes" in decoder.inputNames) prompt["input_boxes"] = floats(FloatArray(0), 1, 0, 4) // see labels
        val maps = encoder.outputNames.filter { it in decoder.inputNames } // the embedding, and what else the decoder reads
        val found = decoder.run(prompt + maps.associateWith { encoded.get(it).get() as OnnxTensor })
        return found.get("@decoder.out.iou_scores@").get() as OnnxTensor to found.get("@decoder.out.pred_masks@").get() as OnnxTensor
    }

    private fun floats(values: FloatArray, vararg shape: Long) =
        OnnxTensor.createTensor(environment, FloatBuffer.wrap(values), shape)

    companion object {
        const val LOW_RES = @LOW_RES@
    }
}
