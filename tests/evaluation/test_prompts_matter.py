import numpy as np
import pytest

from sam_hub.data.sa1b import Sa1bDataset
from sam_hub.evaluation.prompts_matter import (
    draw_grid,
    pixel_beside,
    prompt_effect,
    prompt_effects,
    summarise_effects,
)

SCORES = [0.2, 0.9, 0.4]


@pytest.fixture
def listener(scripted, shapes, image):
    """Gives the half of the image that a click is in, at three heights; a box gives the box."""

    def answer(question):
        mask = np.zeros(image.shape[:2], bool)
        if question.box:
            x0, y0, x1, y1 = question.box
            mask[y0:y1, x0:x1] = True
            return [mask], [0.9]
        (point,) = question.points
        masks = [mask.copy() for _ in SCORES]
        for k, m in enumerate(masks):
            m[10 * k : 10 * k + 10, point[0]] = True
        return masks, SCORES

    return scripted(answer)


@pytest.fixture
def deaf(scripted, shapes):
    return scripted(lambda q: ([shapes[0]] * (3 if q.multimask else 1), SCORES if q.multimask else [0.9]))


def test_a_model_that_listens(listener, image, shapes):
    effect = prompt_effect(listener, "a.jpg", image, shapes[0])
    boxed = next(q for q in listener.asked if q.box)
    assert boxed.box == [5, 4, 15, 14] and not boxed.multimask
    clicks = [q for q in listener.asked if q.points]
    assert [q.points for q in clicks] == [[effect.click], [effect.beside]]
    assert [q.labels for q in clicks] == [[1], [1]]
    assert shapes[0][effect.click[::-1]] and not shapes[0][effect.beside[::-1]]
    assert effect.click_beside_iou == 0
    assert effect.candidates_iou == 0
    np.testing.assert_array_equal(np.argwhere(effect.click_mask)[:, 0], np.arange(10, 20))  # the second: 0.9
    np.testing.assert_array_equal(effect.box_mask, shapes[0])


def test_a_model_that_does_not(deaf, image, shapes):
    effect = prompt_effect(deaf, "a.jpg", image, shapes[1])
    assert effect.click_beside_iou == 1
    assert effect.candidates_iou == 1


def test_the_candidates_are_compared_in_pairs(scripted, image, shapes):
    a, b = shapes[0], shapes[0].copy()
    b[:, :10] = False  # half of it
    predictor = scripted(lambda q: ([a, b, a] if q.multimask else [a], SCORES if q.multimask else [0.9]))
    assert prompt_effect(predictor, "a.jpg", image, a).candidates_iou == pytest.approx((0.5 + 1 + 0.5) / 3)


def test_the_pixel_beside_is_near_and_outside(shapes):
    for mask in shapes:
        x, y = pixel_beside(mask)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert not mask[y, x]
        assert columns[0] - len(columns) / 2 - 1 <= x <= columns[-1] + len(columns) / 2 + 1
        assert rows[0] - len(rows) / 2 - 1 <= y <= rows[-1] + len(rows) / 2 + 1


def test_an_object_that_fills_the_image_has_nothing_beside(deaf, image):
    full = np.ones(image.shape[:2], bool)
    assert pixel_beside(full) is None
    assert prompt_effect(deaf, "a.jpg", image, full) is None


def test_photos_of_a_shard(new_shard, listener, image, shapes):
    shard = new_shard()
    for name in "abcd":
        shard.add(name, image, shapes)
    shard.add("e", image, [np.zeros_like(shapes[0])])
    shard.files["b.png"] = b"nothing"
    dataset = Sa1bDataset(shard.write())
    effects = prompt_effects(listener, dataset, photos=5)
    assert [e.name for e in effects] == ["a.png", "c.png", "d.png"]
    assert len(prompt_effects(listener, dataset, photos=1)) <= 1
    assert summarise_effects(effects) == {"photos": 3, "click_beside_iou": 0, "candidates_iou": 0}


def test_no_photos_at_all():
    assert summarise_effects([]) == {"photos": 0, "click_beside_iou": None, "candidates_iou": None}


def test_the_grid_shows_every_mask(listener, image, shapes):
    effects = [prompt_effect(listener, "a.jpg", image, mask) for mask in shapes[:2]]
    side = 120
    grid = draw_grid(effects, side)
    line = side * image.shape[0] // image.shape[1] + 18
    assert grid.shape == (2 * line, 7 * side, 3)
    tiles = [grid[18:line, k * side : (k + 1) * side] for k in range(7)]
    for k, tile in enumerate(tiles):  # click mask and second candidate are the same picture, all others differ
        same = [j for j, other in enumerate(tiles) if np.array_equal(tile, other)]
        assert same == ([2, 5] if k in (2, 5) else [k])
