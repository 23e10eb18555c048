// Segments a photo by clicks with the ExecuTorch programs of this bundle; needs Photo.kt beside it.
// build.gradle.kts:  implementation("org.pytorch:executorch-android:@tools.executorch@")
import android.graphics.Bitmap
import org.pytorch.executorch.EValue
import org.pytorch.executorch.Module
import org.pytorch.executorch.Tensor

class SegmentExecuTorch(bundle: String) {
    private val encoder = Module.load("$bundle/@encoder.path@")
    private val decoder = Module.load("$bundle/@decoder.path@")
    private lateinit var maps: List<EValue> // @encoder.out.image_embedding.name@, then finer maps if the decoder reads them
    private var scale = 1f to 1f // pixels of the prompts' frame per photo pixel, along x and y

    /** Call once per photo. */
    fun setImage(photo: Bitmap) {
        val prepared = Photo(photo)
        scale = prepared.scaleX * FRAME / Photo.SIDE to prepared.scaleY * FRAME / Photo.SIDE
        val input = Tensor.fromBlob(prepared.pixels, longArrayOf(@encoder.in.pixel_values.shape@)) // @encoder.in.0.name@
        maps = encoder.forward(EValue.from(input)).toList()
    }

    /**
     * Logits of three masks, LOW_RES x LOW_RES each in the frame of the padded input, and their predicted IoU.
     *
     * clicks: x, y in pixels of the photo; labels: 1 object, 0 background, 2 and 3 the corners of a box
     */
    fun predict(
        clicks: List<Pair<Float, Float>>,
        labels: List<Int>,
        previous: FloatArray? = null
    ): Pair<FloatArray, FloatArray> {
        val points = FloatArray(2 * SLOTS)
        val kinds = IntArray(SLOTS) { -10 } // an empty slot
        clicks.forEachIndexed { i, (x, y) ->
            points[2 * i] = x * scale.first
            points[2 * i + 1] = y * scale.second
            kinds[i] = labels[i]
        }
        val mask = previous ?: FloatArray(LOW_RES * LOW_RES)
        val hasMask = floatArrayOf(if (previous == null) 0f else 1f)
        val prompt = listOf(
            Tensor.fromBlob(points, longArrayOf(@decoder.in.points.shape@)), // @decoder.in.1.name@
            Tensor.fromBlob(kinds, longArrayOf(@decoder.in.labels.shape@)), // @decoder.in.2.name@
            Tensor.fromBlob(mask, longArrayOf(@decoder.in.mask_input.shape@)), // @decoder.in.3.name@
            Tensor.fromBlob(hasMask, longArrayOf(@decoder.in.has_mask_input.shape@)) // @decoder.in.4.name@
        ).map { EValue.from(it) }
        val inputs = maps.take(1) + prompt + maps.drop(1) // first @decoder.in.0.name@
        val outputs = decoder.forward(*inputs.toTypedArray())
        return outputs[@decoder.out.low_res_masks.index@].toTensor().dataAsFloatArray to outputs[@decoder.out.scores.index@].toTensor().dataAsFloatArray
    }

    companion object {
        const val FRAME = @FRAME@
        const val SLOTS = @SLOTS@
        const val LOW_RES = @LOW_RES@
    }
}
