"""A simulated annotator (paper, section 4): clicks on the largest error until the mask is good enough."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..evaluation.clicks import corrective_click, farthest_pixel
from ..evaluation.metrics import mask_iou
from ..evaluation.prompting import ask
from ..inference.image_predictor import ImagePredictor

BATCH = 16
"""Objects decoded in one batch."""


@dataclass(frozen=True)
class Patience:
    """When an annotator stops: at an IoU of ``good``, or after ``clicks`` clicks (paper, section 4)."""

    good: float = 0.90
    clicks: int = 20


@dataclass
class Drawn:
    """The result of the clicks on one object.

    mask: (H, W) bool; points: [x, y, label] of each click, in pixels; ious: after each click; score: predicted IoU
    """

    mask: np.ndarray
    points: list[tuple[int, int, int]] = field(default_factory=list)
    ious: list[float] = field(default_factory=list)
    score: float = 0.0

    @property
    def clicks(self) -> int:
        return len(self.points)

    @property
    def iou(self) -> float:
        return self.ious[-1]


def draw(predictor: ImagePredictor, truths: Sequence[np.ndarray], patience: Patience = Patience()) -> list[Drawn]:
    """Segment objects of the predictor's image with clicks, like a person who knows the ground truth.

    The first click is on the middle of the object, and keeps the mask with the highest predicted IoU; later ones are on
    the middle of the largest error. The best mask so far is kept, as a person would undo a click that made it worse.
    truths: (H, W) bool each, none of them empty
    """
    return [
        drawn for at in range(0, len(truths), BATCH) for drawn in _draw(predictor, truths[at : at + BATCH], patience)
    ]


def _draw(predictor: ImagePredictor, truths: Sequence[np.ndarray], patience: Patience) -> list[Drawn]:
    clicks: list[list[tuple[int, int, int]]] = [[(*farthest_pixel(truth), 1)] for truth in truths]
    answer = ask(predictor, *_prompts(clicks), multimask=True)
    best = answer.best()
    masks, low_res = answer.choose(best)
    scores = answer.scores[np.arange(len(best)), best]
    drawn = [Drawn(mask) for mask in masks]
    rows = list(range(len(truths)))
    while True:
        for row, mask, score in zip(rows, masks, scores, strict=True):
            iou, so_far = float(mask_iou(mask, truths[row])), drawn[row]
            if iou >= max(so_far.ious, default=0.0):
                so_far.mask, so_far.score = mask, float(score)
            so_far.ious.append(iou)
            so_far.points = list(clicks[row])
        going = [i for i, row in enumerate(rows) if _goes_on(drawn[row], patience)]
        nexts = [corrective_click(masks[i], truths[rows[i]]) for i in going]
        if not going:
            break
        for i, click in zip(going, nexts, strict=True):
            clicks[rows[i]].append(click)
        rows = [rows[i] for i in going]
        answer = ask(predictor, *_prompts([clicks[row] for row in rows]), mask_input=low_res[going])
        masks, low_res = answer.choose(np.zeros(len(rows), int))
        scores = answer.scores[:, 0]
    for one in drawn:
        one.ious[-1] = max(one.ious)
    return drawn


def _goes_on(drawn: Drawn, patience: Patience) -> bool:
    return drawn.iou < patience.good and drawn.clicks < patience.clicks


def _prompts(clicks: list[list[tuple[int, int, int]]]) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, P, 2) and labels (N, P) of objects with equally many clicks."""
    both = np.array(clicks)
    return both[..., :2].astype(np.float64), both[..., 2]
