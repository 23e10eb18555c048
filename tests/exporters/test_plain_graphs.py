"""Graphs that all runtimes read alike: the plain form, the lint, and cases that some runtimes misread."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from sam_hub.exporters.bundle import export_bundle
from sam_hub.exporters.formats.onnx import export as to_onnx
from sam_hub.exporters.formats.onnx.export import OPSET, decoder_graph, opset_of, trace
from sam_hub.exporters.formats.onnx.plain import RULES, lint, make_plain, silent_faults
from sam_hub.exporters.manifest import Manifest
from sam_hub.exporters.snippets import write_snippets

from sam_hub.errors import ExportError, PromptError
from sam_hub.families.efficientvit_sam.configuration import EfficientVitVisionConfig
from sam_hub.families.efficientvit_sam.encoder import LinearAttention
from sam_hub.families.repvit.encoder import SqueezeExcite
from sam_hub.inference.predictor import SamPredictor
from sam_hub.inference.runtime import OnnxPredictor
from sam_hub.models.image_processing_sam import SamImageProcessor
from sam_hub.models.modeling_sam import SamModel
from sam_hub.ops.preparation import Preparation

from ..models.conftest import IMAGE_SIZE, WIDTH, randomise, tiny_config
from .test_to_onnx import DECODER, ENCODER, session


def graph_of(nodes: list, constants: dict[str, np.ndarray], dtype: int = TensorProto.FLOAT, ir: int = 8) -> ModelProto:
    values = [helper.make_tensor_value_info(name, dtype, ["n"]) for name in ("x", "y")]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "test", values[:1], values[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=ir)


def rules_broken(model: ModelProto) -> set[str]:
    return {finding.rule.name for finding in lint(model)}


def one_sided(bounds: tuple[str, ...]) -> ModelProto:
    clip = helper.make_node("Clip", ["x", *bounds], ["y"], name="clip")
    return graph_of([clip], {"edge": np.array(-1, np.int64)}, TensorProto.INT64)


@pytest.mark.parametrize("bounds", [("edge",), ("", "edge")])
def test_a_clip_with_one_bound_becomes_a_maximum_or_minimum(bounds):
    x = np.array([-10, -1, 0, 1, 3])
    model = one_sided(bounds)
    (expected,) = session(model).run(None, {"x": x})
    assert silent_faults(model) and rules_broken(model) == {"a Clip with one bound"}
    make_plain(model)
    assert not lint(model)
    np.testing.assert_array_equal(session(model).run(None, {"x": x})[0], expected)


def gelu(order: str) -> ModelProto:
    nodes = [
        helper.make_node("Div", ["x", "root"], ["scaled"], name="scale"),
        helper.make_node("Erf", ["scaled"], ["erf"], name="erf"),
        helper.make_node("Add", ["erf", "one"], ["sum"], name="sum"),
        helper.make_node("Mul", ["half", "sum"] if order == "inner" else ["x", "sum"], ["product"], name="first"),
        helper.make_node("Mul", ["x" if order == "inner" else "half", "product"], ["y"], name="second"),
    ]
    values = {"root": np.sqrt(np.float32(2)), "one": np.float32(1), "half": np.float32(0.5)}
    return graph_of(nodes, {name: np.array(value, np.float32) for name, value in values.items()})


def test_gelu_is_written_in_the_order_that_opencv_reads():
    x = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    model = gelu("inner")
    (expected,) = session(model).run(None, {"x": x})
    assert rules_broken(model) == {"GELU in another order"} and not rules_broken(gelu("outer"))
    assert not lint(make_plain(model))
    np.testing.assert_allclose(session(model).run(None, {"x": x})[0], expected, atol=1e-6)


def test_the_ir_version_is_the_lowest():
    model = graph_of([helper.make_node("Abs", ["x"], ["y"], name="abs")], {}, ir=10)
    assert rules_broken(model) == {"an IR version above the lowest"}
    assert make_plain(model).ir_version == 8 and not lint(model)


def spoilt(model: ModelProto) -> ModelProto:
    """With a form that the lint refuses, as if the rewrite had missed it."""
    model.graph.node.append(helper.make_node("Clip", [model.graph.output[0].name, "edge"], ["cut"], name="late"))
    return model


@pytest.mark.parametrize("format, rewrite", [("openvino", "make_plain"), ("mnn", "spread_gelu")])
def test_other_formats_of_these_graphs_keep_none_either(tmp_path, monkeypatch, format, rewrite):
    pytest.importorskip("openvino" if format == "openvino" else "MNN")
    monkeypatch.setattr(f"sam_hub.exporters.formats.{format}.export.{rewrite}", spoilt)
    model, processor = boxes_alone()
    with pytest.raises(ExportError, match=r"vision_encoder: late has a Clip with one bound, and OpenVINO"):
        export_bundle("x", tmp_path / "b", {format: ("fp32",)}, model=model, processor=processor)
    assert not (tmp_path / "b").exists()


def test_an_export_keeps_no_file_that_a_runtime_would_misread(traced_once, tmp_path, monkeypatch):
    """Here a rewrite fails to mend the graph; the lint catches what is left."""

    def traced(*given: object, **named: object) -> ModelProto:
        with monkeypatch.context() as patch:  # traces are shared with other tests
            patch.setattr(to_onnx, "make_plain", make_plain)
            return trace_once(*given, **named)

    model, processor = boxes_alone()
    with (
        traced_once(),
        monkeypatch.context() as patch,
        pytest.raises(ExportError, match=r"vision_encoder: late has a Clip with one bound, and OpenVINO"),
    ):
        trace_once = to_onnx.trace
        patch.setattr(to_onnx, "trace", traced)
        patch.setattr(to_onnx, "make_plain", spoilt)
        export_bundle("x", tmp_path / "b", {"onnx": ("fp32",)}, model=model, processor=processor)
    assert not (tmp_path / "b").exists()


def test_an_input_with_a_default_is_a_fault_but_for_the_contract():
    model = graph_of([helper.make_node("Abs", ["x"], ["y"], name="abs")], {"x": np.ones(3, np.float32)})
    assert [f.place for f in silent_faults(model)] == ["x"]


def test_rules_say_where_they_were_seen():
    assert len({rule.name for rule in RULES}) == len(RULES) and all(rule.seen for rule in RULES)


@pytest.mark.parametrize("layout", ["transformersjs", "meta"])
def test_decoders_break_no_rule(repvit_bundle, traced_once, layout):
    model, _ = repvit_bundle
    with traced_once():
        graph = decoder_graph(model, layout, {})
    assert not lint(graph) and graph.ir_version == 8


def test_files_are_plain_and_readable_by_old_runtimes(repvit_bundle):
    """onnxruntime 1.17.3, OpenVINO 2025.4.1 and 2026.4.1 have run such files, within 3e-6."""
    _, bundle = repvit_bundle
    for record in (r for a in Manifest.read(bundle).artefacts for r in a.files):
        graph = onnx.load(bundle / record.path)
        assert graph.ir_version == 8 and not silent_faults(graph), record.path


def test_no_points_at_all(repvit_bundle):
    """ "Any number" is also none; as many empty slots give the same."""
    model, bundle = repvit_bundle
    side = IMAGE_SIZE // 16
    embeddings = np.random.default_rng(0).normal(size=(1, WIDTH, side, side)).astype(np.float32)
    feed = {"image_embeddings": embeddings}
    feed["image_positional_embeddings"] = model.get_image_wide_positional_embeddings().numpy()
    run = session(bundle / DECODER)
    none, padded = (
        run.run(
            ["iou_scores", "pred_masks"],
            {
                **feed,
                "input_points": np.full((1, 2, count, 2), -10, np.float32),
                "input_labels": np.full((1, 2, count), -10),
            },
        )
        for count in (0, 3)
    )
    for found, expected in zip(none, padded, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def boxes_alone() -> tuple[SamModel, SamImageProcessor]:
    """MedSAM's shape: boxes only, no mask prompt, photos stretched to the square."""
    config = tiny_config("sam_hub_pocket")
    config.mask_decoder_config.num_hidden_layers = 1
    config.prompt_encoder_config.prompt_kinds = ["boxes"]
    processor = SamImageProcessor.for_config(config)
    processor.resize_mode = "stretch"
    return randomise(SamModel(config)).eval(), processor


