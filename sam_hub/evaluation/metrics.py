"""Scores of masks and of predicted scores; numpy only."""

from collections.abc import Sequence

import numpy as np


def mask_iou(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Intersection over union: (..., H, W) bool and (H, W) or (..., H, W) bool -> (...) float64.

    Two empty masks agree: 1.0.
    """
    intersection = np.count_nonzero(predicted & truth, axis=(-2, -1))
    union = np.count_nonzero(predicted | truth, axis=(-2, -1))
    return np.where(union > 0, intersection / np.maximum(union, 1), 1.0)


def average_ranks(values: np.ndarray) -> np.ndarray:
    """Rank of each value from 1, equal values sharing the mean of their places: (K,) -> (K,) float64."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2)[place]


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Spearman's correlation of two lists of K numbers; None where it is not defined (K < 2, or a constant list)."""
    x, y = average_ranks(np.asarray(a, float)), average_ranks(np.asarray(b, float))
    if len(x) < 2 or x.std() == 0 or y.std() == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def clicks_needed(ious: Sequence[float], threshold: float, limit: int) -> int:
    """Number of clicks (NoC) until ``ious[k - 1]``, the IoU after k clicks, reaches ``threshold``; else ``limit``."""
    return next((k for k, iou in enumerate(ious[:limit], 1) if iou >= threshold), limit)
