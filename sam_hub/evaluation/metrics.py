"""Metrics of masks and of predicted IoU."""

from collections.abc import Sequence

import cv2
import numpy as np

BOUNDARY_SHARE = 0.02
"""Boundary width in Boundary IoU, as a fraction of the image's diagonal (Cheng et al. 2021, section 4)."""


def mask_iou(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Intersection over union: (..., H, W) bool and (H, W) or (..., H, W) bool -> (...) float64.

    Two empty masks agree: 1.0.
    """
    intersection = np.count_nonzero(predicted & truth, axis=(-2, -1))
    union = np.count_nonzero(predicted | truth, axis=(-2, -1))
    return np.where(union > 0, intersection / np.maximum(union, 1), 1.0)


def inner_boundary(mask: np.ndarray) -> np.ndarray:
    """The pixels of a mask that lie within 2 % of the image's diagonal of its contour: (H, W) bool -> (H, W) bool.

    The distance is the Chebyshev distance, and the image border counts as contour, as in the authors' code.
    """
    boundary = np.zeros_like(mask)
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    if w == 0:
        return boundary
    width = max(1, round(BOUNDARY_SHARE * float(np.hypot(*mask.shape))))
    here = np.s_[y : y + h, x : x + w]
    inside = np.pad(mask[here].astype(np.uint8), 1)
    core = cv2.erode(inside, np.ones((3, 3), np.uint8), iterations=width, borderValue=0)[1:-1, 1:-1] > 0
    boundary[here] = mask[here] & ~core
    return boundary


def boundary_iou(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Boundary IoU of two (H, W) bool masks: the IoU of their inner boundaries (Cheng et al. 2021, arXiv 2103.16562).

    Two empty masks agree: 1.0.
    """
    return float(mask_iou(inner_boundary(predicted), inner_boundary(truth)))


def islands(mask: np.ndarray) -> int:
    """Number of 8-connected components of an (H, W) bool mask beyond the first."""
    return max(0, cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0] - 2)


def average_ranks(values: np.ndarray) -> np.ndarray:
    """Rank of each value, from 1; ties share their mean rank: (K,) -> (K,) float64."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2)[place]


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Spearman's correlation of two lists of K numbers; None if undefined (K < 2, or a constant list)."""
    x, y = average_ranks(np.asarray(a, float)), average_ranks(np.asarray(b, float))
    if len(x) < 2 or x.std() == 0 or y.std() == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def clicks_needed(ious: Sequence[float], threshold: float, limit: int) -> int:
    """Number of clicks (NoC): lowest k with ``ious[k - 1] >= threshold`` (IoU after k clicks), else ``limit``."""
    return next((k for k, iou in enumerate(ious[:limit], 1) if iou >= threshold), limit)
