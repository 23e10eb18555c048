"""Exported decoders that read maps at three strides (`pocket`, SAM 2, SAM 3), in every format."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from sam_hub.exporters.backend import BundleBackend
from sam_hub.exporters.bundle import export_bundle
from sam_hub.exporters.image_side import ImageSide
from sam_hub.exporters.manifest import Manifest
from sam_hub.exporters.rank_four import restated
from sam_hub.exporters.slots import SlotDecoder

from sam_hub.inference.amg import SamAutomaticMaskGenerator
from sam_hub.inference.image_predictor import ImagePredictor
from sam_hub.inference.predictor import SamPredictor
from sam_hub.inference.runtime import OnnxPredictor
from sam_hub.models.image_processing_sam import SamImageProcessor
from sam_hub.models.modeling_sam import SamModel

from ..models.conftest import randomise
from ..models.test_sam2 import tiny_config as tiny_sam2
from .conftest import FINE, run_predict_py

CLICK = dict(point_coords=np.array([[225.0, 150]]), point_labels=np.array([1]))
BOX = dict(box=np.array([60.0, 20, 440, 290]))
PROMPTS = {
    "click": CLICK,
    "clicks": dict(point_coords=np.array([[225.0, 150], [40, 20]]), point_labels=np.array([1, 0])),
    "box": BOX,
    "box and click": {**BOX, **CLICK},
}


@pytest.fixture(scope="module", params=["pocket", "sam2", "sam3"])
def onnx_bundle(request, fine_bundle) -> tuple[SamModel, Path]:
    return fine_bundle(request.param)


def check(ours: ImagePredictor, theirs: SamPredictor, photo: Path) -> None:
    """The same answers to every prompt, a mask before among them."""
    for predictor in (ours, theirs):
        predictor.set_image(photo)
    rough = theirs.predict(**CLICK)[2][:1]
    for prompt in [*PROMPTS.values(), {**CLICK, "mask_input": rough}]:
        for multimask in (True, False):
            found, expected = (
                p.predict(**prompt, multimask_output=multimask, return_logits=True) for p in (ours, theirs)
            )
            for a, b in zip(found, expected, strict=True):
                np.testing.assert_allclose(a, b, atol=3e-4 * max(1, np.abs(b).max()))


def test_the_predictor_from_files(onnx_bundle, root):
    model, out = onnx_bundle
    check(OnnxPredictor(out), SamPredictor(model), root / "examples" / "cat.jpg")


def test_everything_from_files(onnx_bundle, root):
    model, out = onnx_bundle
    settings = dict(points_per_side=3, pred_iou_thresh=-100.0, stability_score_thresh=0.0)
    photo = root / "examples" / "cat.jpg"
    found, expected = (
        SamAutomaticMaskGenerator(predictor, **settings).generate(photo)
        for predictor in (OnnxPredictor(out), SamPredictor(model))
    )
    assert len(found) == len(expected) > 0


def test_the_contract_of_transformers_js(onnx_bundle):
    """Names, levels and the three ways that its `Sam2Model` prompts."""
    model, out = onnx_bundle
    artefact = Manifest.read(out).artefacts[0]
    levels = [f"image_embeddings.{i}" for i in range(3)]
    assert sorted(t.name for t in artefact.file("encoder").outputs) == levels
    encoder, decoder = (onnxruntime.InferenceSession(out / artefact.file(role).path) for role in ("encoder", "decoder"))
    pixels = np.random.default_rng(0).normal(size=(1, 3, 96, 96)).astype(np.float32)
    names = [o.name for o in encoder.get_outputs()]
    maps = dict(zip(names, encoder.run(None, {"pixel_values": pixels}), strict=True))
    assert [maps[name].shape[2] for name in levels] == [24, 12, 6]
    points = np.array([[[[20.0, 30]], [[50, 9]]]], np.float32)
    boxes = np.array([[[5.0, 6, 70, 60], [9, 9, 50, 30]]], np.float32)
    nothing = dict(points=np.zeros((1, 1, 0, 2), np.float32), labels=np.zeros((1, 2, 0), np.int64))
    ways = {
        "points": dict(points=points, labels=np.ones((1, 2, 1), np.int64), boxes=boxes[:, :0]),
        "boxes": dict(**nothing, boxes=boxes),
        "both": dict(points=points[:, :1], labels=np.zeros((1, 1, 1), np.int64), boxes=boxes[:, :1]),
    }
    for way, given in ways.items():
        fed = {f"input_{name}": value for name, value in given.items()}
        found = dict(zip((o.name for o in decoder.get_outputs()), decoder.run(None, {**maps, **fed}), strict=True))
        prompts = {}
        if way != "boxes":
            prompts = {f"input_{name}": torch.from_numpy(given[name]) for name in ("points", "labels")}
        if way != "points":
            prompts["input_boxes"] = torch.from_numpy(given["boxes"])
        with torch.no_grad():
            output = model(torch.from_numpy(pixels), **prompts)
        np.testing.assert_allclose(
            found["pred_masks"], output.pred_masks, atol=1e-4 * float(output.pred_masks.abs().max())
        )
        np.testing.assert_allclose(found["iou_scores"], output.iou_scores, atol=1e-4)
        assert ("object_score_logits" in found) == model.config.capabilities.object_score
        if "object_score_logits" in found:
            np.testing.assert_allclose(found["object_score_logits"], output.object_score_logits, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("threshold", [0.98, 1.1])
@pytest.mark.parametrize("family", ["pocket", "sam2", "edgetam", "sam3"])
def test_fixed_slots_are_as_the_model(family, threshold):
    """The encoder's side and the decoder with slots, in PyTorch: 1.1 makes every single mask give way."""
    model = randomise(FINE["pocket"]() if family == "pocket" else SamModel(tiny_sam2(family)), 1).eval()
    if family != "pocket":
        model.config.mask_decoder_config.dynamic_multimask_stability_thresh = threshold
    pixels = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    embedding, *maps = ImageSide(model, restated(model)).eval()(pixels)
    encoded = model.encode(pixels)
    torch.testing.assert_close(embedding, encoded.embedding, rtol=1e-4, atol=1e-4 * float(embedding.abs().max()))
    decoder = SlotDecoder(model).eval()
    corners = torch.tensor([[10.0, 12], [60, 70]])
    for clicks, boxed in ((1, False), (0, True), (2, True)):
        points, labels = torch.zeros(1, 8, 2), torch.full((1, 8), -10, dtype=torch.int32)
        points[0, :clicks], labels[0, :clicks] = torch.tensor([[20.0, 30], [50, 9]])[:clicks], 1
        given = {"input_points": points[None, :, :clicks], "input_labels": labels[None, :, :clicks]} if clicks else {}
        if boxed:
            points[0, 4:6], labels[0, 4:6] = corners, torch.tensor([2, 3], dtype=torch.int32)
            given["input_boxes"] = corners.reshape(1, 1, 4)
        found = decoder(embedding, points, labels, torch.zeros(1, 1, 24, 24), torch.zeros(1), *maps)
        for i, many in enumerate((True, False)):
            output = model(
                image_embeddings=encoded.embedding,
                intermediate_embeddings=encoded.features,
                multimask_output=many,
                **given,
            )
            for mine, theirs in zip(found[2 * i :], (output.pred_masks[0], output.iou_scores[0]), strict=False):
                torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


@pytest.mark.parametrize("format", ["coreml", "executorch"])
@pytest.mark.parametrize("kind", ["pocket", "sam2", "sam3"])
def test_formats_of_fixed_slots(kind, format, root, tmp_path):
    model, out = FINE[kind](), tmp_path / "bundle"
    del model.mask_decoder.transformer.layers[1:]  # lowering takes long
    model.config.mask_decoder_config.num_hidden_layers = 1
    model = randomise(model, 1).eval()
    processor = SamImageProcessor.for_config(model.config)
    export_bundle("tiny", out, {format: ("fp32",)}, {"slots": 8}, model=model, processor=processor)
    (artefact,) = Manifest.read(out).artefacts
    assert artefact.gate["passed"]
    assert [t.name for t in artefact.file("encoder").outputs] == ["image_embedding", "stride_8", "stride_4"]
    check(ImagePredictor(BundleBackend(out)), SamPredictor(model), root / "examples" / "cat.jpg")
    if format == "coreml" and kind == "pocket":
        ious = run_predict_py(out)
        assert ious.shape == (21, 3) and ious.min() > 0.99
