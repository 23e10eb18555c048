"""Random prompts: valid ones pass through the model, invalid ones raise an error of one sentence."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sam_hub.errors import ImageError, PromptError
from sam_hub.models.image_processing_sam import SamImageProcessor
from sam_hub.models.processing_sam import SamProcessor

SIDE = 96
PROCESSOR = SamProcessor(SamImageProcessor(size={"longest_edge": SIDE}))
SMALL = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
MANY = settings(deadline=None, max_examples=120)


@st.composite
def images(draw: st.DrawFn) -> np.ndarray:
    height, width = draw(st.integers(1, 120)), draw(st.integers(1, 120))
    return np.full((height, width), draw(st.integers(0, 255)), np.uint8)


def inside(draw: st.DrawFn, size: tuple[int, int]) -> list[float]:
    """A point in the image."""
    return [draw(st.floats(0, size[1])), draw(st.floats(0, size[0]))]


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[np.ndarray], dict[str, Any]]:
    """Right prompts: every object has points, a box or both; each number differs from image to image."""
    batch = draw(st.lists(images(), min_size=1, max_size=3))
    points, labels, boxes = [], [], []
    for image in batch:
        size = image.shape[:2]
        points.append([])
        labels.append([])
        boxes.append([])
        for _ in range(draw(st.integers(1, 3))):
            kind = draw(st.sampled_from(["points", "box", "both"]))
            count = 0 if kind == "box" else draw(st.integers(1, 4))
            points[-1].append([inside(draw, size) for _ in range(count)] or draw(st.sampled_from([None, []])))
            labels[-1].append([draw(st.sampled_from([-1, 0, 1, 1, 2, 3, -10])) for _ in range(count)] or None)
            x0, y0 = draw(st.floats(-9, size[1] - 0.5)), draw(st.floats(-9, size[0] - 0.5))
            x1, y1 = draw(st.floats(0.1, 200)), draw(st.floats(0.1, 200))
            boxes[-1].append(None if kind == "points" else [x0, y0, max(x0, 0) + x1, max(y0, 0) + y1])
    return batch, {"input_points": points, "input_labels": labels, "input_boxes": boxes}


@torch.no_grad()
@SMALL
@given(batches(), st.booleans())
def test_right_prompts_go_through_the_model(tiny_vit, batch, masks):
    pictures, prompts = batch
    counts = [len(image) for image in prompts["input_boxes"]]
    if masks:
        prompts = {**prompts, "input_masks": [np.full((n, SIDE // 4, SIDE // 4), 2.0) for n in counts]}
    inputs = PROCESSOR(pictures, return_tensors="pt", **prompts)
    for name in ("input_points", "input_boxes"):
        if name in inputs:
            frame = inputs["reshaped_input_sizes"].flip(-1).max(0).values.repeat(inputs[name].shape[-1] // 2)
            real = (inputs[name] != -10).any(-1)
            assert (inputs[name][real] >= 0).all() and (inputs[name][real] <= frame + 1e-4).all()
    output = tiny_vit(**inputs)
    assert output.pred_masks.shape[:2] == (len(pictures), max(counts))
    assert output.pred_masks.isfinite().all() and output.iou_scores.isfinite().all()
    found = PROCESSOR.post_process_masks(output.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"])
    for mask, picture in zip(found, pictures, strict=True):
        assert mask.shape == (max(counts), 3, *picture.shape) and mask.dtype == torch.bool


ODD_NUMBERS = st.one_of(
    st.floats(),
    st.integers(),
    st.sampled_from([-10, -1, 0, 1, 7, math.nan, math.inf, 10**400, np.float32(3), np.int8(4), True]),
)
ODD_THINGS = st.one_of(
    ODD_NUMBERS, st.none(), st.text(max_size=3), st.just({}), st.just(np.zeros((0, 2))), st.just(3j), st.just(b"1"),
    st.just(np.array([1.0, None], object)), st.just(torch.ones(1, 2)), st.just(np.array("x"))
)  # fmt: skip
TREES = st.recursive(ODD_THINGS, lambda children: st.lists(children, max_size=4), max_leaves=24)
ARRAYS = st.builds(
    lambda shape, kind, value: np.full(shape, value).astype(kind),
    st.lists(st.integers(0, 4), max_size=5),
    st.sampled_from(["f4", "f8", "i8", "u1", "?", "f2", "U3"]),
    st.sampled_from([0.0, 1.0, 3.0, -10.0, 1000.0]),
)
PROMPTS = st.one_of(st.none(), TREES, ARRAYS, ARRAYS.filter(lambda a: a.dtype.kind not in "U").map(torch.from_numpy))


@MANY
@pytest.mark.filterwarnings("error")
@given(st.integers(1, 2), PROMPTS, PROMPTS, PROMPTS, PROMPTS)
def test_wrong_prompts_only_ever_get_a_sentence(count, points, labels, boxes, masks):
    pictures = [np.zeros((8, 9), np.uint8)] * count
    prompts = dict(input_points=points, input_labels=labels, input_boxes=boxes, input_masks=masks)
    check_answer(pictures, prompts)


def check_answer(pictures: list[np.ndarray], prompts: dict[str, Any]) -> None:
    """Either one sentence, or consistent arrays without NaN."""
    try:
        found = PROCESSOR(pictures, return_tensors="pt", **prompts)
    except PromptError as e:
        assert str(e) and "\n" not in str(e) and len(str(e)) < 400
    else:
        shapes = {tuple(v.shape[:2]) for name, v in found.items() if name.startswith("input_")}
        assert len(shapes) <= 1 and all(shape[0] == len(pictures) for shape in shapes)
        for name in ("input_points", "input_boxes", "input_masks"):
            assert name not in found or found[name].isfinite().all()


@MANY
@pytest.mark.filterwarnings("error")
@given(batches(), st.sampled_from(["input_points", "input_labels", "input_boxes"]), st.data())
def test_right_prompts_with_one_thing_gone_wrong(batch, name, data):
    pictures, prompts = batch
    node = prompts[name]
    while True:
        index = data.draw(st.integers(0, len(node) - 1))
        if not isinstance(node[index], list) or not node[index] or data.draw(st.integers(0, 3)) == 0:
            break
        node = node[index]
    node[index] = data.draw(st.one_of(ODD_THINGS, ODD_NUMBERS, ARRAYS))
    check_answer(pictures, prompts)


@MANY
@given(TREES)
@example("\n")
@example("http://a\nb")
def test_wrong_images_only_ever_get_a_sentence(image):
    try:
        PROCESSOR(image)
    except ImageError as e:
        assert str(e) and "\n" not in str(e)
    else:  # an array or a tensor among the odd things happens to be a picture
        assert isinstance(image, np.ndarray | torch.Tensor | list)
