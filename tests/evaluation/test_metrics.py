import numpy as np
import pytest

from sam_hub.evaluation.metrics import clicks_needed, mask_iou, rank_correlation


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
