"""Weights in 4 to 8 bits: rounding, statistics, the choice of bits, and the files that hold them."""

import itertools

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from sam_hub.exporters.bundle import export_bundle
from sam_hub.exporters.format import Tolerance
from sam_hub.exporters.formats import FORMATS
from sam_hub.exporters.formats.onnx import export
from sam_hub.exporters.formats.onnx.packed import pack
from sam_hub.exporters.formats.onnx.plain import lint
from sam_hub.exporters.formats.onnx.runner import TransformersJsRunner
from sam_hub.exporters.gate import compare
from sam_hub.exporters.manifest import Manifest
from sam_hub.exporters.mixed import calibration, choice
from sam_hub.exporters.mixed.calibration import Moments, compressible, input_vectors
from sam_hub.exporters.mixed.choice import apply, choose_bits, rounded_layer
from sam_hub.exporters.mixed.compress import Calibration
from sam_hub.exporters.mixed.levels import Levels, as_rows, from_rows, rounded
from sam_hub.exporters.mixed.products import factored
from sam_hub.exporters.proof import make_proof, packaged_photos
from torch import nn

from sam_hub.models.image_processing_sam import SamImageProcessor
from sam_hub.models.modeling_sam import SamModel
from sam_hub.ops.preparation import Preparation

from ..models.conftest import randomise, tiny_config

LAYERS = {
    "linear": (nn.Linear(24, 16), (1, 9, 24)),
    "convolution": (nn.Conv2d(8, 16, 3, stride=2, padding=1), (1, 8, 10, 14)),
    "pointwise": (nn.Conv2d(8, 16, 1, stride=2), (1, 8, 10, 14)),
    "transposed": (nn.ConvTranspose2d(8, 4, 2, stride=2), (1, 8, 5, 7)),
}


@pytest.fixture(scope="module")
def inputs() -> dict[str, torch.Tensor]:
    """Correlated, with means far from 0, as after an activation."""
    torch.manual_seed(3)
    found = {}
    for name, (layer, shape) in LAYERS.items():
        nn.init.normal_(layer.weight)
        nn.init.normal_(layer.bias)
        axis = -1 if len(shape) == 3 else 1
        shared = torch.randn(shape).mean(axis, keepdim=True)
        found[name] = torch.relu(torch.randn(shape) + 3 * shared + 0.5)
    return found


def moments(layer: nn.Module, x: torch.Tensor) -> Moments:
    vectors = input_vectors(layer, x)
    return Moments(vectors.T @ vectors / len(vectors), vectors.mean(0))


