"""Validates prompts from clients; nothing in them is trusted.

A prompt is a JSON object that describes one object of a photo, in pixels of the photo:
    points   [[x, y], ...] and labels [1, 0, ...]: clicks on the object (1) and beside it (0)
    box      [x0, y0, x1, y1]
    strokes  [{"points": [[x, y], ...], "radius": r, "erase": false}, ...]: a roughly painted mask
    refine   {"result": id, "mask": k}: an earlier answer to go on from
    tidy     true or false: whether specks go and pinholes are filled; by default as suits the model
    zoom     true or false (default): whether the part of the photo around the object is encoded as well; not with
             strokes or refine
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from ..errors import PromptError
from ..inference.upsample import Size
from ..ops.masks import mask_to_box
from ..ops.prompts import as_numbers, check_box, check_points
from .limits import Limits, Refusal

PAINTED = 512
"""Long side of the frame for painting strokes: twice that of the finest mask prompt."""


@dataclass(frozen=True)
class Prompt:
    """A validated prompt for a predictor.

    points: (P, 2) or None; labels: (P,) int; box: (4,) or None
    rough: (h, w) bool, in the proportions of the photo, or None
    refine: the id of an earlier result and the index of a mask, or None
    tidy: whether masks are tidied, or None
    zoom: whether to look again at the window around the object, see `inference.zoom`
    """

    points: np.ndarray | None
    labels: np.ndarray | None
    box: np.ndarray | None
    rough: np.ndarray | None
    refine: tuple[str, int] | None
    tidy: bool | None = None
    zoom: bool = False

    @property
    def ambiguous(self) -> bool:
        """Whether it is a single click, which has several valid masks."""
        return self.box is None and self.rough is None and self.refine is None and len(self.points) == 1


def parse_prompt(prompt: Any, size: Size, limits: Limits) -> Prompt:
    """raises: PromptError, Refusal"""
    if not isinstance(prompt, dict):
        raise PromptError('a prompt must be an object like {"points": [[x, y]], "labels": [1]}')
    known = ("points", "labels", "box", "strokes", "refine", "tidy", "zoom")
    if unknown := sorted(set(map(str, prompt)) - set(known)):
        raise PromptError(f"a prompt has no {unknown[0]!r}; expected some of {', '.join(known)}")
    points, labels = _points(prompt.get("points") or [], prompt.get("labels"), size, limits)
    box = prompt.get("box")
    if box is not None:
        corners = as_numbers(box)
        if corners is None or corners.shape != (4,):
            raise PromptError("box must be [x0, y0, x1, y1], in pixels of the photo")
        box = check_box(corners, size)
    tidy = prompt.get("tidy")
    if not isinstance(tidy, bool | None):
        raise PromptError("tidy must be true or false")
    zoom = prompt.get("zoom", False)
    if not isinstance(zoom, bool):
        raise PromptError("zoom must be true or false")
    rough = _paint(prompt.get("strokes") or [], size, limits)
    refine = _refine(prompt.get("refine"))
    if zoom and (rough is not None or refine is not None):
        raise PromptError(
            "zoom needs points or a box, not a painted or an earlier mask; omit strokes and refine, or zoom"
        )
    if points is None and box is None and rough is None:
        raise PromptError("the prompt is empty; click on the object, draw a box around it or paint over it")
    if rough is not None and points is None and box is None:  # a mask alone says little, so add its box
        x0, y0, x1, y1 = mask_to_box(rough).tolist()
        scale = size[1] / rough.shape[1]
        box = check_box(np.array([x0, y0, x1 + 1, y1 + 1]) * scale, size)
    return Prompt(points, labels, box, rough, refine, tidy, zoom)


def _points(points: Any, labels: Any, size: Size, limits: Limits) -> tuple[np.ndarray | None, np.ndarray | None]:
    if not isinstance(points, list) or not isinstance(labels, list | None):
        raise PromptError("points must be [[x, y], ...] and labels [1, 0, ...]")
    if not points and not labels:
        return None, None
    if len(points) > limits.points:
        raise Refusal(f"{len(points)} points are too many; give at most {limits.points}")
    xy, kinds = as_numbers(points), as_numbers([1] * len(points) if labels is None else labels)
    if xy is None or xy.ndim != 2 or xy.shape[1] != 2 or kinds is None or kinds.ndim != 1:
        raise PromptError("points must be [[x, y], ...], in pixels of the photo, and labels [1, 0, ...]")
    for kind in kinds[~np.isin(kinds, (0, 1))]:
        raise PromptError(f"label {kind:g} is unknown; use 1 for the object and 0 for the background")
    return xy, check_points(xy, kinds, size)


def _paint(strokes: Any, size: Size, limits: Limits) -> np.ndarray | None:
    """Strokes as a mask with a long side of `PAINTED`, or None without any."""
    if not isinstance(strokes, list) or not all(isinstance(stroke, dict) for stroke in strokes):
        raise PromptError('strokes must be [{"points": [[x, y], ...], "radius": r}, ...]')
    if not strokes:
        return None
    lengths = [len(s["points"]) if isinstance(s.get("points"), list) else 0 for s in strokes]
    if len(strokes) > limits.strokes or sum(lengths) > limits.stroke_points:
        raise Refusal("the painting is too long; clear it and paint with a wider brush")
    scale = PAINTED / max(size)
    height, width = (max(1, round(side * scale)) for side in size)
    mask = np.zeros((height, width), np.uint8)
    for stroke in strokes:
        xy, radius = as_numbers(stroke.get("points")), as_numbers([stroke.get("radius")])
        if xy is None or xy.ndim != 2 or xy.shape[1] != 2 or not len(xy) or radius is None or radius.shape != (1,):
            raise PromptError("a stroke needs points [[x, y], ...] and a radius, in pixels of the photo")
        if not (np.abs(xy) <= 10 * max(size)).all() or not 0 < radius[0] <= max(size):
            raise PromptError("a stroke must lie on the photo and have a radius above 0")
        track = np.rint(xy * scale * 16).astype(np.int32)  # in sixteenths of a pixel
        color, thick = 0 if stroke.get("erase") else 1, max(1, round(2 * float(radius[0]) * scale))
        cv2.polylines(mask, [track.reshape(-1, 1, 2)], False, color, thick, shift=4)
        if len(track) == 1:
            cv2.circle(mask, track[0].tolist(), round(thick * 8), color, -1, shift=4)
    if not mask.any():
        raise PromptError("nothing is painted; paint over the object")
    return mask.astype(bool)


def _refine(refine: Any) -> tuple[str, int] | None:
    if refine is None:
        return None
    result, mask = (refine.get("result"), refine.get("mask")) if isinstance(refine, dict) else (None, None)
    if not isinstance(result, str) or type(mask) is not int or mask < 0:
        raise PromptError('refine must be {"result": id, "mask": k} of an earlier answer')
    return result, mask
