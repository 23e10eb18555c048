"""Dependent size settings of a processor: missing ones are derived, contradictions are refused."""

import json

import numpy as np
import pytest
import torch

from sam_hub import SamImageProcessor, SamModel, SamPredictor, SamProcessor
from sam_hub.errors import CheckpointError, ImageRangeWarning
from sam_hub.ops.preparation import Preparation

IMAGE = np.random.default_rng(5).integers(0, 256, (60, 90, 3), dtype=np.uint8)
SIZES = ("size", "pad_size", "frame_size", "mask_size", "mask_pad_size")


def sizes(processor: SamImageProcessor) -> list[int]:
    return [
        dict(getattr(processor, name)).get("longest_edge") or dict(getattr(processor, name))["width"] for name in SIZES
    ]


def edge(pixels: int) -> dict[str, int]:
    return {"longest_edge": pixels}


@pytest.fixture(scope="module")
def pocket() -> SamModel:
    return SamModel.from_pretrained("pocket").eval()


@pytest.fixture
def folder(tmp_path):
    """A processor of 512, as a file with all five sizes."""
    SamImageProcessor.from_pretrained("pocket").save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("side", [256, 768])
def test_a_size_that_is_changed_takes_the_others_along(folder, side):
    expected = [side, side, side, side // 4, side // 4]
    assert sizes(SamImageProcessor.from_pretrained(folder, size=edge(side))) == expected
    assert sizes(SamProcessor.from_pretrained("pocket", size=edge(side)).image_processor) == expected
    later = SamImageProcessor.from_pretrained(folder)
    later.size = edge(side)
    assert sizes(later) == expected
    called = SamImageProcessor.from_pretrained(folder)(IMAGE, IMAGE[..., 0], size=edge(side), return_tensors="pt")
    assert called["pixel_values"].shape[-1] == side and called["labels"].shape[-1] == side // 4
    assert called["reshaped_input_sizes"].tolist() == [[side * 2 // 3 + (side == 256), side]]


def test_a_frame_of_its_own_keeps_its_proportion():
    """EfficientViT-SAM L0 counts coordinates to twice its input."""
    l0 = SamImageProcessor(size=edge(512), frame_size=edge(1024))
    assert sizes(l0) == [512, 512, 1024, 256, 256]
    l0.size = edge(256)
    assert sizes(l0) == [256, 256, 512, 128, 128]
    found = SamImageProcessor(size=edge(512), frame_size=edge(1024))(IMAGE, size=edge(256), return_tensors="np")
    assert found["reshaped_input_sizes"].tolist() == [[341, 512]] and found["pixel_values"].shape[-1] == 256


def test_what_is_given_beside_a_size_stays():
    found = SamImageProcessor(size=edge(64), pad_size={"height": 96, "width": 128})
    assert sizes(found) == [64, 128, 64, 16, 32]
    found = SamImageProcessor(size=edge(64))(
        IMAGE, IMAGE[..., 0], size=edge(32), mask_size=edge(16), return_tensors="np"
    )
    assert found["labels"].shape[-2:] == (16, 16)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"size": edge(768), "pad_size": {"height": 512, "width": 512}}, "does not hold an image resized to 768"),
        (
            {"size": edge(64), "pad_size": {"height": 32, "width": 64}, "resize_mode": "stretch"},
            "does not hold an image resized to 64",
        ),
        ({"size": edge(64), "mask_size": edge(16), "mask_pad_size": {"height": 32, "width": 32}}, "not in proportion"),
        ({"size": edge(256)}, "not in proportion"),  # the file has the other four of 512
    ],
)
def test_sizes_that_contradict_each_other_are_refused(folder, settings, reason):
    if len(settings) > 1:
        with pytest.raises(ValueError, match=reason):
            SamImageProcessor(**settings)
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    with pytest.raises(ValueError, match=reason):
        SamImageProcessor.from_pretrained(folder)
    with pytest.raises(ValueError, match=reason):
        Preparation.read(folder)
    if len(settings) > 1:
        with pytest.raises(ValueError, match=reason):
            SamImageProcessor(size=edge(64))(IMAGE, **settings)


def test_a_frame_that_is_not_the_models_is_refused(folder, pocket, tmp_path):
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "size": edge(256), "pad_size": None}))
    wrong = SamImageProcessor.from_pretrained(folder)
    for pair in (lambda: SamPredictor(pocket, wrong), lambda: SamProcessor.for_config(pocket.config, wrong)):
        with pytest.raises(ValueError, match="counts coordinates to 512 for an input of 256, and the model to 256"):
            pair()


def test_a_configuration_that_was_changed_and_saved(tmp_path):
    model = SamModel.from_pretrained("pocket")
    model.config.vision_config.image_size = 256
    model.save_pretrained(tmp_path)
    assert sizes(SamProcessor.for_config(model.config).image_processor) == [256, 256, 256, 64, 64]
    assert sizes(SamPredictor(SamModel.from_pretrained(tmp_path)).processor) == [256, 256, 256, 64, 64]


