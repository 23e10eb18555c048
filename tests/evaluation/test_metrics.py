import numpy as np
import pytest

from sam_hub.evaluation.metrics import boundary_iou, clicks_needed, inner_boundary, islands, mask_iou, rank_correlation


def test_iou_counts_pixels():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 5, 3, 9, 7)) < 0.4
    truth = b[:, :1]
    got = mask_iou(a, truth)
    assert got.shape == (5, 3)
    for i in range(5):
        for j in range(3):
            mine = {tuple(p) for p in np.argwhere(a[i, j])}
            right = {tuple(p) for p in np.argwhere(truth[i, 0])}
            assert got[i, j] == len(mine & right) / len(mine | right)


def test_iou_of_nothing():
    empty, full = np.zeros((2, 3), bool), np.ones((2, 3), bool)
    assert mask_iou(empty, empty) == 1
    assert mask_iou(empty, full) == 0


def blobs(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A few rectangles, which may touch each other and the border: (H, W) bool."""
    mask = np.zeros(size, bool)
    for _ in range(int(rng.integers(1, 5))):
        y, x = rng.integers(0, size[0]), rng.integers(0, size[1])
        mask[y : y + rng.integers(1, 30), x : x + rng.integers(1, 30)] = True
    return mask


def boundary_by_distance(mask: np.ndarray) -> np.ndarray:
    """The definition: pixels of the mask with one outside of it, or of the image, within ``d`` rows and columns."""
    d = max(1, round(0.02 * (mask.shape[0] ** 2 + mask.shape[1] ** 2) ** 0.5))
    outside = ~np.pad(mask, d)
    near = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        near[y, x] = outside[y : y + 2 * d + 1, x : x + 2 * d + 1].any()
    return near


@pytest.mark.parametrize("size", [(40, 60), (90, 120), (12, 200)])
def test_boundary_iou_is_that_of_the_definition(size):
    rng = np.random.default_rng(2)
    values = []
    for _ in range(15):
        a, b = blobs(rng, size), blobs(rng, size)
        b |= a & (rng.random() < 0.7)
        mine, theirs = boundary_by_distance(a), boundary_by_distance(b)
        np.testing.assert_array_equal(inner_boundary(a), mine)
        values.append(boundary_iou(a, b))
        assert values[-1] == (mine & theirs).sum() / (mine | theirs).sum()
    assert len(set(values)) > 5


def test_boundaries_of_nothing_and_of_everything():
    empty, full = np.zeros((50, 60), bool), np.ones((50, 60), bool)
    assert boundary_iou(empty, empty) == 1 and boundary_iou(empty, full) == 0
    assert inner_boundary(full).sum() == 50 * 60 - 46 * 56  # 2 % of 78 pixels: two rows on each side


def islands_by_flooding(mask: np.ndarray) -> int:
    left, count = {tuple(p) for p in np.argwhere(mask)}, 0
    while left:
        count, border = count + 1, [left.pop()]
        while border:
            y, x = border.pop()
            near = {(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            border += near
    return max(0, count - 1)


def test_islands_are_components_beyond_the_first():
    rng = np.random.default_rng(3)
    counts = [(islands(mask), islands_by_flooding(mask)) for mask in (rng.random((40, 12, 17)) < 0.25)]
    assert all(mine == theirs for mine, theirs in counts) and max(counts)[0] > 3
    assert islands(np.zeros((3, 3), bool)) == islands(np.ones((3, 3), bool)) == 0


def spearman(a: list[float], b: list[float]) -> float:
    """The definition: Pearson's correlation of ranks, where equals share the mean of their ranks."""

    def ranks(values):
        return [sum(v < x for v in values) + (1 + sum(v == x for v in values)) / 2 for x in values]

    x, y = ranks(a), ranks(b)
    mx, my = sum(x) / len(x), sum(y) / len(y)
    above = sum((p - mx) * (q - my) for p, q in zip(x, y, strict=True))
    return above / (sum((p - mx) ** 2 for p in x) * sum((q - my) ** 2 for q in y)) ** 0.5


def test_rank_correlation_with_ties():
    rng = np.random.default_rng(1)
    for _ in range(20):
        a, b = rng.integers(0, 6, (2, 15)).tolist()
        assert rank_correlation(a, b) == pytest.approx(spearman(a, b), abs=1e-12)


def test_rank_correlation_of_known_lists():
    assert rank_correlation([0.1, 0.2, 0.3, 0.4], [1, 3, 2, 4]) == pytest.approx(0.8)
    assert rank_correlation([1, 2, 3], [1, 10, 100]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)


@pytest.mark.parametrize("lists", [([], []), ([1.0], [2.0]), ([1.0, 2.0], [3.0, 3.0])])
def test_rank_correlation_that_is_not_defined(lists):
    assert rank_correlation(*lists) is None


def test_clicks_needed():
    ious = [0.5, 0.84, 0.85, 0.7, 0.95]
    assert clicks_needed(ious, 0.85, 5) == 3
    assert clicks_needed(ious, 0.9, 5) == 5
    assert clicks_needed(ious, 0.99, 20) == 20
    assert clicks_needed(ious, 0.9, 4) == 4
