// The parts of ExecuTorch's Java API that the snippets call. A module refuses inputs of other sizes than its own, which
// are in `PATH.names`, with the outputs' on the second line.
package org.pytorch.executorch

import java.io.File

class Tensor(val data: FloatArray?, private val sizes: LongArray) {
    val dataAsFloatArray: FloatArray get() = data!!
    fun shape(): LongArray = sizes

    companion object {
        @JvmStatic
        fun fromBlob(data: FloatArray, shape: LongArray) = Tensor(data, shape)

        @JvmStatic
        fun fromBlob(data: IntArray, shape: LongArray) = Tensor(null, shape)
    }
}

class EValue private constructor(private val value: Tensor) {
    fun toTensor(): Tensor = value

    companion object {
        @JvmStatic
        fun from(value: Tensor) = EValue(value)
    }
}

class Module private constructor(path: String) {
    private val sizes = File("$path.names").readLines().map { line ->
        line.split(" ").map { shape -> shape.split("x").map { it.toLong() } }
    }

    fun forward(vararg inputs: EValue): Array<EValue> {
        val fed = inputs.map { it.toTensor().shape().toList() }
        require(fed == sizes[0]) { "fed $fed, reads ${sizes[0]}" }
        return sizes[1].map { EValue.from(Tensor(FloatArray(1), it.toLongArray())) }.toTypedArray()
    }

    companion object {
        @JvmStatic
        fun load(path: String) = Module(path)
    }
}
