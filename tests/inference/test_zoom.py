"""The second look at an object: where it looks, how both looks become one, and that it is the predictor's own."""

import numpy as np
import pytest
import torch

from sam_hub.errors import PromptError
from sam_hub.inference.predictor import SamPredictor
from sam_hub.inference.zoom import AROUND_BOX, AROUND_MASK, SECOND, SMALLEST, Look, combined, inside, window_around

from .small_model import RNG, Counted, tiny_model

H, W = 300, 400
IMAGE = RNG.integers(0, 256, (H, W, 3), dtype=np.uint8)
SMALL_BOX = np.array([100.0, 120, 160, 150])


def look(mask: np.ndarray | None = None, score: float = 0.5, count: int = 1) -> Look:
    """A look whose last candidate is the best."""
    logits = np.full((count, H, W), -4.0, np.float32)
    if mask is not None:
        logits[-1, mask] = 4
    scores = np.linspace(0, score, count + 1, dtype=np.float32)[1:]
    return Look(logits, scores, np.arange(count, dtype=np.float32)[:, None, None] * np.ones((2, 2), np.float32))


def region(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((H, W), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_the_window_of_a_box_is_a_square_around_it():
    x0, y0, x1, y1 = window_around(look(), box=SMALL_BOX)
    assert (x1 - x0, y1 - y0) == (60 * AROUND_BOX, 60 * AROUND_BOX)
    assert ((x0 + x1) / 2, (y0 + y1) / 2) == (130, 135)


def test_the_window_of_a_click_is_around_its_best_mask_and_contains_clicks_on_the_object():
    first = look(region(200, 100, 230, 120), count=3)
    x0, y0, x1, y1 = window_around(first, np.array([[210.0, 110]]), np.array([1]))
    assert x1 - x0 == y1 - y0 == 30 * AROUND_MASK and (x0 + x1) / 2 == 215 and (y0 + y1) / 2 == 110
    points, labels = np.array([[210.0, 110], [270, 110], [10, 10]]), np.array([1, 1, 0])
    x0, y0, x1, y1 = window_around(first, points, labels)
    assert x0 <= 200 and x1 >= 270 and x0 > 10  # the background is not looked for


def test_windows_are_clipped_to_the_image_and_never_tiny():
    assert window_around(look(), box=np.array([-9.0, -9, 6, 6])) == (0, 0, 3 + SMALLEST // 2, 3 + SMALLEST // 2)
    x0, y0, x1, y1 = window_around(look(), box=np.array([390.0, 290, 420, 330]))
    assert (x1, y1) == (W, H) and (x0, y0) == (395 - SMALLEST // 2, 295 - SMALLEST // 2)


def test_nothing_to_look_at():
    assert window_around(look()) is None  # an empty mask
    assert window_around(look(), box=np.array([0.0, 0, 390, 290])) is None  # already as large as the image
    assert window_around(look(region(10, 10, 300, 200))) is None


def test_prompts_in_the_window():
    window = (100, 50, 200, 150)
    points, labels = np.array([[110.0, 60], [99, 60], [200, 150], [150, 151]]), np.array([1, 0, 0, 1])
    moved, kept, box = inside(window, points, labels, np.array([90.0, 40, 120, 70]))
    assert moved.tolist() == [[10, 10], [100, 100]] and kept.tolist() == [1, 0] and box.tolist() == [-10, -10, 20, 20]
    assert inside(window, points[1:2], labels[1:2], None) == (None, None, None)


def test_logits_are_averaged_inside_the_window():
    window, first = (100, 100, 140, 150), look(region(90, 90, 120, 120), 0.6)
    second = Look(np.full((1, 50, 40), -5.0, np.float32), *scored(0.4))
    found = combined(first, second, window)
    expected = first.logits.copy()
    expected[0, 100:150, 100:140] = (1 - SECOND) * expected[0, 100:150, 100:140] - 5 * SECOND
    np.testing.assert_allclose(found.logits, expected, rtol=1e-6)
    assert found.scores[0] == pytest.approx((1 - SECOND) * 0.6 + SECOND * 0.4)
    assert np.array_equal(found.logits[0] > 0, region(90, 90, 120, 120) & ~region(100, 100, 120, 120))
    assert first.logits[0, 110, 110] == 4  # unchanged


def scored(*scores: float) -> tuple[np.ndarray, np.ndarray]:
    return np.array(scores, np.float32), np.zeros((len(scores), 2, 2), np.float32)


def test_candidates_are_paired_by_rank():
    """The best of one look with the best of the other; their low-res logits go along."""
    first = look(region(100, 100, 120, 120), 0.9, count=3)  # scores 0.3, 0.6, 0.9
    second = Look(np.stack([np.full((50, 40), v, np.float32) for v in (-1, -2, -3)]), *scored(0.7, 0.1, 0.5))
    found = combined(first, second, (100, 100, 140, 150))

    def mean(first, second):
        return pytest.approx([(1 - SECOND) * a + SECOND * b for a, b in zip(first, second, strict=True)])

    assert found.scores.tolist() == mean([0.9, 0.6, 0.3], [0.7, 0.5, 0.1])
    assert found.logits[:, 149, 139].tolist() == mean([-4, -4, -4], [-1, -3, -2])
    assert found.logits[:, 100, 100].tolist() == mean([4, -4, -4], [-1, -3, -2])
    assert found.low_res[:, 0, 0].tolist() == [2, 1, 0]


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
    first = Look(*predictor.predict(**prompt, return_logits=True))
    window = x0, y0, x1, y1 = window_around(first, box=SMALL_BOX)
    closer.set_image(IMAGE[y0:y1, x0:x1])
    points = {}
    if "point_coords" in prompt:  # the second is outside the window
        points = dict(point_coords=prompt["point_coords"][:1] - [x0, y0], point_labels=prompt["point_labels"][:1])
    second = closer.predict(**{**prompt, **points, "box": SMALL_BOX - [x0, y0, x0, y0]}, return_logits=True)
    expected = combined(first, Look(*second), window)
    logits, scores, low_res = predictor.predict(**prompt, zoom=True, return_logits=True)
    assert np.array_equal(logits, expected.logits) and np.array_equal(scores, expected.scores)
    assert np.array_equal(low_res, expected.low_res) and not np.array_equal(logits, first.in_order().logits)
    masks, _, _ = predictor.predict(**prompt, zoom=True)
    assert masks.dtype == bool and np.array_equal(masks, logits > 0)
    again, _, _ = predictor.predict(**prompt, return_logits=True)
    assert np.array_equal(again, first.logits)  # the image is still set


def test_a_second_look_is_taken_only_where_it_can_help(model, monkeypatch):
    predictor, counted = SamPredictor(model), Counted(monkeypatch, model)
    predictor.set_image(IMAGE)
    large = np.array([5.0, 5, 395, 295])
    found = predictor.predict(box=large, multimask_output=False, zoom=True)
    assert counted.calls == 1
    assert all(
        np.array_equal(a, b) for a, b in zip(found, predictor.predict(box=large, multimask_output=False), strict=True)
    )
    low_res = RNG.normal(size=(1, 16, 16)).astype(np.float32)
    predictor.predict(mask_input=low_res, zoom=True)  # no prompt that could be moved
    assert counted.calls == 1
    predictor.predict(box=SMALL_BOX, zoom=True)
    assert counted.calls == 2
    predictor.predict(box=SMALL_BOX, multimask_output=False, zoom=True)  # the same window: in the cache
    assert counted.calls == 2


def test_an_embedding_alone_cannot_be_looked_at_again(model, tmp_path):
    predictor = SamPredictor(model)
    predictor.set_image(IMAGE)
    predictor.save_embedding(tmp_path / "image.safetensors")
    predictor.load_embedding(tmp_path / "image.safetensors")
    with pytest.raises(PromptError, match="zoom needs the image, and only its embedding was given; use set_image"):
        predictor.predict(box=SMALL_BOX, zoom=True)
