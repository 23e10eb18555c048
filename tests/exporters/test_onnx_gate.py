"""Deliberately broken graphs: each is caught, and a failed export leaves no files."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper
from sam_hub.exporters import gate
from sam_hub.exporters.formats import FORMATS
from sam_hub.exporters.formats.onnx import export as to_onnx
from sam_hub.exporters.formats.onnx.norms import check_norms, graph_eps
from sam_hub.exporters.formats.onnx.runner import TransformersJsRunner
from sam_hub.exporters.gate import ExportMismatch, prove
from sam_hub.exporters.manifest import Manifest
from sam_hub.exporters.proof import Answer, Case, Prompt, Proof

ENCODER, DECODER = "onnx/vision_encoder.onnx", "onnx/prompt_encoder_mask_decoder.onnx"


def eps_of_a_thousandth(model: ModelProto) -> None:
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "epsilon":
                attribute.f = 1e-3


def bilinear_for_bicubic(model: ModelProto) -> None:
    (resize,) = (node for node in model.graph.node if node.op_type == "Resize")
    (mode,) = (a for a in resize.attribute if a.name == "mode")
    assert mode.s == b"cubic"
    mode.s = b"linear"


def swapped_axis(model: ModelProto) -> None:
    """The embedding's height and width."""
    last = next(node for node in model.graph.node if model.graph.output[0].name in node.output)
    last.output[0] = "before_the_swap"
    name = model.graph.output[0].name
    model.graph.node.append(onnx.helper.make_node("Transpose", ["before_the_swap"], [name], perm=[0, 1, 3, 2]))


