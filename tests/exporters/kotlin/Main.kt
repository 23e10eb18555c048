// Prepares the photo of the second argument (width, height, then ARGB) and clicks on it with every snippet.
import android.graphics.Bitmap
import java.io.DataInputStream
import java.io.DataOutputStream
import java.io.File

fun main(arguments: Array<String>) {
    val (bundle, path, out) = arguments
    val photo = DataInputStream(File(path).inputStream().buffered()).use { file ->
        val (w, h) = listOf(file.readInt(), file.readInt())
        Bitmap(w, h, IntArray(w * h) { file.readInt() })
    }
    val prepared = Photo(photo)
    DataOutputStream(File(out).outputStream().buffered()).use { file ->
        file.writeFloat(prepared.scaleX)
        file.writeFloat(prepared.scaleY)
        prepared.pixels.forEach(file::writeFloat)
    }
    val clicks = listOf(3f to 4f, 10f to 2f)
    SegmentOnnx(bundle).apply { setImage(photo) }.predict(clicks, listOf(1L, 0L))
    for (previous in listOf(null, FloatArray(SegmentExecuTorch.LOW_RES * SegmentExecuTorch.LOW_RES))) {
        SegmentExecuTorch(bundle).apply { setImage(photo) }.predict(clicks, listOf(1, 0), previous)
        val lite = SegmentLiteRt(bundle).apply { setImage(photo) }
        repeat(2) { lite.predict(clicks, listOf(1, 0), previous) }
    }
    println("done")
}
