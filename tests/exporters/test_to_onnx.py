"""ONNX files of every family compute what the models compute, for any number of images, prompts and points."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from sam_hub.exporters.bundle import export_bundle
from sam_hub.exporters.formats.onnx.export import encoder_graph
from sam_hub.exporters.formats.onnx.graphs import Decoder, MetaDecoder, plain_attention
from sam_hub.exporters.manifest import Manifest

from sam_hub.models.configuration_sam import (
    EfficientSamMaskDecoderConfig,
    EfficientSamPromptEncoderConfig,
    HqMaskDecoderConfig,
    SamConfig,
    SamVisionConfig,
)
from sam_hub.models.image_processing_sam import SamImageProcessor
from sam_hub.models.modeling_sam import SamModel

from ..models.conftest import IMAGE_SIZE, TINY_ENCODERS, WIDTH, randomise, tiny_config

ENCODER, DECODER = "onnx/vision_encoder.onnx", "onnx/prompt_encoder_mask_decoder.onnx"
IN_BUNDLES = {"sam_hub_repvit", "sam_hub_efficient_sam"}
"""Encoders that other tests here export."""


def session(graph: onnx.ModelProto | Path) -> onnxruntime.InferenceSession:
    given = str(graph) if isinstance(graph, Path) else graph.SerializeToString()
    return onnxruntime.InferenceSession(given, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", sorted(set(TINY_ENCODERS) - IN_BUNDLES))
def test_every_encoder_for_any_number_of_images(name):
    model = randomise(SamModel(tiny_config(name))).fuse()
    run = session(encoder_graph(model))
    for images in (1, 3):
        pixels = torch.randn(images, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(images))
        with torch.no_grad():
            expected = model.encode(pixels).embedding.numpy()
        embedding, positions, *_ = run.run(None, {"pixel_values": pixels.numpy()})  # then maps for the decoder
        np.testing.assert_allclose(embedding, expected, atol=2e-5 * np.abs(expected).max())
        assert positions.shape == expected.shape


PROMPTS = {
    "points": ([[[20.0, 30.5], [70, 8], [50, 50], [1, 90], [33, 60]]], [[1, 0, 1, 1, 0]], None),
    "a box as two points": ([[[10.0, 20], [80, 90]]], [[2, 3]], None),
    "a box and a point": ([[[40.0, 44], [10, 20], [80, 90]]], [[1, 2, 3]], None),
    "uneven prompts": (
        [[[20.0, 30.5], [70, 8], [50, 50]], [[60.0, 10], [-10, -10], [-10, -10]], [[5.0, 5], [90, 90], [-10, -10]]],
        [[1, 0, 1], [1, -10, -10], [2, 3, -10]],
        None,
    ),
    "a mask and a point": ([[[20.0, 30.5]]], [[1]], 5.0),
}


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_the_decoder_for_any_number_of_everything(repvit_bundle, prompt, images):
    model, bundle = repvit_bundle
    points, labels, mask = prompt
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(images, WIDTH, IMAGE_SIZE // 16, IMAGE_SIZE // 16)).astype(np.float32)
    xy = np.stack([np.array(points, np.float32) + i for i in range(images)])
    kinds = np.stack([np.array(labels)] * images)
    xy[kinds == -10] = -10
    positions = model.get_image_wide_positional_embeddings().numpy().repeat(images, 0)
    feed = {"image_embeddings": embeddings, "image_positional_embeddings": positions}
    feed |= {"input_points": xy, "input_labels": kinds}
    arguments = {}
    if mask:
        side = IMAGE_SIZE // 4
        rough = rng.normal(scale=mask, size=(images, 1, side, side)).astype(np.float32)
        feed |= {"mask_input": rough, "has_mask_input": np.ones(images, np.float32)}
        arguments["input_masks"] = torch.from_numpy(rough)
    names = ["iou_scores", "pred_masks", "single_iou_score", "single_pred_mask"]
    found = dict(zip(names, session(bundle / DECODER).run(names, feed), strict=True))

    corner = np.isin(kinds, (2, 3))
    clicks, boxes = xy.copy(), np.full((*kinds.shape[:2], 4), -10, np.float32)
    for at in np.ndindex(kinds.shape[:2]):
        if corner[at].any():
            boxes[at] = xy[at][corner[at]].reshape(4)
    clicks[corner] = -10
    with torch.no_grad():
        for multimask, which in (
            (True, ("iou_scores", "pred_masks")),
            (False, ("single_iou_score", "single_pred_mask")),
        ):
            expected = model(
                image_embeddings=torch.from_numpy(embeddings),
                input_points=torch.from_numpy(clicks),
                input_labels=torch.from_numpy(np.where(corner, -10, kinds)),
                input_boxes=torch.from_numpy(boxes),
                multimask_output=multimask,
                **arguments,
            )
            for name, value in zip(which, (expected.iou_scores, expected.pred_masks), strict=True):
                assert found[name].shape == tuple(value.shape)
                np.testing.assert_allclose(found[name], value.numpy(), atol=5e-5 * float(value.abs().max()))


def hq_config() -> SamConfig:
    base = tiny_config()
    vision = SamVisionConfig(
        **{**TINY_ENCODERS["sam_vision_model"], "output_channels": WIDTH, "image_size": IMAGE_SIZE},
        output_intermediate=True,
    )
    decoder = HqMaskDecoderConfig(
        hidden_size=WIDTH, mlp_dim=48, num_attention_heads=4, iou_head_hidden_dim=28, num_hidden_layers=1, vit_dim=24
    )
    return SamConfig(
        vision_config=vision, prompt_encoder_config=base.prompt_encoder_config, mask_decoder_config=decoder
    )


def efficient_sam_config() -> SamConfig:
    base = tiny_config("sam_hub_efficient_sam")
    prompts = EfficientSamPromptEncoderConfig(hidden_size=WIDTH, image_size=IMAGE_SIZE)
    decoder = EfficientSamMaskDecoderConfig(
        hidden_size=WIDTH, mlp_dim=48, num_attention_heads=4, iou_head_hidden_dim=28, num_hidden_layers=1
    )
    return SamConfig(vision_config=base.vision_config, prompt_encoder_config=prompts, mask_decoder_config=decoder)


@pytest.mark.parametrize("config", [hq_config, efficient_sam_config])
def test_families_with_other_decoders_pass_the_gate(config, tmp_path):
    model = randomise(SamModel(config())).eval()
    processor = SamImageProcessor.for_config(model.config)
    export_bundle("tiny", tmp_path / "out", {"onnx": ("fp32",)}, model=model, processor=processor)
    (artefact,) = Manifest.read(tmp_path / "out").artefacts
    inputs = {tensor.name for tensor in artefact.file("decoder").inputs}
    assert artefact.gate["passed"] and artefact.gate["prompts"] >= 15
    assert ("intermediate_embeddings" in inputs) == (config is hq_config)
    assert ("mask_input" in inputs) == (config is hq_config)


@pytest.mark.parametrize("masks", ["multi", "all", "single"])
def test_the_original_contract_chooses_masks_as_the_original_does(repvit_bundle, masks):
    """As a module; ``test_clients.py`` tests the exported graph."""
    model, _ = repvit_bundle
    embedding = torch.randn(1, WIDTH, IMAGE_SIZE // 16, IMAGE_SIZE // 16, generator=torch.Generator().manual_seed(1))
    decoder = MetaDecoder(Decoder(model), model.get_image_wide_positional_embeddings(), masks, stability=True)
    side = IMAGE_SIZE // 4
    for clicks in (1, 4):
        xy = torch.rand(1, clicks, 2, generator=torch.Generator().manual_seed(clicks)) * IMAGE_SIZE
        coords, labels = torch.cat([xy, torch.zeros(1, 1, 2)], 1), torch.tensor([[1.0] * clicks + [-1]])
        with torch.no_grad(), plain_attention(model):
            low_res, scores, stability = decoder(
                embedding, coords, labels, torch.zeros(1, 1, side, side), torch.zeros(1)
            )
            every = [
                model(image_embeddings=embedding, input_points=xy[None], multimask_output=many)
                for many in (False, True)
            ]
        expected = torch.cat([e.pred_masks[0, 0] for e in every])
        expected_scores = torch.cat([e.iou_scores[0, 0] for e in every])
        if masks == "multi":
            keep = [1, 2, 3]
        elif masks == "all":
            keep = [0, 1, 2, 3]
        else:  # the original: one or two tokens (a click and its padding) are ambiguous, more are not
            keep = [1 + int(expected_scores[1:].argmax())] if clicks + 1 <= 2 else [0]
        torch.testing.assert_close(low_res[0], expected[keep], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(scores[0], expected_scores[keep], atol=1e-5, rtol=1e-4)
        assert stability.shape == scores.shape and ((stability >= 0) & (stability <= 1)).all()


def test_nothing_of_the_machine_is_in_the_files(repvit_bundle):
    """Traces hold paths and source lines of where they were made."""
    _, bundle = repvit_bundle
    for name in (ENCODER, DECODER):
        content = (bundle / name).read_bytes()
        assert b"/home" not in content and b".py" not in content and b"site-packages" not in content
