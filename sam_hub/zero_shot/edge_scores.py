"""Precision and recall of edge maps against several annotators: the BSDS500 benchmark (Arbelaez et al. 2011).

Original: ``evaluation_bdry_image.m``, ``collect_eval_bdry.m``. A map is binarised at 99 thresholds, thinned, and
matched to each annotator's boundaries. A pixel is correct if it matches any annotator; recall is over all annotators.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .matching import EdgePixels, match_edges
from .thinning import thin

COUNT = 99
THRESHOLDS = np.linspace(1 / (COUNT + 1), COUNT / (COUNT + 1), COUNT)
STEPS = np.linspace(0, 1, 100)
"""Points between two thresholds at which F is evaluated, with interpolated recall and precision."""


@dataclass(frozen=True)
class EdgeCounts:
    """Pixel counts of one image at T thresholds; each (T,) int64.

    found: matched pixels of the annotators' boundaries; annotated: all of them, over all annotators
    right: pixels of the predicted, thinned map that match any annotator; marked: all of them
    """

    found: np.ndarray
    annotated: np.ndarray
    right: np.ndarray
    marked: np.ndarray

    def __add__(self, other: "EdgeCounts") -> "EdgeCounts":
        return EdgeCounts(
            self.found + other.found,
            self.annotated + other.annotated,
            self.right + other.right,
            self.marked + other.marked,
        )

    @property
    def recall(self) -> np.ndarray:
        return self.found / np.maximum(self.annotated, 1)

    @property
    def precision(self) -> np.ndarray:
        return self.right / np.maximum(self.marked, 1)


def count_edges(
    strength: np.ndarray,
    annotators: Sequence[np.ndarray],
    thresholds: np.ndarray = THRESHOLDS,
    thinning: Callable[[np.ndarray], np.ndarray] = thin,
) -> EdgeCounts:
    """Compare one map with its image's annotators.

    strength: (H, W) in [0, 1]; annotators: each (H, W) bool
    thresholds: (T,); pixels at or above one are marked
    """
    drawn = [EdgePixels(boundary) for boundary in annotators]
    annotated = sum(pixels.count for pixels in drawn)
    rows: list[tuple[int, int, int]] = []
    before = None
    for threshold in thresholds:
        marked = strength >= threshold
        if before is not None and (marked == before).all():  # maps of few values
            rows.append(rows[-1])
            continue
        before, edges = marked, EdgePixels(thinning(marked))
        matched = np.array([match_edges(edges, pixels) >= 0 for pixels in drawn])  # (annotators, pixels)
        rows.append((int(matched.sum()), int(matched.any(0).sum()), edges.count))
    found, right, marked = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    return EdgeCounts(found, np.full(len(rows), annotated, np.int64), right, marked)


def f_measure(recall: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """Harmonic mean of precision and recall; 0 if both are 0."""
    total = recall + precision
    return 2 * recall * precision / np.where(total == 0, 1, total)


def best_f(counts: EdgeCounts, thresholds: np.ndarray = THRESHOLDS) -> tuple[float, float, float, float]:
    """Threshold, recall, precision and F at the largest F, interpolating between thresholds (``maxF``)."""

    def between(values: np.ndarray) -> np.ndarray:
        return (values[:-1, None] * (1 - STEPS) + values[1:, None] * STEPS).ravel()

    t, recall, precision = thresholds, counts.recall, counts.precision
    if len(t) > 1:
        t, recall, precision = between(t), between(recall), between(precision)
    f = f_measure(recall, precision)
    at = int(f.argmax())
    return float(t[at]), float(recall[at]), float(precision[at]), float(f[at])


@dataclass(frozen=True)
class EdgeScores:
    """The benchmark's scores, each in [0, 1].

    ods: best F with one threshold for all images; ods_threshold: that threshold
    ois: F with each image's best threshold; ap: area under the curve of precision over recall
    r50: recall at a precision of 0.5
    recall, precision: (99,), over all images, at each threshold
    """

    ods: float
    ods_threshold: float
    ois: float
    ap: float
    r50: float
    recall: list[float]
    precision: list[float]


def score_edges(images: Sequence[EdgeCounts]) -> EdgeScores:
    """The benchmark's scores from the counts of one or more images at `THRESHOLDS`."""
    total = images[0]
    for counts in images[1:]:
        total = total + counts
    threshold, _, _, ods = best_f(total)
    chosen = np.zeros(4, np.int64)
    for c in images:  # ties: the highest threshold
        f = f_measure(c.recall, c.precision)
        at = len(f) - 1 - int(f[::-1].argmax())
        chosen += [c.found[at], c.annotated[at], c.right[at], c.marked[at]]
    ois = f_measure(np.float64(chosen[0] / max(chosen[1], 1)), np.float64(chosen[2] / max(chosen[3], 1)))
    ap, r50 = _area(total.recall, total.precision), _recall_at(total.recall, total.precision, 0.5)
    return EdgeScores(ods, threshold, float(ois), ap, r50, total.recall.tolist(), total.precision.tolist())


def _area(recall: np.ndarray, precision: np.ndarray) -> float:
    """Mean of interpolated precision at recalls 0, 0.01, ... 1, with 0 outside the measured range."""
    # MATLAB's ``unique`` keeps the last of equal values.
    known, last = np.unique(recall[::-1], return_index=True)
    if len(known) < 2:
        return 0.0
    at = np.linspace(0, 1, 101)
    return float(np.interp(at, known, precision[::-1][last], left=0, right=0).sum() * 0.01)


def _recall_at(recall: np.ndarray, precision: np.ndarray, wanted: float) -> float:
    """The largest recall with precision ``wanted``, interpolated along the curve; 0 if it is never reached."""
    order = np.argsort(recall, kind="stable")
    r, p = recall[order], precision[order]
    if p[-1] >= wanted:
        return float(r[-1])
    for k in range(len(r) - 2, -1, -1):
        if p[k] >= wanted:
            share = (p[k] - wanted) / (p[k] - p[k + 1])
            return float(r[k] + share * (r[k + 1] - r[k]))
    return 0.0
