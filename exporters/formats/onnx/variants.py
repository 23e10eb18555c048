"""Converts an fp32 ONNX graph to another precision.

The choices come from measurements (see the table in docs/guide/export.md): int8 weights of convolutions with one scale
per channel lose little; quantised activations lose more, and break attention.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ...mixed.choice import MEAN_BITS
from ...mixed.compress import Compressed
from ...quiet import quiet
from .packed import pack

Feeds = Sequence[Mapping[str, np.ndarray]]
"""Inputs by name, for several runs."""

WEIGHTS = {"Conv": 0, "ConvTranspose": 1, "MatMul": 1, "Gemm": 0}
"""Operator -> axis of its weight's output channels (Gemm with transB)."""

INT8_ELEMENTS = 16384
"""Smaller weights are stored in half precision: they are few bytes, and the first layers lose the most in int8."""

HALF_ELEMENTS = 4096
"""Convolutions with fewer weights stay in fp32: they are the first ones, whose errors affect all later layers.
"""

FOUR_BITS_ELEMENTS = 65536
"""Matrix products with fewer weights get no 4 bits: those of cross-attention lose five times as much as MLPs.
"""

CLIPS = tuple(1 - i / 50 for i in range(16))
"""Fractions of a channel's largest weight that are tried as the maximum of its scale."""

FP16_LIMIT = 1e4
"""Nodes with larger values stay in fp32; the maximum of half precision is 65504."""


@dataclass(frozen=True)
class Context:
    """Inputs of a conversion.

    role: "encoder" or "decoder"
    feeds: inputs from real photos and prompts, for calibration
    compressed: the model whose graph it is, if its weights were rounded
    """

    role: str
    feeds: Feeds = field(default_factory=list)
    compressed: Compressed | None = None


def fp16(model: ModelProto, context: Context) -> ModelProto:
    """Half precision except for inputs, outputs, coordinates, positions, statistics of norms and small convolutions."""
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    keep = coordinate_nodes(model) | wide_nodes(model, context.feeds) | small_convolutions(model)
    keep_ops = [*DEFAULT_OP_BLOCK_LIST, "Resize", "InstanceNormalization", "ReduceMean", "ReduceSum", "Sin", "Cos"]
    for node in model.graph.node:
        if node.op_type == "LayerNormalization":
            stash = next((a.i for a in node.attribute if a.name == "stash_type"), TensorProto.FLOAT)
            if stash != TensorProto.FLOAT:
                keep.add(node.name)
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    with quiet("onnxruntime.transformers.float16"):
        half = convert_float_to_float16(
            copied, keep_io_types=True, op_block_list=keep_ops, node_block_list=sorted(keep)
        )
    return join_casts(half, model)


def join_casts(half: ModelProto, original: ModelProto) -> ModelProto:
    """Connect nodes kept in fp32 directly, without fp16 in between; changes the graph in place.

    The converter narrows the output of every kept node and widens it again for the next, and "widens" fp32 weights.
    """
    graph = half.graph
    inferred = onnx.shape_inference.infer_shapes(original).graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*inferred.value_info, *inferred.input)}

    def casts(to: int) -> list[NodeProto]:
        return [n for n in graph.node if n.op_type == "Cast" and any(a.name == "to" and a.i == to for a in n.attribute)]

    # Casts of the original graph, such as of integers, now go to fp16 too; unknown names are the converter's.
    narrowed = {
        n.output[0]: n.input[0]
        for n in casts(TensorProto.FLOAT16)
        if types.get(n.input[0], TensorProto.FLOAT) == TensorProto.FLOAT
    }
    outputs = {o.name for o in graph.output}
    instead = {
        n.output[0]: narrowed[n.input[0]]
        for n in casts(TensorProto.FLOAT)
        if n.input[0] in narrowed and n.output[0] not in outputs
    }
    single = {t.name for t in graph.initializer if t.data_type == TensorProto.FLOAT}
    instead |= {n.output[0]: n.input[0] for n in casts(TensorProto.FLOAT) if n.input[0] in single - outputs}
    for node in graph.node:
        for i, name in enumerate(node.input):
            while name in instead:
                name = instead[name]
            node.input[i] = name
    del graph.value_info[:]  # their types have changed
    drop_dead_nodes(half)
    return half


