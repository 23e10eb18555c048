"""Resizing along one axis as a sparse matrix, whose rows have a few neighbouring weights."""

from dataclasses import dataclass

import numpy as np

BICUBIC_A = -0.75
"""The coefficient of PyTorch's bicubic kernel."""


@dataclass(frozen=True)
class SparseRows:
    """A (n_out, n_in) matrix. Row i holds ``weights[i]`` from column ``first[i]`` on, and zeros elsewhere.

    first: (n_out,) int64, non-decreasing; weights: (n_out, k) float64, zero-padded, and zero beyond n_in
    """

    n_in: int
    first: np.ndarray
    weights: np.ndarray

    def dense(self, low: int = 0, high: int | None = None) -> np.ndarray:
        """Columns ``low`` to ``high`` as a dense matrix, all by default: (n_out, high - low)"""
        n_out, k = self.weights.shape
        high = self.n_in if high is None else high
        columns = self.first[:, None] + np.arange(k)
        rows, taps = np.nonzero((columns >= low) & (columns < high))
        out = np.zeros((n_out, high - low), self.weights.dtype)
        out[rows, columns[rows, taps] - low] = self.weights[rows, taps]
        return out

    def bilinear(self, n_out: int) -> "SparseRows":
        """Its rows resized to ``n_out`` by ``interpolate(mode="bilinear", align_corners=False)``."""
        rows, k = self.weights.shape
        at = ((np.arange(n_out) + 0.5) * (rows / n_out) - 0.5).clip(min=0)
        above = np.minimum(at.astype(np.int64), rows - 1)
        below = np.minimum(above + 1, rows - 1)
        share = (at - above)[:, None]
        steps = self.first[below] - self.first[above]
        weights = np.zeros((n_out, k + int(steps.max())))
        weights[:, :k] = self.weights[above] * (1 - share)
        weights[np.arange(n_out)[:, None], steps[:, None] + np.arange(k)] += self.weights[below] * share
        return SparseRows(self.n_in, self.first[above], weights)

    def __getitem__(self, rows: slice) -> "SparseRows":
        return SparseRows(self.n_in, self.first[rows], self.weights[rows])


def bilinear_rows(n_in: int, n_out: int) -> SparseRows:
    """``interpolate(mode="bilinear", align_corners=False)`` along one axis."""
    return SparseRows(n_in, np.arange(n_in), np.ones((n_in, 1))).bilinear(n_out)


def bicubic_rows(n_in: int, n_out: int) -> SparseRows:
    """``interpolate(mode="bicubic", align_corners=False)`` along one axis."""
    a = BICUBIC_A
    at = (np.arange(n_out) + 0.5) * (n_in / n_out) - 0.5
    middle = np.floor(at).astype(np.int64)
    first = (middle - 1).clip(0, n_in - 1)
    weights = np.zeros((n_out, 4))
    for tap in range(-1, 3):
        x = np.abs(at - middle - tap)
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
        column = (middle + tap).clip(0, n_in - 1) - first
        np.add.at(weights, (np.arange(n_out), column), np.where(x <= 1, near, far))
    return SparseRows(n_in, first, weights)
