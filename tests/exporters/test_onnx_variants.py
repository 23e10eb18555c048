"""Accuracy of the reduced precisions, and which weights they change."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from sam_hub.exporters.formats import FORMATS
from sam_hub.exporters.formats.onnx.export import _make_optional
from sam_hub.exporters.formats.onnx.runner import TransformersJsRunner
from sam_hub.exporters.formats.onnx.variants import (
    CONVERSIONS,
    FOUR_BITS_ELEMENTS,
    HALF_ELEMENTS,
    Context,
    activation_ranges,
    coordinate_nodes,
    fp16,
    quantize,
)
from sam_hub.exporters.gate import compare, prove
from sam_hub.exporters.proof import Proof

from .test_to_onnx import DECODER, ENCODER, session


def plain(path) -> onnx.ModelProto:
    """A decoder before its optional inputs got defaults."""
    model = onnx.load(path)
    names = {i.name for i in model.graph.input}
    for tensor in [t for t in model.graph.initializer if t.name in names]:
        model.graph.initializer.remove(tensor)
    return model


@pytest.fixture(scope="module")
def converted(repvit_bundle, tmp_path_factory):
    """Variant -> the two graphs in it, and their runner."""
    _, bundle = repvit_bundle
    proof = Proof.load(bundle)
    feeds = [{"pixel_values": case.image.pixel_values} for case in proof.cases]

    def make(variant: str):
        graphs, paths = [], []
        for role, name in (("encoder", ENCODER), ("decoder", DECODER)):
            context = Context(role, feeds if role == "encoder" else [])
            graphs.append(CONVERSIONS[variant](plain(bundle / name), context))
            paths.append(tmp_path_factory.mktemp(variant) / "graph.onnx")
            if role == "decoder":
                _make_optional(graphs[-1])
            onnx.save(graphs[-1], paths[-1])
        return graphs, compare(TransformersJsRunner(*paths), proof)

    return make


def kinds(model: onnx.ModelProto) -> set[int]:
    return {tensor.data_type for tensor in model.graph.initializer}


@pytest.mark.parametrize("variant", ["fp16", "int8", "int8-dynamic", "int8-static", "uint8"])
def test_a_variant_computes_nearly_the_same(converted, variant):
    """Of the worst of 84 masks; random weights amplify every error."""
    graphs, report = converted(variant)
    least = {"fp16": 0.9999, "int8": 0.9995}.get(variant, 0.98)
    assert least <= report.cosine < 1
    for graph in graphs:
        for value in (*graph.graph.input, *graph.graph.output):
            assert value.type.tensor_type.elem_type in (TensorProto.FLOAT, TensorProto.INT64)
    operators = {node.op_type for graph in graphs for node in graph.graph.node}
    if variant in ("int8-dynamic", "uint8"):
        assert operators & {"MatMulInteger", "DynamicQuantizeMatMul", "DynamicQuantizeLinear"}
    if variant == "fp16":
        assert all(TensorProto.FLOAT16 in kinds(graph) for graph in graphs)


@pytest.mark.parametrize("variant", ["fp16", "q4", "q4f16"])
def test_pocket_keeps_to_the_bounds(pocket_bundle, tmp_path, variant):
    """On its proof's photos and prompts, with the bundled weights; 4 bits are meaningless for random ones."""
    paths = []
    for role, name in (("encoder", ENCODER), ("decoder", DECODER)):
        paths.append(tmp_path / f"{role}.onnx")
        graph = CONVERSIONS[variant](plain(pocket_bundle / name), Context(role))
        if role == "decoder":
            _make_optional(graph)
        onnx.save(graph, paths[-1])
    prove(TransformersJsRunner(*paths), Proof.load(pocket_bundle), FORMATS["onnx"].tolerances[variant], variant)
    encoder, decoder = map(onnx.load, paths)
    in_four_bits = [node.input[1] for node in decoder.graph.node if node.op_type == "MatMulNBits"]
    sizes = [int(np.prod(t.dims)) for t in decoder.graph.initializer if t.name in in_four_bits]
    assert len(sizes) == (0 if variant == "fp16" else 22)  # 2 MLPs, 2 x 4 of self-attention, 5 heads
    assert all(2 * size >= FOUR_BITS_ELEMENTS for size in sizes)  # two levels a byte
    if variant != "q4":
        weights = {t.name: t for t in encoder.graph.initializer}
        for node in encoder.graph.node:
            if node.op_type == "Conv":
                few = np.prod(weights[node.input[1]].dims) < HALF_ELEMENTS
                assert weights[node.input[1]].data_type == (TensorProto.FLOAT if few else TensorProto.FLOAT16)