def drop_dead_nodes(model: ModelProto) -> None:
    """Remove nodes and weights that no output needs; the nodes may be in any order."""
    graph = model.graph
    made_by = {name: node for node in graph.node for name in node.output}
    needed: set[str] = set()
    left = [o.name for o in graph.output]
    while left:
        name = left.pop()
        if name not in needed:
            needed.add(name)
            if name in made_by:
                left += [*made_by[name].input]
                needed.update(made_by[name].output)
    kept = [node for node in graph.node if needed & set(node.output)]
    del graph.node[:]
    graph.node.extend(kept)
    weights = [t for t in graph.initializer if t.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(weights)


def int8(model: ModelProto, context: Context) -> ModelProto:
    """Large weights in int8 with a scale per output channel, small ones in fp16; arithmetic in fp32."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    graph = copied.graph
    initializers = {t.name: t for t in graph.initializer}
    nodes = []
    for name, axis in _weight_uses(copied, initializers).items():
        weight = numpy_helper.to_array(initializers[name])
        if weight.dtype != np.float32 or weight.size < HALF_ELEMENTS:
            continue
        graph.initializer.remove(initializers[name])
        depthwise = weight.ndim == 4 and weight.shape[1] == 1
        if weight.size < INT8_ELEMENTS or depthwise:
            graph.initializer.append(numpy_helper.from_array(weight.astype(np.float16), f"{name}_half"))
            nodes.append(helper.make_node("Cast", [f"{name}_half"], [name], name=f"{name}_cast", to=TensorProto.FLOAT))
            continue
        levels, scale = quantize(weight, axis)
        graph.initializer.append(numpy_helper.from_array(levels, f"{name}_int8"))
        graph.initializer.append(numpy_helper.from_array(scale, f"{name}_scale"))
        inputs = [f"{name}_int8", f"{name}_scale"]
        nodes.append(helper.make_node("DequantizeLinear", inputs, [name], name=f"{name}_dequantize", axis=axis))
    _put_first(graph, nodes)
    return copied


def quantize(weight: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric int8 levels, and for each channel along ``axis`` the scale with the lowest squared error."""
    other = tuple(i for i in range(weight.ndim) if i != axis)
    largest = np.abs(weight).max(other, keepdims=True)
    least, scale = np.full(largest.shape, np.inf), np.ones(largest.shape, np.float32)
    for clip in CLIPS:
        tried = np.where(largest > 0, largest * np.float32(clip / 127), 1).astype(np.float32)
        error = (((np.rint(weight / tried).clip(-127, 127) * tried) - weight) ** 2).sum(other, keepdims=True)
        scale = np.where(error < least, tried, scale)
        least = np.minimum(error, least)
    return np.rint(weight / scale).clip(-127, 127).astype(np.int8), scale.reshape(-1)


def int8_dynamic(model: ModelProto, context: Context) -> ModelProto:
    """Matrix products with uint8 activations (ranges set at run time) and int8 weights; convolutions as in `int8`."""
    from onnxruntime.quantization import QuantType

    return int8(_dynamic(model, ["MatMul", "Gemm"], QuantType.QInt8), context)


def uint8(model: ModelProto, context: Context) -> ModelProto:
    """As `int8_dynamic`, with weights in uint8, for runtimes without signed kernels."""
    from onnxruntime.quantization import QuantType

    return int8(_dynamic(model, ["MatMul", "Gemm"], QuantType.QUInt8), context)


def int8_static(model: ModelProto, context: Context) -> ModelProto:
    """The encoder's large convolutions in int8 with activation ranges from photos (QDQ), the rest as `int8`.

    Quantised activations are too inaccurate for attention, the decoder, depthwise convolutions, the small first ones
    and the neck, whose output is the embedding.
    """
    if context.role != "encoder" or not any(node.op_type == "Conv" for node in model.graph.node):
        return int8(model, context)
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Photos(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(context.feeds)

        def get_next(self) -> dict[str, np.ndarray] | None:
            feed = next(self.left, None)
            return None if feed is None else dict(feed)

    with TemporaryDirectory() as folder:
        before, after = Path(folder, "before.onnx"), Path(folder, "after.onnx")
        onnx.save(model, before)
        with quiet("root"):
            quantize_static(
                before,
                after,
                Photos(),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv"],
                nodes_to_exclude=_sensitive(model),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={"CalibMovingAverage": False},
            )
        return int8(onnx.load(after), context)


def q4(model: ModelProto, context: Context) -> ModelProto:
    """Weights of large matrix products in 4 bits, in blocks of 16 (MatMulNBits); the rest as in `int8`."""
    return int8(_four_bits(model), context)


def q4f16(model: ModelProto, context: Context) -> ModelProto:
    """As `q4`, with the rest in half precision instead of int8."""
    return _four_bits(fp16(model, context))


def mixed(model: ModelProto, context: Context) -> ModelProto:
    """Weights in as many bits as `mixed.compress` gave each layer; the rest as in `int8`.

    model: the graph of ``context.compressed``
    """
    if context.compressed is None:
        raise ValueError("this variant needs a model with rounded weights")
    return int8(pack(model, context.compressed.find, coordinate_nodes(model)), context)


CONVERSIONS: dict[str, Callable[[ModelProto, Context], ModelProto]] = {
    "fp32": lambda model, context: model,
    "fp16": fp16,
    "int8": int8,
    "int8-dynamic": int8_dynamic,
    "int8-static": int8_static,
    "uint8": uint8,
    "q4": q4,
    "q4f16": q4f16,
    **dict.fromkeys(MEAN_BITS, mixed),
}


def coordinate_nodes(model: ModelProto) -> set[str]:
    """Names of the nodes that compute positions: sines, cosines and everything before them."""
    made_by = {name: node for node in model.graph.node for name in node.output}
    left = [node for node in model.graph.node if node.op_type in ("Sin", "Cos")]
    found: set[str] = set()
    while left:
        node = left.pop()
        if node.name not in found:
            found.add(node.name)
            left += [made_by[name] for name in node.input if name in made_by]
    return found


def small_convolutions(model: ModelProto) -> set[str]:
    """Names of the convolutions with fewer than `HALF_ELEMENTS` weights."""
    return _with_few_weights(model, "Conv", HALF_ELEMENTS)


def _with_few_weights(model: ModelProto, operator: str, limit: int) -> set[str]:
    """Names of an operator's nodes whose weights have fewer numbers; non-constant weights count as none."""
    sizes = {t.name: int(np.prod(t.dims)) for t in model.graph.initializer}
    nodes = (node for node in model.graph.node if node.op_type == operator)
    return {node.name for node in nodes if sizes.get(node.input[1], 0) < limit}


def wide_nodes(model: ModelProto, feeds: Feeds) -> set[str]:
    """Names of the nodes with inputs or outputs near the maximum of half precision on real inputs."""
    if not feeds:
        return set()
    ranges = activation_ranges(model, feeds)
    return {
        node.name
        for node in model.graph.node
        if any(not ranges.get(name, 0) <= FP16_LIMIT for name in (*node.input, *node.output))
    }


def activation_ranges(model: ModelProto, feeds: Feeds) -> dict[str, float]:
    """Largest |value| of every float tensor over the feeds; only this number is kept in memory."""
    import onnxruntime

    inferred = onnx.shape_inference.infer_shapes(model)
    types = {v.name: v.type.tensor_type.elem_type for v in inferred.graph.value_info}
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    graph = probed.graph
    names, nodes = [], []
    del graph.output[:]
    for node in graph.node:
        nodes.append(node)
        for name in node.output:
            if types.get(name) == TensorProto.FLOAT:
                probe = f"probe_{len(names)}"
                nodes.append(helper.make_node("Abs", [name], [f"{probe}_abs"]))
                nodes.append(helper.make_node("ReduceMax", [f"{probe}_abs"], [probe], keepdims=0))
                graph.output.append(helper.make_tensor_value_info(probe, TensorProto.FLOAT, []))
                names.append(name)
    del graph.node[:]
    graph.node.extend(nodes)
    options = onnxruntime.SessionOptions()
    # Run in the file's order; onnxruntime's default order runs the probes last, with every tensor still in memory.
    options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(probed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = np.max([session.run(None, dict(feed)) for feed in feeds], axis=0)
    return dict(zip(names, map(float, found), strict=True))


def _weight_uses(model: ModelProto, initializers: Mapping[str, TensorProto]) -> dict[str, int]:
    """Weight -> axis of its output channels, for weights that all nodes use along the same axis."""
    axes: dict[str, set[int | None]] = {}
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name in initializers:
                axes.setdefault(name, set()).add(_axis(node, place, initializers[name]))
    return {name: next(iter(found)) for name, found in axes.items() if len(found) == 1 and None not in found}


def _axis(node: NodeProto, place: int, weight: TensorProto) -> int | None:
    if node.op_type not in WEIGHTS or place != 1 or (node.op_type in ("MatMul", "Gemm") and len(weight.dims) != 2):
        return None
    if node.op_type == "Gemm" and not any(a.name == "transB" and a.i for a in node.attribute):
        return 1
    if node.op_type == "ConvTranspose" and any(a.name == "group" and a.i > 1 for a in node.attribute):
        return None
    return WEIGHTS[node.op_type]


def _put_first(graph: Any, nodes: list[NodeProto]) -> None:
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])


def _sensitive(model: ModelProto) -> list[str]:
    """Names of convolutions whose activations must not be quantised."""
    weights = {t.name: t.dims for t in model.graph.initializer}
    width = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    found = []
    for node in model.graph.node:
        if node.op_type == "Conv":
            shape = weights.get(node.input[1], (0, 1))
            if shape[1] == 1 or shape[0] == width or int(np.prod(shape)) < INT8_ELEMENTS:
                found.append(node.name)
    return found


def _dynamic(model: ModelProto, operators: list[str], weights: Any) -> ModelProto:
    from onnxruntime.quantization import quantize_dynamic

    with TemporaryDirectory() as folder:
        before, after = Path(folder, "before.onnx"), Path(folder, "after.onnx")
        onnx.save(model, before)
        skip = sorted(coordinate_nodes(model))
        with quiet("root"):
            quantize_dynamic(before, after, op_types_to_quantize=operators, weight_type=weights, nodes_to_exclude=skip)
        return onnx.load(after)


def _four_bits(model: ModelProto) -> ModelProto:
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    skip = sorted(_with_few_weights(model, "MatMul", FOUR_BITS_ELEMENTS) | coordinate_nodes(model))
    quantizer = MatMulNBitsQuantizer(copied, block_size=16, is_symmetric=False, nodes_to_exclude=skip)
    with quiet("onnxruntime.quantization.matmul_nbits_quantizer"):
        quantizer.process()
    return quantizer.model.model
