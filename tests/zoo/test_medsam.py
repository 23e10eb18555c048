"""MedSAM: SAM's network, with images, prompts and masks of its own (bowang-lab/MedSAM, ``MedSAM_Inference.py``)."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from sam_hub import convert
from sam_hub.errors import PromptError
from sam_hub.inference.predictor import SamPredictor
from sam_hub.models.configuration_sam import SamConfig, SamPromptEncoderConfig, SamVisionConfig
from sam_hub.models.modeling_sam import SamModel
from sam_hub.models.processing_sam import SamProcessor

SIDE = 128


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A small SAM under the name of MedSAM's file: only the name tells the two apart."""
    torch.manual_seed(0)
    config = SamConfig(
        vision_config=SamVisionConfig(
            hidden_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            global_attn_indexes=[1],
            window_size=3,
            image_size=SIDE,
        ),
        prompt_encoder_config=SamPromptEncoderConfig(image_size=SIDE),
    )
    path = tmp_path_factory.mktemp("medsam") / "medsam_vit_b.pth"
    torch.save(convert.to_original(SamModel(config).state_dict(), "sam"), path)
    return path


@pytest.fixture(scope="module")
def model(file):
    return SamModel.from_pretrained(file).eval()


@pytest.fixture(scope="module")
def scan():
    """Dark and of low contrast, as scans are; wider than high."""
    rng = np.random.default_rng(0)
    return np.repeat(rng.integers(20, 90, (40, 70, 1), dtype=np.uint8), 3, axis=-1)


def test_images_are_stretched_and_span_zero_to_one(file, scan):
    inputs = SamProcessor.from_pretrained(file)(scan, input_boxes=[[[7, 4, 63, 36]]], return_tensors="pt")
    resized = np.asarray(Image.fromarray(scan).resize((SIDE, SIDE), Image.Resampling.BICUBIC)).astype(np.float64)
    expected = (resized - resized.min()) / (resized.max() - resized.min())
    assert np.allclose(inputs["pixel_values"][0].permute(1, 2, 0), expected, atol=1e-6)
    assert inputs["pixel_values"].min() == 0 and inputs["pixel_values"].max() == 1
    assert np.allclose(inputs["input_boxes"].flatten(), np.array([7 / 70, 4 / 40, 63 / 70, 36 / 40]) * SIDE)


def test_an_image_of_one_colour_does_not_divide_by_nothing(file):
    values = SamProcessor.from_pretrained(file)(np.full((9, 9, 3), 40, np.uint8), return_tensors="pt")["pixel_values"]
    assert not values.any()


def test_probabilities_are_resized_not_logits(file):
    processor = SamProcessor.from_pretrained(file)
    logits = 8 * torch.randn(1, 2, 1, SIDE // 4, SIDE // 4, generator=torch.Generator().manual_seed(0))
    sizes = [[40, 70]], [[SIDE, SIDE]]
    expected = F.interpolate(logits[0].sigmoid(), (40, 70), mode="bilinear", align_corners=False)
    assert torch.equal(processor.post_process_masks(logits, *sizes)[0], expected > 0.5)
    values = processor.post_process_masks(logits, *sizes, binarize=False)[0]
    assert torch.allclose(values.sigmoid(), expected, atol=1e-5)
    plain = F.interpolate(logits[0], (40, 70), mode="bilinear", align_corners=False) > 0
    assert not torch.equal(plain, expected > 0.5), "the comparison would be vacuous"


def test_boxes_only(model):
    pixels = torch.rand(1, 3, SIDE, SIDE)
    box, point = torch.tensor([[[10.0, 10, 90, 80]]]), torch.tensor([[[[30.0, 30.0]]]])
    assert model(pixels, input_boxes=box).pred_masks.isfinite().all()
    with pytest.raises(PromptError, match=r"does not understand points, only boxes; .*sam-hub zoo"):
        model(pixels, point)
    with pytest.raises(PromptError, match="does not understand points and masks"):
        model(pixels, point, input_masks=torch.zeros(1, 1, SIDE // 4, SIDE // 4))


@torch.no_grad()
def test_the_predictor_and_a_saved_folder_do_the_same(model, file, scan, tmp_path):
    model.save_pretrained(tmp_path)
    box = np.array([7, 4, 63, 36])
    results = []
    for each in (model, SamModel.from_pretrained(tmp_path)):
        predictor = SamPredictor(each)
        predictor.set_image(scan)
        results.append(predictor.predict(box=box, multimask_output=False, return_logits=True))
        with pytest.raises(PromptError, match="points"):
            predictor.predict(np.array([[9, 9]]), np.array([1]))
    assert results[0][0].shape == (1, 40, 70)
    assert all(map(np.array_equal, *results))

    processor = SamProcessor.from_pretrained(file)
    inputs = processor(scan, input_boxes=[[box]], return_tensors="pt")
    output = model(**inputs, multimask_output=False)
    sizes = inputs["original_sizes"], inputs["reshaped_input_sizes"]
    expected = processor.post_process_masks(output.pred_masks, *sizes, binarize=False)[0][0]
    assert np.allclose(results[0][0], expected, atol=1e-4)