def test_a_model_without_mask_prompts_that_stretches(traced_once, tmp_path, root, monkeypatch):
    model, processor = boxes_alone()
    options = {"layouts": ("transformersjs", "meta")}
    fed, feeds_of = [], to_onnx.decoder_feeds

    def kept(*given: object) -> list:
        fed.append(feeds_of(*given))
        return fed[-1]

    monkeypatch.setattr(to_onnx, "decoder_feeds", kept)
    with traced_once():  # the encoder is the one of others
        export_bundle("med", tmp_path / "b", {"onnx": ("fp32",)}, options, model=model, processor=processor)
    manifest = Manifest.read(tmp_path / "b")
    assert [a.gate["passed"] for a in manifest.artefacts] == [True, True]
    for artefact, feeds in zip(manifest.artefacts, fed, strict=True):
        names = {t.name for t in artefact.file("decoder").inputs} - {"orig_im_size"}  # which is added behind
        assert "mask_input" not in names and all(feed.keys() == names for feed in feeds)
    kotlin = (tmp_path / "b" / "android" / "Photo.kt").read_text()
    assert "const val STRETCH = true" in kotlin and "const val MIN_MAX = false" in kotlin
    engines = (tmp_path / "b" / "jetson" / "trtexec.sh").read_text()
    assert "--onnx=meta/image_encoder.onnx" in engines and f"=pixel_values:1x3x{IMAGE_SIZE}x{IMAGE_SIZE}" in engines
    assert "--onnx=meta/mask_decoder.onnx" in engines and "=point_coords:1x2x2,point_labels:1x2" in engines
    preparation = Preparation.from_settings(SamImageProcessor.for_config(model.config).to_dict())
    write_snippets(tmp_path / "b", manifest, preparation)
    assert "const val STRETCH = false" in (tmp_path / "b" / "android" / "Photo.kt").read_text()