@pytest.mark.parametrize("name", LAYERS)
def test_input_vectors_are_what_outputs_are_products_of(inputs, name):
    layer, x = LAYERS[name][0], inputs[name]
    with torch.no_grad():
        expected = layer(x)
        products = input_vectors(layer, x) @ as_rows(layer, layer.weight).T
    if name == "linear":
        found = products.reshape(expected.shape) + layer.bias
    elif name == "transposed":  # a block of 2 x 2 for each position
        found = products.reshape(1, 5, 7, 4, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(expected.shape)
        found = found + layer.bias[:, None, None]
    else:
        found = products.T.reshape(expected.shape) + layer.bias[:, None, None]
    assert torch.allclose(found, expected, atol=1e-5)
    assert torch.equal(from_rows(layer, as_rows(layer, layer.weight)), layer.weight)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("bits", [4, 5, 6])
def test_feedback_keeps_outputs_better_than_rounding_to_nearest(inputs, name, bits):
    layer, x = LAYERS[name][0], inputs[name]
    seen = moments(layer, x)
    errors = []
    for second in (seen.second, None):
        levels = rounded(layer, bits, second)
        assert levels.levels.min() >= -(2 ** (bits - 1)) and levels.levels.max() < 2 ** (bits - 1)
        assert levels.scale.dtype == np.float16 and levels.scale.size == layer.weight.shape[levels.axis]
        difference = as_rows(layer, torch.from_numpy(levels.values) - layer.weight.detach())
        errors.append(float((input_vectors(layer, x) @ difference.T).square().mean()))
    assert errors[0] < 0.7 * errors[1]


@pytest.mark.parametrize("name", LAYERS)
def test_the_bias_removes_the_mean_error(inputs, name):
    layer, x = LAYERS[name][0], inputs[name]
    weight, bias = layer.weight, layer.bias
    means = []
    with torch.no_grad():
        own = layer(x)
        levels, corrected = rounded_layer(layer, 4, moments(layer, x))
        for new in (bias, corrected):
            apply(layer, levels, new)
            axes = (0, 1) if name == "linear" else (0, 2, 3)
            means.append(float((layer(x) - own).mean(axes).abs().max()))
    layer.weight, layer.bias = weight, bias
    assert means[1] < 1e-5 < 0.01 < means[0]


def test_the_mean_of_a_convolution_with_groups_is_corrected_too():
    torch.manual_seed(5)
    layer = nn.Conv2d(32, 64, 3, groups=16)
    x = torch.rand(1, 1, 1, 1).expand(1, 32, 9, 9) + torch.arange(32.0)[:, None, None]  # equal all over a kernel
    seen = Moments(None, input_vectors(layer, x).mean(0))
    with torch.no_grad():
        own = layer(x)
        levels, bias = rounded_layer(layer, 4, seen)
        uncorrected = float(
            (nn.functional.conv2d(x, torch.from_numpy(levels.values), layer.bias, groups=16) - own).abs().max()
        )
        apply(layer, levels, bias)
        assert float((layer(x) - own).abs().max()) < 1e-4 < 0.01 < uncorrected


def test_bits_go_where_the_loss_is():
    """Never above the budget, and nearly as good as the best of all assignments."""
    losses = {"a": 0.02, "b": 0.001, "c": 0.004, "d": 0.03}
    sizes = {"a": 4000, "b": 4000, "c": 2000, "d": 1000}
    widths = (4, 5, 6, 8)

    def loss(bits: dict[str, int]) -> float:
        return sum((losses[n] / 2 ** (bits[n] - 4)) ** 2 for n in losses)

    for mean in (4.0, 4.5, 5.0, 6.0):
        chosen = choose_bits(losses, sizes, mean, widths)
        used = sum(sizes[n] * chosen[n] for n in losses)
        assert used <= mean * sum(sizes.values())
        fits = [
            dict(zip(losses, bits, strict=True))
            for bits in itertools.product(widths, repeat=4)
            if sum(s * b for s, b in zip(sizes.values(), bits, strict=True)) <= used
        ]
        assert loss(chosen) <= 1.15 * min(map(loss, fits))
    assert choose_bits(losses, sizes, 4.6, widths)["d"] > choose_bits(losses, sizes, 4.6, widths)["b"]


@pytest.mark.parametrize("bits", [4, 5, 6, 8])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_runtime_unpacks_every_level(bits, axis):
    """A graph of old operations whose weight is, bit for bit, levels times scale."""
    rng = np.random.default_rng(bits)
    numbers = rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (24, 32)).astype(np.int8)
    scale = rng.uniform(0.01, 1, (24, 1) if axis == 0 else (1, 32)).astype(np.float16)
    levels = Levels(numbers, scale, bits, axis)
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    given, result = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", d]) for n, d in (("x", 24), ("y", 32)))
    graph = helper.make_graph([node], "g", [given], [result], [numpy_helper.from_array(levels.values, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    packed = pack(model, lambda values: levels if np.array_equal(values, levels.values) else None, set())
    onnx.checker.check_model(packed)
    assert {n.op_type for n in packed.graph.node} <= {"Cast", "Gather", "Reshape", "Add", "Mul", "MatMul"}
    assert not [f for f in lint(packed) if f.rule.silent]
    stored = {t.name: len(t.raw_data) for t in packed.graph.initializer if t.name.startswith("w_") and t.name != "w_s"}
    assert sum(stored.values()) == 24 * 32 * bits / 8
    session = onnxruntime.InferenceSession(packed.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": np.eye(24, dtype=np.float32)})
    assert np.array_equal(found, levels.values)


def test_positions_are_products_and_other_maps_are_not():
    y, x = np.mgrid[0:32, 0:48] / 7
    frequencies = np.random.default_rng(1).normal(size=(2, 32))
    angle = frequencies[0][:, None, None] * x + frequencies[1][:, None, None] * y
    positions = np.concatenate([np.sin(angle), np.cos(angle)]).astype(np.float32)[None]
    left, right = factored(positions)
    assert np.abs(left @ right - positions).max() < 2e-6 and left.size + right.size < positions.size / 8
    assert factored(np.float32(positions**3)) is None


@pytest.fixture(scope="module")
def small():
    """A tiny model, rounded to 5 bits on average by one photo, with a choice for every layer."""
    patch = pytest.MonkeyPatch()
    patch.setattr(calibration, "ENOUGH", 1)
    patch.setattr(choice, "LEAST_CHOICE", 2048)
    model = randomise(SamModel(tiny_config("sam_hub_pocket"))).eval()
    preparation = Preparation.from_settings(SamImageProcessor.for_config(model.config).to_dict())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    photos = [pixels for _, pixels in packaged_photos()][:1]
    found = Calibration(model, preparation, photos)
    compressed = {widths: found.compress(5.0, widths) for widths in ((4, 5, 6, 8), (4, 6, 8))}
    patch.undo()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    return found, compressed


def test_a_compressed_model_keeps_to_its_budget(small):
    found, compressed = small
    for widths, made in compressed.items():
        chosen = {name: bits for name, bits in made.bits.items() if name in found.losses}
        layers = compressible(made.model)
        weights = sum(layers[name].weight.numel() for name in chosen)
        mean = sum(layers[name].weight.numel() * bits for name, bits in chosen.items()) / weights
        assert {4, max(widths)} <= set(chosen.values()) <= set(widths) and 4.9 < mean <= 5
        for name, levels in made.levels.items():
            assert np.array_equal(layers[name].weight.detach().numpy(), levels.values)


def test_sensitivities_are_measured_one_layer_at_a_time(small):
    """From the definition: only this layer is rounded, and the masks of clicks and boxes are compared."""
    found, _ = small
    name = max(found.losses, key=found.losses.get)
    image = found.preparation(found.photos[0])
    model = found.model
    own = [masks > 0 for masks in calibration.answers(model, image)][:2]
    layer = model.get_submodule(name)
    weight, bias = layer.weight, layer.bias
    apply(layer, *rounded_layer(layer, 4, found.moments[name]))
    other = [masks > 0 for masks in calibration.answers(model, image)][:2]
    layer.weight, layer.bias = weight, bias
    ious = [
        ((a & b).sum((-2, -1)) / (a | b).sum((-2, -1)).clamp(min=1)).masked_fill((a | b).sum((-2, -1)) == 0, 1)
        for a, b in zip(own, other, strict=True)
    ]
    assert found.losses[name] == pytest.approx(1 - float(np.mean([iou.mean() for iou in ious])), abs=1e-6)
    assert found.losses[name] > 2 * np.median(list(found.losses.values()))


def test_levels_are_found_in_graphs(small):
    made = next(iter(small[1].values()))
    levels = made.levels["mask_decoder.transformer.layers.0.mlp.lin1"]
    for values in (levels.values, levels.values.T, levels.values.astype(np.float16), levels.values[:, :, None, None]):
        assert np.array_equal(made.find(values).values.astype(values.dtype), values)
    assert made.find(levels.values + 0.01) is None


def test_an_export_computes_what_the_rounded_model_does(small, tmp_path, monkeypatch):
    """On the proof's prompts, nearer to the rounded model than to the original; bits are in export.json."""
    found, compressed = small
    made = compressed[4, 5, 6, 8]
    monkeypatch.setattr(export, "calibration_of", lambda job: found)
    monkeypatch.setitem(FORMATS["onnx"].tolerances, "mixed", Tolerance(1, 0.9, 0.9, 0.5, 1))  # weights are random
    monkeypatch.setattr(found, "compress", lambda mean_bits, widths: made)
    processor = SamImageProcessor.for_config(found.model.config)
    export_bundle("tiny", tmp_path / "b", {"onnx": ("mixed",)}, model=found.model, processor=processor)
    (artefact,) = Manifest.read(tmp_path / "b").artefacts
    bits = {role: artefact.file(role).facts["bits"] for role in ("encoder", "decoder")}
    assert bits["encoder"] | bits["decoder"] == made.bits and "vision_encoder.neck.conv" in bits["encoder"]
    runner = TransformersJsRunner(*(tmp_path / "b" / artefact.file(role).path for role in ("encoder", "decoder")))
    report = compare(runner, make_proof(made.model, found.preparation))
    assert report.difference < 0.01 and report.cosine > 0.99999 and artefact.gate["difference"] > 0.02
    graph = onnx.load(tmp_path / "b" / artefact.file("encoder").path).graph
    whole = {t.name for t in graph.initializer if t.data_type == TensorProto.FLOAT and np.prod(t.dims) > 1500}
    assert whole <= {"positions"}  # these are too few to be a product


def test_the_core_ml_package_computes_what_the_rounded_model_does(small, tmp_path):
    """Levels are stored as int4, int8 and palettes of 64; arithmetic is in half precision."""
    pytest.importorskip("coremltools")
    from coremltools.converters.mil.mil import types
    from sam_hub.exporters.formats.coreml.export import convert, parts_of
    from sam_hub.exporters.formats.coreml.mil.evaluate import Evaluator
    from sam_hub.exporters.formats.coreml.mil.package import read_package

    found, compressed = small
    made = compressed[4, 6, 8]
    part = parts_of(made.model, found.preparation, 8)[2]
    convert(part, half=True, find=made.find).save(str(tmp_path / "decoder.mlpackage"))
    package = read_package(tmp_path / "decoder.mlpackage")
    weights = [op.weight for op in package.operations if op.op_type in ("linear", "conv_transpose")]
    large = [w for w in weights if np.prod(w.shape) >= calibration.LEAST_ELEMENTS]
    assert len(large) > 20 and all(w.op.op_type == "constexpr_blockwise_shift_scale" for w in large)
    data = [w.op.data if w.op.data.op.op_type == "const" else w.op.data.op.indices for w in large]
    assert {types.builtin_to_string(var.dtype) for var in data} == {"int4", "uint6", "int8"}
    inputs = {name: torch.rand(example.shape) for name, example in part.inputs.items()}
    inputs["token_mask"] = torch.zeros_like(inputs["token_mask"])
    with torch.no_grad():
        expected = dict(zip(part.outputs, part.module(*inputs.values()), strict=True))
    half = {name: value.half().numpy() for name, value in inputs.items()}
    for name, value in Evaluator(package).predict(half).items():
        difference = np.abs(value - expected[name].numpy()).max()
        assert difference < 0.02 * float(expected[name].abs().max())
