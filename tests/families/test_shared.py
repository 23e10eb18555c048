"""Tests that every family in the registry must pass, new ones included.

`toy` is in ``tests/plugins``, outside the package, and known by its entry point.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from sam_hub.exporters.bundle import export_bundle

from sam_hub import convert
from sam_hub.families import registry
from sam_hub.families.family import Family
from sam_hub.inference.amg import SamAutomaticMaskGenerator
from sam_hub.inference.predictor import SamPredictor
from sam_hub.inference.runtime import OnnxPredictor
from sam_hub.models.configuration_sam import SamConfig
from sam_hub.models.modeling_sam import SamModel
from sam_hub.models.processing_sam import SamProcessor

from ..models.conftest import IMAGE_SIZE, WIDTH, randomise

FAMILIES = [family for family in registry.families() if family.tiny or family.encoders]
CLICK = dict(point_coords=np.array([[40, 30]]), point_labels=np.array([1]))


def tiny(family: Family) -> SamConfig:
    """The small configuration that a family declares, in the size of the tests."""
    encoder = next(({"model_type": name, **part.tiny} for name, part in family.encoders.items()), {})
    settings = family.tiny
    return SamConfig(
        vision_config={"output_channels": WIDTH, "image_size": IMAGE_SIZE, **settings.get("vision_config", encoder)},
        prompt_encoder_config={
            "hidden_size": WIDTH,
            "image_size": IMAGE_SIZE,
            **settings.get("prompt_encoder_config", {}),
        },
        mask_decoder_config={
            "hidden_size": WIDTH,
            "mlp_dim": 48,
            "num_attention_heads": 4,
            "iou_head_hidden_dim": 28,
            **settings.get("mask_decoder_config", {}),
        },
    )


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.name)
def family(request: pytest.FixtureRequest) -> Family:
    return request.param


@pytest.fixture(scope="module")
def model(family: Family) -> SamModel:
    return randomise(SamModel(tiny(family))).eval()


@pytest.fixture(scope="module")
def folder(model: SamModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved")
    model.save_pretrained(path)
    SamProcessor.for_config(model.config).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    rng = np.random.default_rng(0)
    smooth = rng.integers(0, 256, (5, 8, 3), dtype=np.uint8)
    return np.kron(smooth, np.ones((12, 12, 1), np.uint8))  # 60 x 96


def test_a_folder_comes_back(model, folder):
    loaded = SamModel.from_pretrained(folder)
    for part in model.config.sub_configs_defaults:
        before, after = (getattr(each.config, part) for each in (model, loaded))
        assert type(before) is type(after) and before.to_dict() | {"dtype": 0} == after.to_dict() | {"dtype": 0}
    assert loaded.config.capabilities == model.config.capabilities
    expected = model.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in loaded.state_dict().items())


def test_the_decoder_reads_what_the_encoder_gives(model):
    can = model.config.capabilities
    features = model.encode(torch.zeros(2, 3, IMAGE_SIZE, IMAGE_SIZE)).features
    grid = (model.config.prompt_encoder_config.image_embedding_size,) * 2
    shapes = model.mask_decoder.feature_shapes(grid)
    assert tuple(shapes) == model.mask_decoder.feature_maps == can.feature_maps
    assert set(can.feature_maps) <= set(features)
    assert all(tuple(features[name].shape[1:]) == shape for name, shape in shapes.items())


@torch.no_grad()
def test_processor_model_and_predictor_agree(model, folder, photo):
    can = model.config.capabilities
    processor = SamProcessor.from_pretrained(folder)
    inputs = processor(photo, input_points=[[[[40, 30]]]], return_tensors="pt")
    assert inputs["pixel_values"].shape == (1, 3, IMAGE_SIZE, IMAGE_SIZE)
    predictor = SamPredictor(SamModel.from_pretrained(folder))
    predictor.set_image(photo)
    for multimask in (False, True):
        output = model(**inputs, multimask_output=multimask)
        sizes = inputs["original_sizes"], inputs["reshaped_input_sizes"]
        masks = processor.post_process_masks(output.pred_masks, *sizes, binarize=False)[0][0]
        assert masks.shape == (can.masks[-1] if multimask else 1, *photo.shape[:2]) and masks.isfinite().all()
        found, scores, low_res = predictor.predict(**CLICK, multimask_output=multimask, return_logits=True)
        np.testing.assert_allclose(low_res, output.pred_masks[0, 0], atol=2e-4)
        ranked = model.mask_decoder.ranking(output.pred_masks, output.iou_scores)[0, 0]
        np.testing.assert_allclose(scores, ranked, atol=1e-3)
        np.testing.assert_allclose(found, masks, atol=5e-4)


TRACED = set()
"""Classes of prompt encoder and mask decoder that were compiled: tracing takes seconds."""


@torch.no_grad()
def test_compiled_as_one_graph(model):
    """Objects with a click, with a box and with both; a graph break is an error."""
    pixels = torch.randn(1, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(0))
    prompts = {
        "input_points": torch.tensor([[[[20.0, 30.0]], [[-10, -10]], [[50.0, 50.0]]]]),
        "input_labels": torch.tensor([[[1], [-10], [1]]]),
        "input_boxes": torch.tensor([[[-10.0, -10, -10, -10], [5, 5, 60, 60], [5, 5, 60, 60]]]),
    }
    torch.compiler.reset()
    parts = type(model.prompt_encoder), type(model.mask_decoder)
    if parts in TRACED:
        found = torch.compile(model.vision_encoder, fullgraph=True, backend="eager")(pixels).embedding
        torch.testing.assert_close(found, model.vision_encoder(pixels).embedding, atol=1e-5, rtol=1e-5)
        return
    TRACED.add(parts)
    found = torch.compile(model, fullgraph=True, backend="eager")(pixels, **prompts)
    expected = model(pixels, **prompts)
    atol = 1e-5 * max(1.0, float(expected.pred_masks.abs().max()))
    torch.testing.assert_close(found.pred_masks, expected.pred_masks, atol=atol, rtol=1e-5)
    torch.testing.assert_close(found.iou_scores, expected.iou_scores, atol=1e-5, rtol=1e-5)


def test_everything(model, photo):
    generator = SamAutomaticMaskGenerator(
        SamPredictor(model), points_per_side=3, pred_iou_thresh=-100.0, stability_score_thresh=0.0
    )
    records = generator.generate(photo)
    assert records and all(record["segmentation"].shape == photo.shape[:2] for record in records)


@torch.no_grad()
def test_onnx_files(family, model, folder, photo, tmp_path):
    """Of plug-ins; ``tests/exporters`` has those of the package."""
    if family in registry.built_in():
        return
    export_bundle(
        "tiny", tmp_path / "out", {"onnx": ("fp32",)}, model=SamModel.from_pretrained(folder),
        processor=SamProcessor.from_pretrained(folder).image_processor,
    )  # fmt: skip
    exported, predictor = OnnxPredictor(tmp_path / "out"), SamPredictor(model)
    for each in (exported, predictor):
        each.set_image(photo)
    _, scores, low_res = exported.predict(**CLICK, multimask_output=True)
    _, expected, logits = predictor.predict(**CLICK, multimask_output=True)
    np.testing.assert_allclose(scores, expected, atol=1e-3)
    np.testing.assert_allclose(low_res, logits, atol=1e-3 * np.abs(logits).max())


def test_a_checkpoint_of_its_authors_is_recognised(model, family):
    for layout in list(family.originals)[:1]:
        original = convert.to_original(model.state_dict(), layout)
        assert convert.detect_family({key: tuple(value.shape) for key, value in original.items()}) == layout
