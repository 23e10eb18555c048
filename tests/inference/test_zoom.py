"""The second look at an object: where it looks, how both looks become one, and that it is the predictor's own."""

import numpy as np
import pytest
import torch

from sam_hub.errors import PromptError
from sam_hub.inference import image_predictor
from sam_hub.inference.predictor import SamPredictor
from sam_hub.inference.upsample import MaskFrame, Upsampler, enlarge
from sam_hub.inference.zoom import AROUND_BOX, AROUND_MASK, SECOND, SMALLEST, Look, closer_window, combine, inside

from .small_model import RNG, Counted, tiny_model

H, W = 300, 400
IMAGE = RNG.integers(0, 256, (H, W, 3), dtype=np.uint8)
SMALL_BOX = np.array([100.0, 120, 160, 150])
NOTHING = np.zeros((H, W), bool)


def region(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = NOTHING.copy()
    mask[y0:y1, x0:x1] = True
    return mask


def test_the_window_of_a_box_is_a_square_around_it():
    x0, y0, x1, y1 = closer_window(NOTHING, box=SMALL_BOX)
    assert (x1 - x0, y1 - y0) == (60 * AROUND_BOX, 60 * AROUND_BOX)
    assert ((x0 + x1) / 2, (y0 + y1) / 2) == (130, 135)


def test_the_window_of_a_click_is_around_its_mask_and_contains_clicks_on_the_object():
    first = region(200, 100, 230, 120)
    x0, y0, x1, y1 = closer_window(first, np.array([[210.0, 110]]), np.array([1]))
    assert x1 - x0 == y1 - y0 == 30 * AROUND_MASK and (x0 + x1) / 2 == 215 and (y0 + y1) / 2 == 110
    points, labels = np.array([[210.0, 110], [270, 110], [10, 10]]), np.array([1, 1, 0])
    x0, y0, x1, y1 = closer_window(first, points, labels)
    assert x0 <= 200 and x1 >= 270 and x0 > 10  # the background is not looked for


def test_windows_are_clipped_to_the_image_and_never_tiny():
    assert closer_window(NOTHING, box=np.array([-9.0, -9, 6, 6])) == (0, 0, 3 + SMALLEST // 2, 3 + SMALLEST // 2)
    x0, y0, x1, y1 = closer_window(NOTHING, box=np.array([390.0, 290, 420, 330]))
    assert (x1, y1) == (W, H) and (x0, y0) == (395 - SMALLEST // 2, 295 - SMALLEST // 2)


def test_nothing_to_look_at():
    assert closer_window(NOTHING) is None
    assert closer_window(NOTHING, box=np.array([0.0, 0, 390, 290])) is None  # already as large as the image
    assert closer_window(region(10, 10, 300, 200)) is None


def test_prompts_in_the_window():
    window = (100, 50, 200, 150)
    points, labels = np.array([[110.0, 60], [99, 60], [200, 150], [150, 151]]), np.array([1, 0, 0, 1])
    moved, kept, box = inside(window, points, labels, np.array([90.0, 40, 120, 70]))
    assert moved.tolist() == [[10, 10], [100, 100]] and kept.tolist() == [1, 0] and box.tolist() == [-10, -10, 20, 20]
    assert inside(window, points[1:2], labels[1:2], None) == (None, None, None)


@pytest.mark.parametrize("how", ["crop", "bilinear", "bicubic", "probability"])
def test_the_logits_of_a_window_are_those_of_the_image(how):
    frame = MaskFrame((64, 64), (48, 64), (H, W), how)
    low_res = RNG.normal(size=(2, 16, 16)).astype(np.float32)
    look, whole = Look(low_res, np.zeros(2, np.float32), frame), enlarge(low_res, frame, True)
    for x0, y0, x1, y1 in [(0, 0, W, H), (3, 5, 4, 6), (100, 50, 333, 300), (390, 0, 400, 7)]:
        np.testing.assert_allclose(look.logits((x0, y0, x1, y1)), whole[:, y0:y1, x0:x1], atol=1e-5)


def test_an_upsampler_computes_no_more_than_the_window():
    upsampler = Upsampler((16, 16), MaskFrame((64, 64), (48, 64), (H, W)))
    low_res = np.full((16, 16), np.nan, np.float32)
    low_res[:5, :5] = 1
    assert (upsampler.pixels(low_res, (0, 0, 40, 40)) == 1).all()


def flat(values: tuple[float, ...], scores: tuple[float, ...], size: tuple[int, int]) -> Look:
    """A look whose masks have one logit each everywhere."""
    low_res = np.array(values, np.float32)[:, None, None] * np.ones((8, 8), np.float32)
    return Look(low_res, np.array(scores, np.float32), MaskFrame((32, 32), (32, 32), size))


def test_candidates_are_paired_by_rank_and_averaged_in_the_window():
    """The best of one look with the best of the other."""
    first, window = flat((4, -4, 3), (0.3, 0.6, 0.9), (H, W)).in_order(), (100, 100, 140, 150)
    second = flat((-1, -2, -3), (0.7, 0.1, 0.5), (50, 40)).in_order()
    assert first.scores.tolist() == pytest.approx([0.9, 0.6, 0.3])

    def mean(first, second):
        return pytest.approx([(1 - SECOND) * a + SECOND * b for a, b in zip(first, second, strict=True)], abs=1e-6)

    logits = enlarge(first.low_res, first.frame, True)
    assert combine(logits, first, second, window).tolist() == mean([0.9, 0.6, 0.3], [0.7, 0.5, 0.1])
    for y, x in ((100, 100), (149, 139)):
        assert logits[:, y, x].tolist() == mean([3, -4, 4], [-1, -3, -2])
    for y, x in ((99, 100), (150, 139), (149, 140)):
        assert logits[:, y, x].tolist() == pytest.approx([3, -4, 4])
    masks = enlarge(first.low_res, first.frame)
    combine(masks, first, second, window)
    assert masks.dtype == bool and np.array_equal(masks, logits > 0)


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@torch.no_grad()
@pytest.mark.parametrize(
    "prompt",
    [
        dict(box=SMALL_BOX, multimask_output=False),
        dict(box=SMALL_BOX, point_coords=np.array([[130.0, 130], [390, 290]]), point_labels=np.array([1, 0])),
    ],
)
def test_the_predictor_combines_its_two_looks(model, prompt):
    """By hand: the same prompt on the image and on the window alone, combined."""
    predictor, closer = SamPredictor(model), SamPredictor(model)
    predictor.set_image(IMAGE)
    plain, scores, low_res = predictor.predict(**prompt, return_logits=True)
    x0, y0, x1, y1 = closer_window(plain[scores.argmax()] > 0, box=SMALL_BOX)
    closer.set_image(IMAGE[y0:y1, x0:x1])
    points = {}
    if "point_coords" in prompt:  # the second is outside the window
        points = dict(point_coords=prompt["point_coords"][:1] - [x0, y0], point_labels=prompt["point_labels"][:1])
    seen, others, _ = closer.predict(**{**prompt, **points, "box": SMALL_BOX - [x0, y0, x0, y0]}, return_logits=True)
    best, second = (np.argsort(-each, kind="stable") for each in (scores, others))
    expected = plain[best]
    expected[:, y0:y1, x0:x1] = (1 - SECOND) * expected[:, y0:y1, x0:x1] + SECOND * seen[second]
    logits, combined, low = predictor.predict(**prompt, zoom=True, return_logits=True)
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    np.testing.assert_allclose(combined, (1 - SECOND) * scores[best] + SECOND * others[second], atol=1e-6)
    assert np.array_equal(low, low_res[best]) and np.abs(logits - plain[best]).max() > 0.1
    masks, _, _ = predictor.predict(**prompt, zoom=True)
    assert masks.dtype == bool and (masks != (logits > 0)).mean() < 1e-4
    assert np.array_equal(predictor.predict(**prompt, return_logits=True)[0], plain)  # the image is still set


def test_a_second_look_is_taken_only_where_it_can_help(model, monkeypatch):
    predictor, counted = SamPredictor(model), Counted(monkeypatch, model)
    predictor.set_image(IMAGE)
    large = dict(box=np.array([5.0, 5, 395, 295]), multimask_output=False)
    found = predictor.predict(**large, zoom=True)
    assert counted.calls == 1
    assert all(np.array_equal(a, b) for a, b in zip(found, predictor.predict(**large), strict=True))
    low_res = RNG.normal(size=(1, 16, 16)).astype(np.float32)
    given = dict(box=SMALL_BOX, mask_input=low_res, multimask_output=False)  # the second look would not know the mask
    assert np.array_equal(predictor.predict(**given, zoom=True)[0], predictor.predict(**given)[0])
    monkeypatch.setattr(image_predictor, "closer_window", lambda *_: (0, 0, 70, 70))
    far = dict(point_coords=np.array([[390, 290]]), point_labels=np.array([0]), multimask_output=False)
    assert np.array_equal(predictor.predict(**far, zoom=True)[0], predictor.predict(**far)[0])  # no prompt is inside
    assert counted.calls == 1
    monkeypatch.undo()
    counted = Counted(monkeypatch, model)
    counted.calls = 1
    predictor.predict(box=SMALL_BOX, zoom=True)
    assert counted.calls == 2
    predictor.predict(box=SMALL_BOX, multimask_output=False, zoom=True)  # the same window: in the cache
    assert counted.calls == 2
    for x in range(0, 300, 60):
        predictor.predict(box=SMALL_BOX - [x / 3, 0, x / 3, 0], zoom=True)
    before = counted.calls
    predictor.set_image(IMAGE)  # the windows have not displaced it
    assert counted.calls == before > 4


@torch.no_grad()
def test_prompts_may_be_tensors(model):
    predictor = SamPredictor(model)
    predictor.set_image(IMAGE)
    points, labels = torch.tensor([[130.0, 130]]), torch.tensor([1])
    for given in (dict(box=torch.tensor(SMALL_BOX)), dict(point_coords=points, point_labels=labels)):
        arrays = {name: value.numpy() for name, value in given.items()}
        found, expected = (predictor.predict(**prompt, zoom=True) for prompt in (given, arrays))
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_an_embedding_alone_cannot_be_looked_at_again(model, tmp_path):
    predictor = SamPredictor(model)
    predictor.set_image(IMAGE)
    predictor.save_embedding(tmp_path / "image.safetensors")
    predictor.load_embedding(tmp_path / "image.safetensors")
    told = "zoom needs the image, and only its embedding was given; use set_image"
    with pytest.raises(PromptError, match=told):
        predictor.predict(box=SMALL_BOX, zoom=True)
    predictor.set_image(IMAGE)
    predictor.original_size = (200, 300)  # no longer that of the pixels
    with pytest.raises(PromptError, match=told):
        predictor.predict(box=SMALL_BOX, zoom=True)
