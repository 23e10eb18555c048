import numpy as np
import pytest

from sam_hub.evaluation.clicks import corrective_click, farthest_pixel, tight_box

H, W = 13, 17


def random_masks(count: int) -> list[np.ndarray]:
    """Blobs: noise, summed over a neighbourhood."""
    rng = np.random.default_rng(5)
    found = []
    while len(found) < count:
        noise = np.pad(rng.random((H, W)), 1)
        soft = sum(noise[i : i + H, j : j + W] for i in range(3) for j in range(3)) / 9
        mask = soft > rng.uniform(0.35, 0.6)
        if mask.any():
            found.append(mask)
    return found


def farthest_by_definition(region: np.ndarray) -> tuple[int, int]:
    """x, y of the first pixel, row by row, whose nearest pixel outside (of the region or of the image) is farthest."""
    ringed = np.pad(region, 1)
    outside = np.argwhere(~ringed)
    best, where = 0, None
    for y, x in np.argwhere(ringed):
        squared = ((outside - (y, x)) ** 2).sum(1).min()
        if squared > best:
            best, where = squared, (int(x) - 1, int(y) - 1)
    return where


def components(region: np.ndarray) -> list[np.ndarray]:
    """The 8-connected parts, by flood fill, in the order of their first pixels."""
    left, parts = {tuple(p) for p in np.argwhere(region).tolist()}, []
    for start in sorted(left):
        if start not in left:
            continue
        part, todo = np.zeros_like(region), [start]
        left.discard(start)
        while todo:
            y, x = todo.pop()
            part[y, x] = True
            near = {(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            todo += near
        parts.append(part)
    return parts


@pytest.mark.parametrize("mask", random_masks(25))
def test_the_click_is_as_far_from_the_boundary_as_can_be(mask):
    x, y = farthest_pixel(mask)
    assert mask[y, x]
    assert (x, y) == farthest_by_definition(mask)


def test_of_equal_pixels_the_same_is_clicked_each_time():
    """Whatever the memory alignment: unrounded distances choose another pixel of this region in four of ten calls."""
    rng = np.random.default_rng(31)
    region = np.kron(rng.integers(0, 2, (8, 11)), np.ones((10, 10))).astype(bool)
    kept, clicks = [], set()
    for _ in range(200):
        kept.append(np.empty(rng.integers(1, 5000)))
        clicks.add(farthest_pixel(region.copy()))
    assert clicks == {farthest_by_definition(region)}


def test_the_border_of_the_image_is_boundary():
    assert farthest_pixel(np.ones((5, 9), bool)) == (2, 2)
    left_half = np.zeros((21, 21), bool)
    left_half[:, :11] = True
    assert farthest_pixel(left_half)[0] == 5  # not 0, though nothing else is near there


def test_a_single_pixel():
    mask = np.zeros((H, W), bool)
    mask[H - 1, W - 1] = True
    assert farthest_pixel(mask) == (W - 1, H - 1)
    assert tight_box(mask) == (W - 1, H - 1, W, H)


def test_the_box_is_tight():
    mask = np.zeros((H, W), bool)
    mask[3, 4:9] = mask[3:7, 6] = True
    assert tight_box(mask) == (4, 3, 9, 7)


def test_the_corrective_click_is_in_the_largest_mistake():
    masks = random_masks(24)
    labels = set()
    for predicted, truth in zip(masks[::2], masks[1::2], strict=True):
        x, y, label = corrective_click(predicted, truth)
        missed, invented = truth & ~predicted, predicted & ~truth
        assert (missed if label else invented)[y, x]
        parts = components(missed) + components(invented)
        largest = max(int(part.sum()) for part in parts)
        (mine,) = [part for part in parts if part[y, x]]
        assert mine.sum() == largest
        assert (x, y) == farthest_by_definition(mine)
        labels.add(label)
    assert labels == {0, 1}


def test_missed_and_invented_parts_are_apart():
    truth, predicted = np.zeros((H, W), bool), np.zeros((H, W), bool)
    truth[2:6, 0:5] = True  # 20 pixels missed
    predicted[2:6, 5:9] = True  # 16 invented, right beside them
    truth[8:13, 11:16] = True  # 25 missed elsewhere: smaller than 20 + 16, larger than either
    assert corrective_click(predicted, truth) == (13, 10, 1)


def test_of_equal_mistakes_the_missed_object_comes_first():
    truth, predicted = np.zeros((H, W), bool), np.zeros((H, W), bool)
    predicted[1:4, 1:4] = truth[6:9, 6:9] = True
    assert corrective_click(predicted, truth) == (7, 7, 1)


def test_nothing_to_correct():
    mask = random_masks(1)[0]
    assert corrective_click(mask, mask.copy()) is None
