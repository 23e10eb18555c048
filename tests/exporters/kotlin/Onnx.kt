// The parts of onnxruntime's Java API that the snippets call. A session refuses to run without exactly its inputs, which
// are in `PATH.names`, with the outputs on the second line.
package ai.onnxruntime

import java.io.File
import java.nio.FloatBuffer
import java.nio.LongBuffer
import java.util.Optional

interface OnnxValue

class OnnxTensor(val count: Int, val shape: LongArray) : OnnxValue {
    companion object {
        private fun checked(count: Int, shape: LongArray): OnnxTensor {
            require(shape.fold(1L) { all, side -> all * side } == count.toLong()) { "$count values in ${shape.toList()}" }
            return OnnxTensor(count, shape)
        }

        @JvmStatic
        fun createTensor(environment: OrtEnvironment, data: FloatBuffer, shape: LongArray) = checked(data.remaining(), shape)

        @JvmStatic
        fun createTensor(environment: OrtEnvironment, data: LongBuffer, shape: LongArray) = checked(data.remaining(), shape)
    }
}

class OrtSession(path: String) {
    private val names = File("$path.names").readLines().map { it.split(" ").toSet() }
    val inputNames: Set<String> get() = names[0]
    val outputNames: Set<String> get() = names[1]

    fun run(inputs: Map<String, OnnxTensor>): Result {
        require(inputs.keys == inputNames) { "fed ${inputs.keys}, reads $inputNames" }
        return Result(outputNames.associateWith { OnnxTensor(0, LongArray(0)) })
    }

    class Result(private val values: Map<String, OnnxValue>) {
        fun get(name: String): Optional<OnnxValue> = Optional.ofNullable(values[name])
    }
}

class OrtEnvironment {
    fun createSession(path: String) = OrtSession(path)

    companion object {
        @JvmStatic
        fun getEnvironment() = OrtEnvironment()
    }
}
