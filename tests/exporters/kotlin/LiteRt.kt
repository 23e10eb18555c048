// The parts of LiteRT's Java API that the snippets call. An interpreter refuses buffers of other sizes than its own, which
// are in `PATH.names`, with the outputs' on the second line.
package org.tensorflow.lite

import java.io.File
import java.nio.Buffer
import java.nio.FloatBuffer

class Tensor(private val count: Int) {
    fun numElements(): Int = count
}

class Interpreter(file: File, options: Options) {
    private val sizes = File("$file.names").readLines().map { line ->
        line.split(" ").map { shape -> shape.split("x").fold(1) { all, side -> all * side.toInt() } }
    }
    val outputTensorCount: Int get() = sizes[1].size

    fun getOutputTensorFromSignature(name: String, signature: String): Tensor {
        require(signature == "serving_default")
        return Tensor(sizes[1][name.removePrefix("output_").toInt()])
    }

    fun runSignature(inputs: Map<String, Any>, outputs: Map<String, Any>, signature: String) {
        require(signature == "serving_default")
        val fed = sizes[0].indices.map { (inputs.getValue("args_$it") as Buffer).remaining() }
        require(fed == sizes[0] && inputs.size == fed.size) { "fed $fed, reads ${sizes[0]}" }
        for ((i, count) in sizes[1].withIndex()) (outputs.getValue("output_$i") as FloatBuffer).put(FloatArray(count))
    }

    class Options {
        fun setNumThreads(count: Int) = this
    }
}
