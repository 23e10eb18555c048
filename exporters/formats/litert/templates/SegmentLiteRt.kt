// Segments a photo by clicks with the LiteRT files of this bundle; needs Photo.kt beside it.
// build.gradle.kts:  implementation("com.google.ai.edge.litert:litert:1.4.0")
import android.graphics.Bitmap
import java.io.File
import java.nio.FloatBuffer
import java.nio.IntBuffer
import org.tensorflow.lite.Interpreter

class SegmentLiteRt(bundle: String, threads: Int = 4) {
    private val options = Interpreter.Options().setNumThreads(threads)
    private val encoder = Interpreter(File("$bundle/@encoder.path@"), options)
    private val decoder = Interpreter(File("$bundle/@decoder.path@"), options)
    private val maps = (0 until encoder.outputTensorCount).map { // @encoder.out.image_embedding.name@, then finer maps
        FloatBuffer.allocate(encoder.getOutputTensorFromSignature("output_$it", SIGNATURE).numElements())
    }
    private var scale = 1f to 1f // pixels of the prompts' frame per photo pixel, along x and y

    /** Call once per photo. */
    fun setImage(photo: Bitmap) {
        val prepared = Photo(photo)
        scale = prepared.scaleX * FRAME / Photo.SIDE to prepared.scaleY * FRAME / Photo.SIDE
        maps.forEach { it.rewind() }
        encoder.runSignature( // @encoder.in.0.name@: @encoder.in.pixel_values.shape@
            mapOf("args_@encoder.in.pixel_values.index@" to FloatBuffer.wrap(prepared.pixels)),
            maps.withIndex().associate { (i, map) -> "output_$i" to map },
            SIGNATURE
        )
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
        maps.forEach { it.rewind() }
        val prompt = mapOf(
            "args_@decoder.in.image_embedding.index@" to maps[0],
            "args_@decoder.in.points.index@" to FloatBuffer.wrap(points),
            "args_@decoder.in.labels.index@" to IntBuffer.wrap(kinds),
            "args_@decoder.in.mask_input.index@" to FloatBuffer.wrap(previous ?: FloatArray(LOW_RES * LOW_RES)),
            "args_@decoder.in.has_mask_input.index@" to FloatBuffer.wrap(floatArrayOf(if (previous == null) 0f else 1f))
        )
        val finer = maps.drop(1).withIndex().associate { (i, map) -> "args_${FIRST_MAP + i}" to map }
        val results = (0 until decoder.outputTensorCount).associate {
            "output_$it" to FloatBuffer.allocate(decoder.getOutputTensorFromSignature("output_$it", SIGNATURE).numElements())
        }
        decoder.runSignature(prompt + finer, results, SIGNATURE)
        return results["output_@decoder.out.low_res_masks.index@"]!!.array() to results["output_@decoder.out.scores.index@"]!!.array()
    }

    companion object {
        const val SIGNATURE = "serving_default"
        const val FIRST_MAP = 5 // the decoder's first input behind those of the prompt
        const val FRAME = @FRAME@
        const val SLOTS = @SLOTS@
        const val LOW_RES = @LOW_RES@
    }
}