@pytest.mark.parametrize(
    "settings",
    [
        {"size": edge(256)},
        {"size": edge(768)},
        {"pad_size": {"height": 768, "width": 768}},
        {"pad_size": {"height": 512, "width": 768}},
        {"size": edge(256), "pad_size": {"height": 384, "width": 384}},
        {"do_resize": False},
    ],
    ids=str,
)
def test_masks_come_back_to_the_image_whatever_the_call_changed(pocket, root, settings):
    """The same object, from the same box, without repeating the settings in `post_process_masks`."""
    processor = SamProcessor.from_pretrained("pocket")
    box = [25.0, 0.0, 400.0, 299.0]
    found = []
    for changed in ({}, settings):
        inputs = processor(root / "examples" / "cat.jpg", input_boxes=box, return_tensors="pt", **changed)
        with torch.no_grad():
            masks = pocket(**inputs, multimask_output=False).pred_masks
        (mask,) = processor.post_process_masks(masks, inputs["original_sizes"], inputs["reshaped_input_sizes"])
        found.append(mask[0, 0])
    a, b = found
    assert a.shape == b.shape and (a & b).sum() / (a | b).sum() > 0.75  # 0.02 where a setting is forgotten


@pytest.mark.parametrize("maps", ["one map", "a stack of two"])
def test_the_processors_labels_give_a_loss(pocket, maps):
    box = [[10, 10, 60, 50]]
    segmentation, boxes = IMAGE[..., 0] > 99, [box]
    if maps == "a stack of two":
        segmentation, boxes = np.stack([segmentation, ~segmentation]), [box * 2]
    inputs = SamProcessor.from_pretrained("pocket")(
        IMAGE, segmentation_maps=[segmentation], input_boxes=boxes, return_tensors="pt"
    )
    with torch.no_grad():
        loss = pocket(**inputs).loss
        stacked = {**inputs, "labels": inputs["labels"].reshape(1, -1, 128, 128)}
        assert loss.isfinite() and loss == pocket(**stacked).loss


def test_labels_that_do_not_fit_are_told(pocket):
    inputs = SamProcessor.from_pretrained("pocket")(
        IMAGE, input_boxes=[[[1, 1, 50, 50], [9, 9, 50, 50]]], return_tensors="pt"
    )
    with pytest.raises(ValueError, match=r"labels must be \(1, 2\) .* give the processor a stack"):
        pocket(**inputs, labels=torch.zeros(1, 128, 128))
    with pytest.raises(ValueError, match=r"labels must be a tensor \(images, objects, height, width\); got a list"):
        pocket(**inputs, labels=[np.zeros((60, 90))])


def test_a_value_range_of_a_call_of_the_file_and_of_the_predictor(folder, pocket):
    deep = IMAGE.astype(np.uint16) * 16
    exact = np.rint(deep / 4095 * 255).astype(np.uint8)
    processor = SamImageProcessor.from_pretrained(folder)
    right = processor(exact, return_tensors="pt")["pixel_values"]
    assert "value_range" not in processor.to_dict()
    with pytest.warns(ImageRangeWarning):
        processor(deep)
    torch.testing.assert_close(processor(deep, value_range=(0, 4095), return_tensors="pt")["pixel_values"], right)
    SamImageProcessor.from_pretrained(folder, value_range="0,4095").save_pretrained(folder)
    again = SamImageProcessor.from_pretrained(folder)
    torch.testing.assert_close(again(deep, return_tensors="pt")["pixel_values"], right)
    with pytest.raises(ValueError, match="value_range must be"):
        SamImageProcessor(value_range="bright")
    features = []
    for source, own, given in ((exact, processor, None), (deep, processor, (0, 4095)), (deep, again, None)):
        predictor = SamPredictor(pocket, own)
        predictor.set_image(source, value_range=given)
        features.append(predictor.features)
    assert torch.equal(features[0], features[1]) and torch.equal(features[0], features[2])


def test_settings_that_switch_a_step_off_hold_without_torch_too(folder):
    for change in (
        {"do_normalize": False},
        {"do_rescale": False},
        {"image_mean": 0.5, "image_std": 0.25},
        {"do_pad": False},
    ):
        processor = SamImageProcessor.from_pretrained(folder, **change)
        preparation = Preparation.from_settings(processor.to_dict())
        found = preparation(IMAGE).pixel_values
        np.testing.assert_array_equal(found, processor(IMAGE, return_tensors="np")["pixel_values"])
        assert preparation.padded_size_in_frame(IMAGE.shape[:2]) == found.shape[-2:]  # where its masks are cut


def test_coordinates_of_another_frame_are_refused_by_the_model(folder, pocket):
    processor = SamProcessor.from_pretrained(folder)
    inputs = processor(IMAGE, input_boxes=[[[5, 5, 40, 40]]], frame_size={"longest_edge": 1024}, return_tensors="pt")
    with pytest.raises(ValueError, match="the processor counts coordinates to 1024, and the model to 512"):
        pocket(**inputs)
    pocket(**processor(IMAGE, input_boxes=[[[5, 5, 40, 40]]], return_tensors="pt"))


def test_a_size_that_is_no_longest_edge_is_named(folder):
    processor = SamImageProcessor.from_pretrained(folder)
    for wrong in (96, "96", {"shortest_edge": 96}):
        with pytest.raises(ValueError, match=r'size must be \{"longest_edge": pixels\}; got .*96'):
            processor(IMAGE, size=wrong)
    with pytest.raises(CheckpointError, match=r'size must be \{"longest_edge": pixels\}; got 96'):
        SamImageProcessor.from_pretrained(folder, size=96)