def change_weight(model: ModelProto, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Of the largest one."""
    weight = max((t for t in model.graph.initializer if t.data_type == 1), key=lambda t: int(np.prod(t.dims)))
    weight.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(weight).copy()), weight.name))


def one_nan(model: ModelProto) -> None:
    def change(weight: np.ndarray) -> np.ndarray:
        weight.flat[0] = np.nan
        return weight

    change_weight(model, change)


def one_channel_lost(model: ModelProto) -> None:
    def change(weight: np.ndarray) -> np.ndarray:
        weight[0] = 0
        return weight

    change_weight(model, change)


def half_a_pixel(model: ModelProto) -> None:
    """The 0.5 that makes a coordinate a pixel's centre."""
    halves = [t for t in model.graph.initializer if t.data_type == 1 and numpy_helper.to_array(t).size == 1]
    (half,) = (t for t in halves if numpy_helper.to_array(t).item() == 0.5 and _is_added(model, t.name))
    half.CopyFrom(numpy_helper.from_array(np.zeros_like(numpy_helper.to_array(half)), half.name))


def _is_added(model: ModelProto, name: str) -> bool:
    return any(node.op_type == "Add" and name in node.input for node in model.graph.node)


def broken(bundle: Path, folder: Path, part: str, damage: Callable[[ModelProto], None]) -> TransformersJsRunner:
    paths = []
    for name in (ENCODER, DECODER):
        model = onnx.load(bundle / name)
        if name == part:
            damage(model)
        paths.append(folder / Path(name).name)
        onnx.save(model, paths[-1])
    return TransformersJsRunner(*paths)


def test_sound_files_pass(repvit_bundle):
    _, bundle = repvit_bundle
    runner = TransformersJsRunner(bundle / ENCODER, bundle / DECODER)
    report = prove(runner, Proof.load(bundle), FORMATS["onnx"].tolerances["fp32"], "sound")
    assert report.prompts == 21 and report.masks == 84


@pytest.mark.parametrize(
    ("part", "damage"),
    [
        (DECODER, eps_of_a_thousandth),
        (ENCODER, bilinear_for_bicubic),
        (ENCODER, swapped_axis),
        (ENCODER, one_nan),
        (DECODER, one_nan),
        (ENCODER, one_channel_lost),
        (DECODER, half_a_pixel),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_broken_graph_is_caught(repvit_bundle, tmp_path, part, damage):
    _, bundle = repvit_bundle
    runner = broken(bundle, tmp_path, part, damage)
    with pytest.raises(ExportMismatch, match="does not compute what the model does"):
        prove(runner, Proof.load(bundle), FORMATS["onnx"].tolerances["fp32"], "broken")


def test_an_eps_that_no_mask_shows_is_read_off_the_graph(repvit_bundle):
    """1e-6 instead of 1e-5, a known mistake, moves logits by less than float32 rounding."""
    model, bundle = repvit_bundle
    decoder = onnx.load(bundle / DECODER)
    assert graph_eps(decoder) == {"1.00e-05", "1.00e-06"}
    check_norms(decoder, model.mask_decoder, "the decoder")
    for node in decoder.graph.node:
        for attribute in node.attribute:
            if attribute.name == "epsilon":
                attribute.f = 1e-6
    with pytest.raises(ExportMismatch, match="eps of"):
        check_norms(decoder, model.mask_decoder, "the decoder")


def test_an_export_that_fails_leaves_nothing(repvit_bundle, tmp_path, monkeypatch):
    from sam_hub.exporters.bundle import export_bundle

    from sam_hub.models.image_processing_sam import SamImageProcessor

    model, bundle = repvit_bundle

    def damaged(*_: object) -> ModelProto:
        graph = onnx.load(bundle / DECODER)
        one_nan(graph)
        graph.graph.initializer.remove(next(t for t in graph.graph.initializer if t.name == "mask_input"))
        graph.graph.initializer.remove(next(t for t in graph.graph.initializer if t.name == "has_mask_input"))
        return graph

    monkeypatch.setattr(to_onnx, "encoder_graph", lambda model: onnx.load(bundle / ENCODER))
    monkeypatch.setattr(to_onnx, "decoder_graph", damaged)
    processor = SamImageProcessor.for_config(model.config)
    with pytest.raises(ExportMismatch):
        export_bundle("tiny", tmp_path / "out", {"onnx": ("fp32",)}, model=model, processor=processor)
    assert not list(tmp_path.iterdir())


def test_the_verdict_is_in_the_manifest(repvit_bundle):
    _, bundle = repvit_bundle
    manifest = Manifest.read(bundle)
    assert [a.variant for a in manifest.artefacts] == ["fp32", "fp16"]
    for artefact in manifest.artefacts:
        assert artefact.gate["passed"] and artefact.runtime.startswith("onnxruntime ")
        assert {f.role for f in artefact.files} == {"encoder", "decoder"}
        assert all(f.opset == 18 and len(f.sha256) == 64 for f in artefact.files)
    assert manifest.proof["photos"]["coffee.jpg"] == [400, 263]
    assert manifest.tools["onnxruntime"] != "absent"


@pytest.mark.parametrize(
    "scores, chosen, fine",
    [
        ((0.1, 0.3, 0.80, 0.81), 3, True),
        ((0.1, 0.3, 0.80, 0.81), 2, True),  # a tie, as far as the scores of an int8 file can tell
        ((0.1, 0.3, 0.60, 0.81), 2, False),
        ((0.1, 0.3, 0.80, 0.81), 1, False),
        ((0.81, 0.3, 0.2, 0.80), 0, False),  # the single mask is never chosen for a lone click
    ],
)
def test_a_file_that_chooses_may_choose_either_of_a_tie(scores, chosen, fine):
    logits = np.random.default_rng(0).normal(size=(4, 64, 64)).astype(np.float32)
    image = SimpleNamespace(frame_size=(256, 256))
    prompt = Prompt("1 point", np.zeros((1, 2), np.float32), np.array([1]))
    case = Case("noise", image, [prompt], [Answer(logits, np.array(scores, np.float32))])
    found = Answer(logits[chosen : chosen + 1], np.array(scores[chosen : chosen + 1], np.float32))
    runner = SimpleNamespace(masks="chosen", encode=lambda image: None, decode=lambda embedded, prompt: found)
    proof = Proof([case], (256, 256))
    if fine:
        prove(runner, proof, FORMATS["onnx"].tolerances["int8"], "a file")
    else:
        with pytest.raises(ExportMismatch):
            prove(runner, proof, FORMATS["onnx"].tolerances["int8"], "a file")


def test_masks_that_are_not_finite_are_like_nothing():
    logits = np.ones((1, 4, 4), np.float32)
    ious = gate.mask_ious(np.full_like(logits, np.nan), logits, (8, 8), (8, 8))
    assert ious.tolist() == [0.0]


def test_an_iou_is_of_the_image_without_its_padding():
    a, b = np.full((2, 1, 4, 4), -1, np.float32)
    a[0, :2], b[0, :2] = 1, 1
    b[0, 3] = 1  # in the padding
    assert gate.mask_ious(a, b, (16, 16), (8, 16)).tolist() == [1.0]
    assert gate.mask_ious(a, b, (16, 16), (16, 16))[0] < 0.8
