"""`SamProcessor`: prompts in any nesting, padding that changes nothing, and refusals in one sentence."""

import math

import numpy as np
import pytest
import torch
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil
from transformers.models.sam.processing_sam import SamProcessor as TheirProcessor

from sam_hub.errors import PromptError
from sam_hub.models.image_processing_sam import SamImageProcessor
from sam_hub.models.processing_sam import SamProcessor

SIDE = 96  # of the tiny models of conftest.py
RNG = np.random.default_rng(4)
WIDE = RNG.integers(0, 256, (48, 64, 3), dtype=np.uint8)  # is scaled by 1.5
TALL = RNG.integers(0, 256, (90, 31, 3), dtype=np.uint8)  # to 96 x 33


@pytest.fixture(scope="module")
def processor() -> SamProcessor:
    return SamProcessor(SamImageProcessor(size={"longest_edge": SIDE}))


@pytest.fixture(scope="module")
def theirs() -> TheirProcessor:
    square = {"height": SIDE, "width": SIDE}
    return TheirProcessor(SamImageProcessorPil(size={"longest_edge": SIDE}, pad_size=square))


# ---------------------------------------------------------------- parity

SAME_AS_TRANSFORMERS = {
    "points of one object": dict(input_points=[[[3, 4], [5.5, 6]]]),
    "objects of one point": dict(input_points=[[[[3, 4]], [[5, 6]], [[7, 8]]]], input_labels=[[[1], [0], [1]]]),
    "points and labels": dict(input_points=[[[3, 4], [5.5, 6]]], input_labels=[[1, 0]]),
    "boxes": dict(input_boxes=[[[1, 2, 30, 40], [5, 6, 7, 8]]]),
    "point and box": dict(input_points=[[[3, 4]]], input_labels=[[1]], input_boxes=[[[1, 2, 30, 40]]]),
    "a tensor": dict(input_points=torch.tensor([[[[3.0, 4]], [[5, 6]]]]), input_boxes=torch.ones(1, 2, 4).cumsum(-1)),
}


@pytest.mark.parametrize("prompts", SAME_AS_TRANSFORMERS.values(), ids=SAME_AS_TRANSFORMERS)
def test_same_as_transformers(processor, theirs, prompts):
    a, b = (p(WIDE, return_tensors="pt", **prompts) for p in (processor, theirs))
    assert set(b) <= set(a) <= {*b, "input_labels"}
    for name in ("input_points", "input_boxes", "input_labels"):
        if name in b:
            torch.testing.assert_close(a[name], b[name].to(a[name].dtype), rtol=1e-6, atol=0)
    if "input_labels" not in b and "input_points" in b:
        assert (a["input_labels"] == 1).all()


def test_same_as_transformers_for_two_images(processor, theirs):
    prompts = dict(
        input_points=[[[3, 4], [5, 6]], [[7, 8], [1, 2]]],
        input_labels=[[1, 0], [1, 1]],
        input_boxes=[[[1, 2, 3, 4]], [[5, 6, 7, 80]]],
    )
    a, b = (p([WIDE, TALL], return_tensors="pt", **prompts) for p in (processor, theirs))
    for name in prompts:
        torch.testing.assert_close(a[name], b[name].to(a[name].dtype), rtol=1e-6, atol=0)


def test_types_and_frame(processor):
    found = processor(
        WIDE,
        input_points=[64, 48],
        input_boxes=np.array([0, 0, 64, 48]),
        input_masks=np.ones((24, 24)),
        return_tensors="pt",
    )
    assert {name: (tuple(v.shape), v.dtype) for name, v in found.items() if name.startswith("input_")} == {
        "input_points": ((1, 1, 1, 2), torch.float32),
        "input_labels": ((1, 1, 1), torch.int64),
        "input_boxes": ((1, 1, 4), torch.float32),
        "input_masks": ((1, 1, 24, 24), torch.float32),
    }
    assert found["input_points"].tolist() == [[[[96, 72]]]]
    assert found["input_boxes"].tolist() == [[[0, 0, 96, 72]]]
    found = processor(WIDE, input_points=[64, 48], return_tensors="np")
    assert found["input_points"].dtype == np.float32 and found["input_labels"].dtype == np.int64
    assert set(processor(WIDE)) == {"pixel_values", "original_sizes", "reshaped_input_sizes"}


