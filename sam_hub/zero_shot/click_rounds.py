"""Masks from 1, 2, ... points, each correcting the last mask (paper, section 7.1 and appendix D.1)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..evaluation.clicks import corrective_click, farthest_pixel
from ..evaluation.metrics import mask_iou
from ..evaluation.prompting import Answer, ask
from ..inference.image_predictor import ImagePredictor

FIRST = ("center", "random")
ERROR = ("whole", "largest")
BATCH, BATCH_PIXELS = 16, 2**25
"""Objects decoded together: at most the first number, and at most the second in pixels of 3 masks each."""


@dataclass(frozen=True)
class ClickProtocol:
    """How points are chosen.

    first: "center", the pixel farthest from the object's boundary, the image border being boundary too, or "random",
        any pixel of the object
    error: the region whose pixel farthest from the boundary is the next point: "whole", the whole error region
        (the paper), or "largest", its largest component (later work on interactive segmentation)
    counts: numbers of points after which the IoU is reported
    """

    first: str = "center"
    error: str = "whole"
    counts: tuple[int, ...] = (1, 2, 3, 5, 9)


def first_point(mask: np.ndarray, how: str, rng: np.random.Generator) -> tuple[int, int]:
    """x, y of the first point on a non-empty mask (H, W) bool."""
    if how == "center":
        return farthest_pixel(mask)
    y, x = np.nonzero(mask)
    chosen = int(rng.integers(len(y)))
    return int(x[chosen]), int(y[chosen])


def next_point(predicted: np.ndarray, truth: np.ndarray, how: str) -> tuple[int, int, int] | None:
    """x, y and label (1 for a false negative, else 0) of the next point; None if there is no error.

    predicted, truth: (H, W) bool
    """
    if how == "largest":
        return corrective_click(predicted, truth)
    wrong = predicted ^ truth
    if not wrong.any():
        return None
    x, y = farthest_pixel(wrong)
    return x, y, int(truth[y, x])


@dataclass
class Rounds:
    """IoU of one object's mask after each of the protocol's counts.

    confident: starting from the first point's mask with the highest predicted IoU of three
    oracle: starting from the one with the highest true IoU
    """

    confident: list[float]
    oracle: list[float]


def click_rounds(
    predictor: ImagePredictor, masks: np.ndarray, protocol: ClickProtocol, rng: np.random.Generator
) -> list[Rounds]:
    """Rounds for each of (N, H, W) bool masks, none of them empty, on the predictor's current image."""
    batch = max(1, min(BATCH, BATCH_PIXELS // (3 * masks[0].size)))
    points = np.array([[first_point(mask, protocol.first, rng)] for mask in masks])  # (N, 1, 2)
    found = []
    for start in range(0, len(masks), batch):
        part = slice(start, start + batch)
        found += _rounds(predictor, masks[part], points[part], protocol)
    return found


def _rounds(predictor: ImagePredictor, masks: np.ndarray, points: np.ndarray, protocol: ClickProtocol) -> list[Rounds]:
    answer = ask(predictor, points, np.ones(points.shape[:2], np.int64), multimask=True)
    confident = answer.best()
    oracle = mask_iou(answer.masks, masks[:, None]).argmax(1)
    ious = _follow(predictor, masks, points, answer, confident, protocol)
    best = [list(row) for row in ious]
    if len(differ := np.flatnonzero(confident != oracle)):
        part = Answer(answer.masks[differ], answer.scores[differ], answer.low_res[differ])
        for i, row in zip(
            differ, _follow(predictor, masks[differ], points[differ], part, oracle[differ], protocol), strict=True
        ):
            best[i] = row
    chosen = [n - 1 for n in protocol.counts]
    return [Rounds([c[n] for n in chosen], [o[n] for n in chosen]) for c, o in zip(ious, best, strict=True)]


def _follow(
    predictor: ImagePredictor,
    masks: np.ndarray,
    points: np.ndarray,
    answer: Answer,
    choice: np.ndarray,
    protocol: ClickProtocol,
) -> list[list[float]]:
    """IoU after 1, 2, ... points; each step predicts one mask from all points so far and the last low-res logits."""
    current, low_res = answer.choose(choice)
    ious = [[float(iou)] for iou in mask_iou(current, masks)]
    labels = np.ones(points.shape[:2], np.int64)
    rows: Sequence[int] = range(len(masks))
    last = max(protocol.counts)
    for _ in range(1, last):
        clicks = [next_point(mine, masks[i], protocol.error) for mine, i in zip(current, rows, strict=True)]
        on = [k for k, click in enumerate(clicks) if click]
        for k, click in enumerate(clicks):
            if not click:  # a perfect mask is kept
                ious[rows[k]] += [1.0] * (last - len(ious[rows[k]]))
        if not on:
            break
        added = np.array([clicks[k] for k in on])[:, None]  # (n, 1, 3)
        rows = [rows[k] for k in on]
        points = np.concatenate([points[on], added[..., :2]], axis=1)
        labels = np.concatenate([labels[on], added[..., 2]], axis=1)
        answer = ask(predictor, points, labels, mask_input=low_res[on])
        current, low_res = answer.choose(np.zeros(len(on), int))
        for i, iou in zip(rows, mask_iou(current, masks[list(rows)]).tolist(), strict=True):
            ious[i].append(iou)
    return ious
