"""SAM 2's preprocessing: stretched to a square, with files that ``transformers`` and transformers.js also read."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sam_hub.models.image_processing_sam import SamImageProcessor
from sam_hub.models.processing_sam import SamProcessor
from sam_hub.ops.images import stretch_smooth
from sam_hub.ops.preparation import Preparation

from .test_sam2 import SIZE, tiny_config

PHOTO = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)

THEIRS = {  # what the repositories of SAM 2 say
    "image_processor_type": "Sam2ImageProcessorFast",
    "processor_class": "Sam2Processor",
    "size": {"height": SIZE, "width": SIZE},
    "mask_size": {"height": SIZE // 4, "width": SIZE // 4},
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "resample": 2,
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "rescale_factor": 1 / 255,
}


@pytest.fixture
def processor() -> SamProcessor:
    return SamProcessor.for_config(tiny_config("sam2"))


def test_pixels_and_prompts_are_those_of_a_squashed_image(processor):
    found = processor(PHOTO, input_points=[[[[45, 30]]]], input_boxes=[[[9, 6, 90, 60]]], return_tensors="np")
    squashed = np.asarray(Image.fromarray(PHOTO).resize((SIZE, SIZE), Image.Resampling.BILINEAR), np.float32)
    expected = (squashed / 255 - THEIRS["image_mean"]) / THEIRS["image_std"]
    np.testing.assert_allclose(found["pixel_values"][0], expected.transpose(2, 0, 1), atol=1e-5)
    np.testing.assert_allclose(found["input_points"][0, 0], [[45 * SIZE / 90, 30 * SIZE / 60]])
    np.testing.assert_allclose(found["input_boxes"][0, 0], [9 * SIZE / 90, 6 * SIZE / 60, SIZE, SIZE])


def test_masks_are_enlarged_in_one_step(processor):
    low = torch.randn(1, 1, SIZE // 4, SIZE // 4, generator=torch.Generator().manual_seed(1))
    (found,) = processor.post_process_masks(low[None], [(60, 90)], [(SIZE, SIZE)], binarize=False)
    expected = torch.nn.functional.interpolate(low, (60, 90), mode="bilinear", align_corners=False)
    torch.testing.assert_close(found[0], expected[0])


def test_floats_are_resized_as_by_their_authors():
    expected = torch.from_numpy(PHOTO).permute(2, 0, 1)[None].float()
    for side in (40, 128):
        resized = torch.nn.functional.interpolate(
            expected, (side, side), mode="bilinear", antialias=True, align_corners=False
        )
        np.testing.assert_allclose(stretch_smooth(PHOTO, side), resized[0].permute(1, 2, 0), atol=1e-3)


def test_a_file_of_transformers_means_the_same(processor, tmp_path: Path):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(THEIRS))
    theirs = SamImageProcessor.from_pretrained(tmp_path)
    assert theirs.preparation() == processor.image_processor.preparation() == Preparation.read(tmp_path)
    assert theirs.resize_mode == "stretch" and theirs.mask_resize == "bilinear"


def test_what_is_written_comes_back_and_names_their_classes(processor, tmp_path: Path):
    processor.save_pretrained(tmp_path)
    for name in ("preprocessor_config.json", "processor_config.json"):
        written = json.loads((tmp_path / name).read_text())
        assert written["processor_class"] == "Sam2Processor"
        written = written.get("image_processor", written)
        assert written["image_processor_type"] == "Sam2ImageProcessor"
        assert written["size"] == THEIRS["size"] and written["mask_size"] == THEIRS["mask_size"]
    again = SamImageProcessor.from_pretrained(tmp_path)
    assert again.to_dict() == processor.image_processor.to_dict()


def test_the_masks_of_a_stride_of_their_own_are_kept(tmp_path: Path):
    """As of SAM 3, whose file says 1008 and 288."""
    file = {**THEIRS, "size": {"height": 1008, "width": 1008}, "mask_size": {"height": 288, "width": 288}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(file))
    assert Preparation.read(tmp_path).mask_stride == 3.5


def test_clicks_of_everything_mode_reach_every_edge(processor):
    """Theirs are scaled by the longest side, and end at two thirds of this photo's height."""
    _, points, _, _ = processor.image_processor.generate_crop_boxes(PHOTO, points_per_crop=8)
    last = SIZE * (1 - 1 / 16)
    assert points[0, :, 0].amax(0).tolist() == pytest.approx([last, last])


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is not None, reason="torchvision is installed")
def test_theirs_needs_torchvision():
    with pytest.raises(ImportError):
        importlib.import_module("transformers.models.sam2.image_processing_sam2")