def test_the_frame_of_a_single_call(processor):
    """transformers scales coordinates to the size in the settings, whatever size the call asks for."""
    prompts = dict(input_points=[64, 48], input_masks=np.zeros((8, 8)))
    found = processor(WIDE, **prompts, size={"longest_edge": 32}, return_tensors="pt")
    assert found["pixel_values"].shape[-1] == 32 and found["input_points"].tolist() == [[[[32, 24]]]]


def test_arguments_in_the_places_of_transformers(processor):
    by_name = processor(WIDE, input_points=[[[3, 4]]], input_labels=[[0]], input_boxes=[[[1, 2, 3, 4]]])
    by_place = processor(WIDE, None, None, [[[3, 4]]], [[0]], [[[1, 2, 3, 4]]])
    for name in ("input_points", "input_labels", "input_boxes"):
        np.testing.assert_array_equal(by_name[name], by_place[name])


# ---------------------------------------------------------------- nesting

POINTS = [[[3, 4], [5, 6]], [[7, 8], [9, 10]]]  # two objects with two points
LABELS = [[1, 0], [0, 1]]
BOXES = [[1, 2, 30, 40], [5, 6, 7, 8]]
EYE = np.eye(24)


def equal(a, b) -> bool:
    names = [name for name in a if name.startswith("input_")]
    return set(a) == set(b) and all(np.array_equal(a[name], b[name]) for name in names)


@pytest.mark.parametrize(
    ("short", "full"),
    [
        (dict(input_points=[3, 4]), dict(input_points=[[[[3, 4]]]])),
        (dict(input_points=[3, 4], input_labels=0), dict(input_points=[[[[3, 4]]]], input_labels=[[[0]]])),
        (dict(input_points=(3, 4), input_labels=(0,)), dict(input_points=[[[[3, 4]]]], input_labels=[[[0]]])),
        (dict(input_points=POINTS[0], input_labels=[1, 0]), dict(input_points=[[POINTS[0]]], input_labels=[[[1, 0]]])),
        (dict(input_points=POINTS[:1], input_labels=[1, 0]), dict(input_points=[POINTS[:1]], input_labels=[[[1, 0]]])),
        (dict(input_points=POINTS, input_labels=LABELS), dict(input_points=[POINTS], input_labels=[LABELS])),
        (dict(input_boxes=BOXES[0]), dict(input_boxes=[[BOXES[0]]])),
        (dict(input_boxes=BOXES), dict(input_boxes=[BOXES])),
        (dict(input_points=POINTS, input_boxes=BOXES), dict(input_points=[POINTS], input_boxes=[BOXES])),
        (dict(input_masks=EYE), dict(input_masks=[[EYE]])),
        (dict(input_boxes=BOXES, input_masks=[EYE] * 2), dict(input_boxes=[BOXES], input_masks=[[EYE] * 2])),
        (dict(input_boxes=BOXES, input_masks=EYE), dict(input_boxes=[BOXES], input_masks=[[EYE] * 2])),
        (dict(input_points=POINTS, input_boxes=None), dict(input_points=[POINTS])),
        (dict(input_points=POINTS, input_boxes=[None, None]), dict(input_points=[POINTS], input_boxes=[[None, None]])),
    ],
    ids=str,
)
def test_levels_that_may_be_left_away_for_one_image(processor, short, full):
    assert equal(processor(WIDE, **short), processor([WIDE], **full))


def test_the_object_level_may_be_left_away_for_several_images(processor):
    short = processor([WIDE, TALL], input_points=POINTS, input_labels=LABELS, input_masks=[EYE] * 2)
    full = processor(
        [WIDE, TALL],
        input_points=[[p] for p in POINTS],
        input_labels=[[p] for p in LABELS],
        input_masks=[[EYE]] * 2,
    )
    assert equal(short, full)


def kinds(value):
    """The same prompt as lists, tuples, arrays and tensors, also of the levels alone."""
    array = np.array(value)
    yield array
    yield array.astype(np.float32)
    yield torch.tensor(value)
    yield torch.tensor(value).double()
    yield list(array)
    yield [torch.tensor(v) for v in value]
    yield tuple(tuple(v) for v in value)
    yield [[np.array(leaf) for leaf in image] for image in value]
    objects = np.empty(len(value), object)
    objects[:] = value
    yield objects


