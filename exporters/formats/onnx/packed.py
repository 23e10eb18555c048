"""Weights of 4 to 8 bits in an ONNX graph, unpacked by operations that every runtime has: Cast, Gather, Add, Mul.

A byte holds two levels of 4 bits. Levels of 5 and 6 bits are those and a second tensor of 1 or 2 bits a level, 8 or 4
to a byte. A table has the levels of each of the 256 bytes, so that one Gather unpacks them in order. Runtimes compute
all of this once, when they load the graph.
"""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ...mixed.levels import FEWEST_NUMBERS, Levels
from ...mixed.products import factored

WIDTHS = (4, 5, 6, 8)


def pack(model: ModelProto, find: Callable[[np.ndarray], Levels | None], keep: set[str]) -> ModelProto:
    """A copy in which weights are bytes, maps of low rank are products, and large vectors are in half precision.

    find: weight -> its levels, or None
    keep: nodes whose constants are not rounded to half precision
    """
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    graph = copied.graph
    kept = {name for node in graph.node if node.name in keep for name in node.input} | {i.name for i in graph.input}
    packer = _Packer(graph)
    for tensor in list(graph.initializer):
        if tensor.data_type != TensorProto.FLOAT or tensor.name in kept:
            continue
        values = numpy_helper.to_array(tensor)
        if values.size < FEWEST_NUMBERS:
            continue
        if (levels := find(values)) is not None:
            packer.replace(tensor, lambda name, levels=levels: packer.levels(name, levels))
        elif (factors := factored(values)) is not None:
            packer.replace(tensor, lambda name, factors=factors: packer.product(name, factors))
        elif values.ndim == 1:
            packer.replace(tensor, lambda name, values=values: packer.half(name, values))
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*packer.nodes, *rest])
    return copied


def planes_of(levels: np.ndarray, bits: int) -> list[tuple[int, np.ndarray]]:
    """Levels of 4, 5 or 6 bits -> (bits of a part, its bytes): the upper 4 bits, and the lower 1 or 2."""
    flat = levels.reshape(-1).astype(np.int16) + 2 ** (bits - 1)
    parts = [(4, flat >> (bits - 4))] + ([(bits - 4, flat & (2 ** (bits - 4) - 1))] if bits > 4 else [])
    return [(width, _bytes(part, width)) for width, part in parts]


def _bytes(part: np.ndarray, width: int) -> np.ndarray:
    """The first number is in the lowest bits."""
    grouped = part.reshape(-1, 8 // width) << (width * np.arange(8 // width))
    return grouped.sum(-1).astype(np.uint8)


def table_of(width: int, bits: int) -> np.ndarray:
    """(256, 8 // width) int8: what each byte of a part adds to the levels."""
    parts = np.arange(256)[:, None] >> (width * np.arange(8 // width)) & (2**width - 1)
    return (parts if width < 4 else (parts - 8) * 2 ** (bits - 4)).astype(np.int8)


class _Packer:
    """Collects the nodes that compute what initializers held."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.nodes: list[NodeProto] = []
        self._tables: dict[tuple[int, int], str] = {}

    def replace(self, tensor: TensorProto, write: Callable[[str], None]) -> None:
        self.graph.initializer.remove(tensor)
        write(tensor.name)

    def levels(self, name: str, levels: Levels) -> None:
        scale = self._cast(self._stored(f"{name}_s", levels.scale))
        if levels.bits == 8:
            numbers = self._cast(self._stored(f"{name}_8", levels.levels))
        else:
            parts = []
            for width, packed in planes_of(levels.levels, levels.bits):
                byte = self._cast(self._stored(f"{name}_{width}", packed), TensorProto.INT32)
                part = self._node("Gather", [self._table(width, levels.bits), byte], f"{name}_g{width}")
                parts.append(self._node("Reshape", [part, self._shape(levels.levels.shape)], f"{name}_r{width}"))
            numbers = parts[0] if len(parts) == 1 else self._node("Add", parts, f"{name}_l")
        self._node("Mul", [numbers, scale], name)

    def product(self, name: str, factors: tuple[np.ndarray, np.ndarray]) -> None:
        stored = [self._stored(f"{name}_{i}", factor) for i, factor in enumerate(factors)]
        self._node("MatMul", stored, name)

    def half(self, name: str, values: np.ndarray) -> None:
        self._node("Cast", [self._stored(f"{name}_h", values.astype(np.float16))], name, to=TensorProto.FLOAT)

    def _stored(self, name: str, values: np.ndarray) -> str:
        self.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: int) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"{output}_n", **attributes))
        return output

    def _cast(self, name: str, to: int = TensorProto.FLOAT) -> str:
        return self._node("Cast", [name], f"{name}c", to=to)

    def _shape(self, shape: tuple[int, ...]) -> str:
        name = f"shape_{'_'.join(map(str, shape))}"
        if not any(tensor.name == name for tensor in self.graph.initializer):
            self._stored(name, np.array(shape, np.int64))
        return name

    def _table(self, width: int, bits: int) -> str:
        key = (width, bits if width == 4 else 0)
        if key not in self._tables:
            self._tables[key] = self._cast(self._stored(f"table_{key[0]}_{key[1]}", table_of(width, bits)))
        return self._tables[key]