@pytest.fixture(scope="module")
def true_inputs(export_tiny):
    return export_tiny("sam_hub_pocket", ("fp32",), true_inputs=True, opset=20)


def test_a_mask_prompt_that_is_a_true_input(true_inputs, root):
    """No default that a runtime could freeze; `OnnxPredictor` feeds it, with and without a mask."""
    model, bundle = true_inputs
    decoder = onnx.load(bundle / DECODER)
    assert not {t.name for t in decoder.graph.initializer} & {"mask_input", "has_mask_input"}
    assert rules_broken(decoder) == {"GELU in another order"}  # opset 20 has an operator of that name
    predictors = [OnnxPredictor(bundle), SamPredictor(model)]
    for predictor in predictors:
        predictor.set_image(root / "examples" / "cat.jpg")
    click = np.array([[225.0, 150]]), np.array([1])
    rough = predictors[1].predict(*click)[2][:1]
    for mask in (None, rough):
        (_, found, low_res), (_, expected, logits) = (p.predict(*click, mask_input=mask) for p in predictors)
        np.testing.assert_allclose(found, expected, atol=1e-4)
        np.testing.assert_allclose(low_res, logits, atol=1e-3 * np.abs(logits).max())


def test_the_opset_is_the_one_that_was_asked_for(true_inputs):
    _, bundle = true_inputs
    for name in (ENCODER, DECODER):
        graph = onnx.load(bundle / name)
        assert next(o.version for o in graph.opset_import if not o.domain) == 20 and graph.ir_version == 9
    assert json.loads((bundle / "export.json").read_text())["artefacts"][0]["files"][0]["opset"] == 20
    assert opset_of({}) == OPSET
    with pytest.raises(ExportError, match="--opset must be 18 at least"):
        opset_of({"opset": 12})


def test_a_frozen_mask_prompt_is_noticed(repvit_bundle, monkeypatch, root):
    """OpenVINO's provider lists an input with a default, and does not read it."""
    from sam_hub.inference import runtime

    def opened(path, *_):
        found = session(path)
        monkeypatch.setattr(found, "get_providers", lambda: ["OpenVINOExecutionProvider"])
        return found

    monkeypatch.setattr(runtime, "open_session", opened)
    refuses_masks(OnnxPredictor(repvit_bundle[1], "fp32"), root)


def refuses_masks(predictor: OnnxPredictor, root: Path) -> None:
    """And gives the same masks without one."""
    assert not predictor.model.has_mask_input
    predictor.set_image(root / "examples" / "cat.jpg")
    click = np.array([[225.0, 150]]), np.array([1])
    low_res = predictor.predict(*click)[2]
    assert np.isfinite(low_res).all()
    with pytest.raises(PromptError, match="the decoder in this folder takes no mask prompt here; give points or a box"):
        predictor.predict(*click, mask_input=low_res[:1])


def test_a_mask_prompt_that_was_folded_away_is_noticed(repvit_bundle, tmp_path, root):
    """onnxslim and onnxsim make a constant of an input with a default."""
    shutil.copytree(repvit_bundle[1], tmp_path / "bundle")
    graph = onnx.load(tmp_path / "bundle" / DECODER)
    left = [i for i in graph.graph.input if i.name not in ("mask_input", "has_mask_input")]
    assert len(left) == len(graph.graph.input) - 2
    del graph.graph.input[:]
    graph.graph.input.extend(left)
    onnx.save(graph, tmp_path / "bundle" / DECODER)
    refuses_masks(OnnxPredictor(tmp_path / "bundle", "fp32"), root)


def test_linear_attention_to_nothing_is_zero():
    """Where no query is positive, the original's 0 / (0 + 1e-15) is 0; without the small term it would be NaN."""
    attention = LinearAttention(EfficientVitVisionConfig(attention_head_dim=8, attention_kernel=3), 16).eval()
    randomise(attention)
    x = torch.randn(1, 16, 12, 12)
    x[..., :8] = 0.0
    expected = attention(x).detach().numpy()
    graph = trace(attention, (x,), ["x"], ["y"], None)
    (found,) = session(graph).run(None, {"x": x.numpy()})
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_means_over_a_flat_image_are_exact():
    """onnxruntime's ReduceMean over both sides of a large map loses four digits where neighbours are equal."""
    excite = randomise(SqueezeExcite(8)).eval()
    x = torch.full((1, 8, 512, 512), 3.1234567)
    graph = trace(excite, (x,), ["x"], ["y"], None)
    (found,) = session(graph).run(None, {"x": x.numpy()})
    np.testing.assert_allclose(found, excite.double()(x.double()).detach().numpy(), rtol=5e-6)