def test_lists_arrays_and_tensors_are_alike(processor):
    expected = processor([WIDE, TALL], input_points=[POINTS] * 2, input_labels=[LABELS] * 2, input_boxes=[BOXES] * 2)
    for points, labels, boxes in zip(*map(kinds, ([POINTS] * 2, [LABELS] * 2, [BOXES] * 2)), strict=True):
        assert equal(processor([WIDE, TALL], input_points=points, input_labels=labels, input_boxes=boxes), expected)


def test_nothing_given_is_changed(processor):
    points, boxes = np.array([[-10.0, -10], [3, 4]]), np.array([-5.0, 2, 30, 400])
    before = points.copy(), boxes.copy()
    processor(WIDE, input_points=points, input_labels=[-10, 1], input_boxes=boxes)
    np.testing.assert_array_equal(points, before[0])
    np.testing.assert_array_equal(boxes, before[1])


# ---------------------------------------------------------------- ragged batches

OBJECTS = [  # for each image: objects as (points, labels, box, mask)
    [([[3, 4]], [1], None, 0), ([[5, 6], [30, 40], [60, 1]], [1, 0, 1], None, 1), ([[9, 9]], [1], None, 2)],
    [([[20, 60], [1, 2]], [1, 0], None, 3)],
]
BOXED = [
    [(None, None, [1, 2, 30, 40], 0), (None, None, [5, 6, 17, 18], 1), (None, None, [0, 0, 64, 48], 2)],
    [(None, None, [2, 20, 30, 80], 3)],
]
MIXED = [
    [([[3, 4]], [1], [1, 2, 30, 40], 0), (None, None, [5, 6, 17, 18], 1), ([[5, 6], [30, 40]], [1, 0], None, 2)],
    [(None, None, [2, 20, 30, 80], 3)],
    [([[1, 1], [2, 2], [3, 3], [4, 4]], [1, 1, 0, -1], None, 4), ([[9, 9]], [0], [1, 1, 20, 30], 5)],
]
MASKS = RNG.normal(size=(6, 24, 24)).astype(np.float32) * 3


def arguments(objects: list[list[tuple]], masks: bool) -> dict:
    """Ragged nested lists of a batch."""
    columns = [[[single[i] for single in image] for image in objects] for i in range(4)]
    names = ("input_points", "input_labels", "input_boxes")
    given = dict(zip(names, columns[:3], strict=True))
    given = {name: c for name, c in given.items() if any(leaf is not None for image in c for leaf in image)}
    if masks:
        given["input_masks"] = [[MASKS[i] for i in image] for image in columns[3]]
    return given