def test_every_variant_has_a_tolerance():
    assert set(FORMATS["onnx"].variants) == set(CONVERSIONS)


def test_coordinates_stay_in_single_precision(repvit_bundle):
    graph = plain(repvit_bundle[1] / DECODER)
    keep = coordinate_nodes(graph)
    half = onnx.shape_inference.infer_shapes(fp16(graph, Context("decoder")))
    types = {v.name: v.type.tensor_type.elem_type for v in half.graph.value_info}
    sines = [node for node in half.graph.node if node.op_type in ("Sin", "Cos")]
    assert sines and len(keep) > 5
    for node in half.graph.node:
        if node.name in keep:
            assert all(types.get(name, TensorProto.FLOAT) != TensorProto.FLOAT16 for name in node.output)


PROBING = """
import resource
import numpy as np
from onnx import TensorProto, helper
from sam_hub.exporters.formats.onnx.variants import activation_ranges

size, steps = 4 << 20, 40  # 16 MB each
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [size]) for name in ("x0", f"x{steps}")]
nodes = [helper.make_node("Mul", [f"x{i}", "two"], [f"x{i + 1}"], name=f"n{i}") for i in range(steps)]
graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], [helper.make_tensor("two", TensorProto.FLOAT, [], [2.0])])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
ranges = activation_ranges(model, [{"x0": np.ones(size, np.float32)}])
assert all(ranges[f"x{i}"] == 2.0**i for i in range(1, steps))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss counts in other units elsewhere")
def test_ranges_are_seen_one_tensor_at_a_time():
    """ViT-B's tensors together exceed the memory of a computer."""
    done = subprocess.run([sys.executable, "-c", PROBING], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) < 300, "megabytes; all of them are 640"


def test_values_beyond_half_precision_stay_in_single():
    """A product of 3e5 between two factors that are small again at the end."""
    weight = np.full((4, 4), 1000, np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["large"], name="large"),
        helper.make_node("Mul", ["large", "tiny"], ["y"], name="small"),
    ]
    tensors = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.array(1e-5, np.float32), "tiny")]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in ("x", "y")]
    model = helper.make_model(
        helper.make_graph(nodes, "wide", values[:1], values[1:], tensors),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    feed = {"x": np.full((1, 4), 75, np.float32)}
    assert activation_ranges(model, [feed])["large"] == 300_000

    def run(graph: onnx.ModelProto) -> np.ndarray:
        return session(graph).run(None, feed)[0]

    np.testing.assert_allclose(run(fp16(model, Context("encoder", [feed]))), run(model), rtol=2e-3)
    kept, lost = (fp16(model, context) for context in (Context("encoder", [feed]), Context("encoder")))
    assert kinds(kept) == {TensorProto.FLOAT} and kinds(lost) == {TensorProto.FLOAT16}


def test_int8_levels_are_the_nearest_and_every_channel_has_its_scale():
    rng = np.random.default_rng(0)
    weight = (rng.normal(size=(3, 50, 7)) * np.array([1, 100, 0])[:, None, None]).astype(np.float32)
    levels, scale = quantize(weight, 0)
    assert levels.dtype == np.int8 and scale.shape == (3,) and np.abs(levels.astype(int)).max() <= 127
    back = levels * scale[:, None, None]
    naive = np.abs(weight).max((1, 2), keepdims=True) / 127
    naive[naive == 0] = 1
    error = lambda x: ((x - weight) ** 2).sum((1, 2))  # noqa: E731
    assert (error(back) <= error(np.rint(weight / naive) * naive) + 1e-9).all()
    assert (back[2] == 0).all()