@torch.no_grad()
@pytest.mark.parametrize("masks", [False, True], ids=["", "masks"])
@pytest.mark.parametrize("objects", [OBJECTS, BOXED, MIXED], ids=["points", "boxes", "mixed"])
@pytest.mark.parametrize("model", ["tiny_vit", "tiny_pocket"])
def test_padding_changes_nothing(processor, request, model, objects, masks):
    """Each object alone and in the ragged batch: the same masks and scores."""
    model = request.getfixturevalue(model)
    images = [WIDE, TALL, WIDE[:, ::-1]][: len(objects)]
    inputs = processor(images, return_tensors="pt", **arguments(objects, masks))
    together = model(**inputs)
    most = max(map(len, objects))
    assert together.pred_masks.shape == (len(objects), most, 3, 24, 24)
    for i, (image, found) in enumerate(zip(images, objects, strict=True)):
        for j, single in enumerate(found):
            alone = model(**processor(image, return_tensors="pt", **arguments([[single]], masks)))
            assert alone.pred_masks.shape == (1, 1, 3, 24, 24) and alone.pred_masks.std() > 0.05
            torch.testing.assert_close(together.pred_masks[i, j], alone.pred_masks[0, 0], rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(together.iou_scores[i, j], alone.iou_scores[0, 0], rtol=1e-5, atol=1e-5)


def test_the_check_above_can_fail(processor, tiny_vit):
    """Padding with another value than -10 is seen by the model."""
    inputs = processor(WIDE, input_points=[[3, 4], [5, 6]], input_labels=[1, -10], return_tensors="pt")
    alone = tiny_vit(**processor(WIDE, input_points=[3, 4], return_tensors="pt")).pred_masks
    torch.testing.assert_close(tiny_vit(**inputs).pred_masks, alone, rtol=1e-5, atol=1e-5)
    inputs["input_labels"][0, 0, 1] = 0
    assert (tiny_vit(**inputs).pred_masks - alone).abs().max() > 1e-3


def test_padding_values(processor):
    found = processor([WIDE, TALL, WIDE], **arguments(MIXED, masks=False))
    points, labels, boxes = (found[f"input_{name}"] for name in ("points", "labels", "boxes"))
    assert points.shape == (3, 3, 4, 2) and labels.shape == (3, 3, 4) and boxes.shape == (3, 3, 4)
    assert labels[0].tolist() == [[1, -10, -10, -10], [-10] * 4, [1, 0, -10, -10]]
    assert (points[labels == -10] == -10).all() and (points[labels != -10] > 0).all()
    assert ((boxes == -10).all(-1) == [[False, False, True], [False, True, True], [True, False, True]]).all()


def test_padding_by_the_caller_is_kept(processor):
    """A tensor that is padded already, as transformers' users make them."""
    points = torch.tensor([[[[3.0, 4], [-10, -10]], [[0, 0], [-10, -10]]]])
    labels = torch.tensor([[[1, -10], [-10, -10]]])
    boxes = torch.tensor([[[-10.0] * 4, [1, 2, 3, 4]]])
    found = processor(WIDE, input_points=points, input_labels=labels, input_boxes=boxes, return_tensors="pt")
    assert torch.equal(found["input_labels"], labels)
    assert found["input_points"][0, 0].tolist() == [[4.5, 6], [-10, -10]]
    assert (found["input_points"][0, 1] == -10).all()  # label -10, whatever stood there
    assert found["input_boxes"].tolist() == [[[-10] * 4, [1.5, 3, 4.5, 6]]]


@pytest.mark.parametrize("empty", [None, []])
def test_an_image_without_prompts(processor, empty, tiny_vit):
    inputs = processor([WIDE, TALL], input_boxes=[empty, [[2, 20, 30, 80]]], return_tensors="pt")
    assert inputs["input_boxes"].shape == (2, 1, 4) and (inputs["input_boxes"][0] == -10).all()
    output = tiny_vit(**inputs)
    assert output.pred_masks.isfinite().all()
    assert [len(m) for m in processor.drop_padding(output.pred_masks, inputs)] == [0, 1]


@pytest.mark.parametrize("tensors", ["pt", "np", None])
def test_dropping_the_padding(processor, tensors):
    inputs = processor([WIDE, TALL, WIDE], return_tensors=tensors, **arguments(MIXED, masks=False))
    numbered = np.arange(9).reshape(3, 3)[..., None]
    for values in (numbered, torch.from_numpy(numbered), list(numbered), list(torch.from_numpy(numbered))):
        kept = processor.drop_padding(values, inputs)
        assert [v.flatten().tolist() for v in kept] == [[0, 1, 2], [3], [6, 7]]
        assert isinstance(kept[0], torch.Tensor) == isinstance(values[0], torch.Tensor)
    without = processor([WIDE, TALL, WIDE], return_tensors=tensors)
    assert [v.flatten().tolist() for v in processor.drop_padding(numbered, without)] == numbered[..., 0].tolist()


def test_many_objects_in_little_time(processor):
    points = np.stack(np.meshgrid(np.linspace(1, 60, 64), np.linspace(1, 40, 32)), -1).reshape(1, -1, 1, 2)
    found = processor(WIDE, input_points=points)
    np.testing.assert_allclose(found["input_points"], points * 1.5, rtol=1e-6)


# ---------------------------------------------------------------- the defects of transformers' processor


def test_one_point_beside_three_points(processor, tiny_vit):
    """There the padding is one value short."""
    inputs = processor(
        [WIDE, TALL],
        input_points=[[[1, 2]], [[1, 2], [3, 4], [5, 6]]],
        input_labels=[[1], [1, 0, 1]],
        return_tensors="pt",
    )
    assert inputs["input_labels"].tolist() == [[[1, -10, -10]], [[1, 0, 1]]]
    assert tiny_vit(**inputs).pred_masks.shape == (2, 1, 3, 24, 24)


def test_ragged_points_without_labels(processor):
    inputs = processor([WIDE, TALL], input_points=[[[1, 2]], [[1, 2], [3, 4]]])
    assert inputs["input_labels"].tolist() == [[[1, -10]], [[1, 1]]]


def test_ragged_boxes(processor):
    """transformers issue 32488."""
    inputs = processor([WIDE, TALL], input_boxes=[[[1, 2, 3, 4], [5, 6, 7, 8]], [[1, 2, 3, 4]]], return_tensors="pt")
    assert inputs["input_boxes"].shape == (2, 2, 4)


def test_arrays_as_points(processor):
    assert processor(WIDE, input_points=np.array([[[3, 4]]]))["input_points"].tolist() == [[[[4.5, 6]]]]


@pytest.mark.parametrize("tensors", ["pt", "np", None])
def test_coordinates_are_float32(processor, tensors):
    """float64 fails on MPS: transformers issues 28334 and 31060."""
    points, boxes = np.array([[[3.0, 4]]]), torch.tensor([[[1.0, 2, 3, 4]]], dtype=torch.float64)
    inputs = processor(WIDE, input_points=points, input_boxes=boxes, return_tensors=tensors)
    assert all(str(inputs[name].dtype).endswith("float32") for name in ("input_points", "input_boxes"))


def test_masks_for_each_object(processor, tiny_vit):
    """There only (B, 1, 256, 256) works, though (B, H, W) is documented."""
    for masks in (np.ones((1, 24, 24)), np.ones((2, 24, 24)), torch.ones(1, 2, 24, 24), torch.ones(1, 1, 24, 24)):
        inputs = processor(WIDE, input_boxes=BOXES, input_masks=masks, return_tensors="pt")
        assert tiny_vit(**inputs).pred_masks.shape == (1, 2, 3, 24, 24)


# ---------------------------------------------------------------- refusals

NAN, INF = math.nan, math.inf
WRONG = {
    "outside": (dict(input_points=[65, 3]), "point (65, 3) is outside the image, which is 64 x 48 pixels"),
    "below": (dict(input_points=[3, 48.5]), "is outside the image"),
    "negative": (dict(input_points=[-1, 3]), "point (-1, 3) is outside"),
    "nan": (dict(input_points=[NAN, 3]), "point (nan, 3) is not a number"),
    "inf": (dict(input_points=[3, INF]), "is not a number"),
    "infinite in float32": (dict(input_points=[1e300, 3], input_labels=-1), "is not a number"),
    "none inside": (dict(input_points=[[3, None]]), "is not a number"),
    "nan that is no point": (dict(input_points=[NAN, 3], input_labels=-1), "is not a number"),
    "label 7": (dict(input_points=[3, 4], input_labels=7), "label 7 is unknown; use 1 for the object"),
    "label -2": (dict(input_points=[3, 4], input_labels=[-2]), "label -2 is unknown"),
    "label 0.5": (dict(input_points=[3, 4], input_labels=[0.5]), "label 0.5 is unknown"),
    "label nan": (dict(input_points=[3, 4], input_labels=[NAN]), "label nan is unknown"),
    "label text": (dict(input_points=[3, 4], input_labels=["1"]), "got a str"),
    "more labels": (dict(input_points=[3, 4], input_labels=[1, 0]), "1 points have 2 labels"),
    "fewer labels": (dict(input_points=POINTS, input_labels=[[1, 0], [1]]), "2 points have 1 labels; give one"),
    "labels for other objects": (dict(input_points=POINTS, input_labels=[1, 0]), "input_points 2, input_labels 1"),
    "labels alone": (dict(input_labels=[1]), "input_labels were given without input_points"),
    "labels and a box": (dict(input_labels=[1], input_boxes=BOXES[0]), "without input_points"),
    "three coordinates": (dict(input_points=[1, 2, 3]), "a point must be [x, y]; got 3 numbers"),
    "one coordinate": (dict(input_points=[1]), "a point must be [x, y]"),
    "a lonely number": (dict(input_points=3), "must be nested as [image][object][point][x, y]"),
    "too deep": (dict(input_points=[[[[[3, 4]]]]]), "got 5 levels"),
    "uneven depth": (dict(input_points=[[[[3, 4]], 5]]), "points must be [x, y] pairs"),
    "uneven points": (dict(input_points=[[3, 4], [5]]), "points must be [x, y] pairs"),
    "text": (dict(input_points="3,4"), "got a str"),
    "a dict": (dict(input_points={"x": 3}), "got a dict"),
    "complex": (dict(input_points=np.array([3j, 4])), "points must be [x, y] pairs"),
    "strings": (dict(input_points=np.array(["3", "4"])), "points must be [x, y] pairs"),
    "too large a number": (dict(input_points=[10**400, 3]), "points must be [x, y] pairs"),
    "no points": (dict(input_points=[]), "hold no prompt; give at least one"),
    "an object with nothing": (dict(input_points=[[[[3, 4]], None]]), "neither a point nor a box"),
    "reversed": (dict(input_boxes=[30, 2, 1, 40]), "box (30, 2, 1, 40) is reversed or empty; it needs x0 < x1"),
    "reversed in y": (dict(input_boxes=[1, 40, 30, 2]), "reversed or empty"),
    "empty": (dict(input_boxes=[1, 2, 1, 40]), "reversed or empty"),
    "wholly outside": (dict(input_boxes=[70, 2, 90, 40]), "is outside the image, which is 64 x 48 pixels"),
    "touching": (dict(input_boxes=[-9, 2, 0, 40]), "is outside the image"),
    "nan box": (dict(input_boxes=[1, 2, NAN, 40]), "is not a number"),
    "three corners": (dict(input_boxes=[1, 2, 3]), "a box must be four numbers x0, y0, x1, y1; got 3"),
    "corners apart": (dict(input_boxes=[[[[1, 2], [3, 4]]]]), "must be nested as [image][object][x0, y0, x1, y1]"),
    "a number as a box": (dict(input_boxes=3), "must be nested"),
    "boxes for other objects": (dict(input_points=[[POINTS[0]]], input_boxes=BOXES), "input_points 1, input_boxes 2"),
    "for two images": (dict(input_points=[[[[3, 4]]]] * 2), "input_points are for 2 images, but 1"),
    "a small mask": (dict(input_masks=np.zeros((9, 24))), "low-res logits of 24 x 24, as an earlier prediction"),
    "a mask of the image": (dict(input_masks=np.zeros((48, 64))), "got 48 x 64"),
    "a mask of nan": (dict(input_masks=np.full((24, 24), NAN)), "NaN or infinite"),
    "a mask of 1e300": (dict(input_masks=np.full((24, 24), 1e300)), "NaN or infinite"),
    "a row": (dict(input_masks=np.zeros(24)), "must be nested as [image][object][row][column]"),
    "too many masks": (dict(input_boxes=BOXES, input_masks=np.zeros((3, 24, 24))), "input_boxes 2, input_masks 3"),
    "a mask for one": (dict(input_boxes=BOXES, input_masks=[[np.zeros((24, 24)), None]]), "every object needs one"),
    "text prompt": (dict(text="a cat"), "text prompts are not supported"),
}


@pytest.mark.parametrize(("prompts", "reason"), WRONG.values(), ids=WRONG)
def test_wrong_prompts_get_a_sentence(processor, prompts, reason):
    with pytest.raises(PromptError) as e:
        processor(WIDE, **prompts)
    text = str(e.value)
    assert reason in text and "\n" not in text and len(text) < 250


@pytest.mark.parametrize(
    ("prompts", "reason"),
    [
        (dict(input_points=[[[1, 2]], [[32, 4]]]), "is 31 x 90 pixels (image 1, object 0)"),
        (dict(input_boxes=[[BOXES[0]], [BOXES[0], [9, 9, 1, 1]]]), "(image 1, object 1)"),
        (dict(input_boxes=[BOXES[0], BOXES[1]]), "must be nested as [image][object][x0, y0, x1, y1] for 2 images"),
        (dict(input_points=[1, 2]), "for 2 images; got 1 levels"),
        (dict(input_points=[[1, 2], [3, 4]]), "for 2 images; got 2 levels"),
        (dict(input_points=POINTS[:1]), "input_points are for 1 images, but 2"),
        (dict(input_points=POINTS, input_labels=[[1, 1]]), "input_labels are for 1 images, but 2"),
        (dict(input_masks=[[MASKS[0]], [MASKS[0], MASKS[1]]]), "each image needs the same number of masks"),
        (dict(input_points=[[POINTS[0]], []], input_boxes=[BOXES, []]), "image 0 has prompts for different numbers"),
    ],
    ids=str,
)
def test_wrong_prompts_for_two_images(processor, prompts, reason):
    with pytest.raises(PromptError) as e:
        processor([WIDE, TALL], **prompts)
    assert reason in str(e.value) and "\n" not in str(e.value)


@pytest.mark.parametrize("label", [-1, 0, 1, 2, 3, -10, True, 1.0])
def test_labels_that_mean_something(processor, label):
    found = processor(WIDE, input_points=[[3, 4], [5, 6]], input_labels=[label, 1])
    assert found["input_labels"].tolist() == [[[int(label), 1]]]


def test_edges_of_the_image_are_inside(processor):
    found = processor(WIDE, input_points=[[0, 0], [64, 48]], input_boxes=[0, 0, 64, 48])
    assert found["input_points"].max() == SIDE and found["input_boxes"].tolist() == [[[0, 0, 96, 72]]]


@pytest.mark.parametrize(
    ("box", "cut"),
    [([-5, -6, 30, 40], [0, 0, 30, 40]), ([1, 2, 300, 400], [1, 2, 64, 48]), ([-9, -9, 99, 99], [0, 0, 64, 48])],
)
def test_boxes_that_poke_out_are_cut(processor, box, cut):
    assert equal(processor(WIDE, input_boxes=box), processor(WIDE, input_boxes=cut))


def test_where_a_point_that_is_none_lies_does_not_matter(processor):
    found = processor(WIDE, input_points=[[-5, 900], [3, 4]], input_labels=[-1, 1])
    assert found["input_labels"].tolist() == [[[-1, 1]]]


@pytest.mark.parametrize(
    ("wrong", "right"), [("input_point", "input_points"), ("input_box", "input_boxes"), ("image", "images")]
)
def test_misspelled_arguments_name_the_right_one(processor, wrong, right):
    with pytest.raises(TypeError, match=f"SamProcessor has no argument '{wrong}'; did you mean '{right}'"):
        processor(WIDE, **{wrong: [1, 2]})


# ---------------------------------------------------------------- no objects, and objects with a mask alone


@pytest.mark.parametrize("boxes", [[[]], np.zeros((1, 0, 4)), torch.zeros(1, 0, 4)], ids=["list", "array", "tensor"])
def test_no_objects_are_no_masks(processor, tiny_vit, boxes):
    inputs = processor(WIDE, input_boxes=boxes, return_tensors="pt")
    assert inputs["input_boxes"].shape == (1, 0, 4)
    for multimask, count in ((True, 3), (False, 1)):
        with torch.no_grad():
            output = tiny_vit(**inputs, multimask_output=multimask)
        assert output.pred_masks.shape[:3] == (1, 0, count) and output.iou_scores.shape == (1, 0, count)
        (masks,) = processor.post_process_masks(
            output.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"]
        )
        assert masks.shape == (0, count, *WIDE.shape[:2])
    inputs = processor(WIDE, input_points=[[]], return_tensors="pt")
    assert inputs["input_points"].shape == (1, 0, 1, 2) and inputs["input_labels"].shape == (1, 0, 1)
    with torch.no_grad():
        assert tiny_vit(**inputs).pred_masks.shape[:3] == (1, 0, 3)


def test_an_object_with_a_mask_alone_is_there(processor, tiny_vit):
    side = SIDE // 4
    mask = np.linspace(-5, 5, side * side).reshape(side, side)
    inputs = processor(
        [WIDE, WIDE],
        input_points=[[[[3, 4]], None], [[[3, 4]]]],
        input_masks=[[mask, mask], [mask]],
        return_tensors="pt",
    )
    with torch.no_grad():
        output = tiny_vit(**inputs)
    kept = processor.drop_padding(output.pred_masks, inputs)
    assert [len(k) for k in kept] == [2, 1]
    target = torch.zeros(2, 2, SIDE, SIDE, dtype=torch.int64)
    target[0, 1] = 1
    empty = torch.zeros_like(target)
    with torch.no_grad():
        losses = [tiny_vit(**inputs, labels=labels).loss.item() for labels in (target, empty)]
    assert losses[0] != losses[1]  # the object with a mask alone counts
