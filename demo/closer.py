"""A second look at one object of a photo, as by ``ImagePredictor.predict(zoom=True)``, in parts that are queued apart.

`predict` makes masks and logits of the whole photo, which take gigabytes for 50 megapixels; here a mask is made in
bands of the window, one after another.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..inference.upsample import Upsampler
from ..inference.zoom import SECOND, Look, inside, window_around
from ..ops.masks import mask_to_box
from ..rasters.raster import Window
from .prompts import Prompt
from .shapes import Tidying, drawn_size, shape_of_logits, shape_of_part
from .store import Photo

BAND = 1 << 22
"""Most pixels of a window that are computed at once."""

Decode = Callable[[Any, Any, Any, Any, Any, bool], tuple[np.ndarray, np.ndarray]]
"""``(predictor, points, labels, box, mask, multimask)`` -> scores, low-res logits."""


@dataclass(frozen=True)
class FirstLooks:
    """An object in the whole photo, and where to look at it closer.

    looks: of the prompt as `segment` answers it, and, for a precise prompt, of the three masks after it; in order
    window: the part of the photo around the object; None if a closer look would show no more
    """

    looks: list[Look]
    window: Window | None


def look_first(photo: Photo, prompt: Prompt, scores: np.ndarray, low_res: np.ndarray, decode: Decode) -> FirstLooks:
    """scores, low_res: of the prompt. One window serves all masks: that of the best one."""
    frame = photo.predictor.mask_frame
    looks = [Look(low_res, scores, frame).in_order()]
    if not prompt.ambiguous:
        scores, low_res = decode(photo.predictor, prompt.points, prompt.labels, prompt.box, None, True)
        if len(scores) > 1:
            looks.append(Look(low_res, scores, frame).in_order())
    given = prompt.points, prompt.labels, prompt.box
    extent = _extent(photo, looks[0].low_res[0]) if prompt.box is None else None
    window = window_around(photo.size, extent, *given)
    if window is not None and _nothing_inside(window, prompt):
        window = None
    return FirstLooks(looks, window)


def look_again(photo: Photo, prompt: Prompt, first: FirstLooks, decode: Decode) -> list[Look]:
    """Encode the window and give the prompt again in it, once for each of the first looks."""
    closer = photo.predictor.closer(first.window)
    photo.weigh()  # the predictor keeps the embedding of the last window
    points, labels, box = inside(first.window, prompt.points, prompt.labels, prompt.box)
    frame, seen = closer.mask_frame, []
    for i in range(len(first.looks)):
        scores, low_res = decode(closer, points, labels, box, None, i > 0 or prompt.ambiguous)
        seen.append(Look(low_res, scores, frame).in_order())
    return seen


def shapes_of(
    photo: Photo, first: FirstLooks, second: list[Look] | None, tidying: Tidying
) -> list[tuple[float, dict[str, Any]]]:
    """Score and shape of each mask: the mean of both looks in the window; second: None without a window."""
    found = []
    for i, look in enumerate(first.looks):
        exact = photo.upsampler(look.low_res.shape[-2:], photo.size)
        if second is None:
            drawn = photo.upsampler(look.low_res.shape[-2:], drawn_size(photo.size))
            shapes = [shape_of_logits(low, exact, drawn, None, tidying) for low in look.low_res]
            found += zip(look.scores, shapes, strict=True)
            continue
        seen = second[i]
        inner = Upsampler(seen.low_res.shape[-2:], seen.frame)
        scores = look.scores + SECOND * (seen.scores - look.scores)
        for score, low, near in zip(scores, look.low_res, seen.low_res, strict=True):
            found.append((score, _shape(exact, low, tidying, inner, near, first.window)))
    return found


def _shape(
    exact: Upsampler,
    low: np.ndarray,
    tidying: Tidying,
    inner: Upsampler,
    near: np.ndarray,
    window: Window,
) -> dict[str, Any]:
    """``rle, area, bbox, path`` of a mask; low: (h, w) logits of the photo; near: of the window"""
    x0, y0, x1, y1 = window
    part, (left, top) = _extended(*_mask(exact, low), window)
    rows = max(1, BAND // (x1 - x0))
    for y in range(y0, y1, rows):
        end = min(y1, y + rows)
        logits = exact.pixels(low, (x0, y, x1, end))
        logits += SECOND * (inner.pixels(near, (0, y - y0, x1 - x0, end - y0)) - logits)
        part[y - top : end - top, x0 - left : x1 - left] = logits > 0
    if tidying.share and part.any():
        part = tidying(part, (left, top))
    return shape_of_part(part, exact.frame.original_size, (left, top))


def _extended(part: np.ndarray, origin: tuple[int, int], window: Window) -> tuple[np.ndarray, tuple[int, int]]:
    """A part of a mask with the origin (x, y) -> the part that also covers the window, and its origin."""
    x0, y0, x1, y1 = window
    (x, y), (h, w) = origin if part.size else (x0, y0), part.shape
    left, top = min(x, x0), min(y, y0)
    whole = np.zeros((max(y1, y + h) - top, max(x1, x + w) - left), bool)
    whole[y - top : y - top + h, x - left : x - left + w] = part
    return whole, (left, top)


def _mask(exact: Upsampler, low: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """The mask of low-res logits in the box around it, (h', w') bool, and the x, y of its first pixel."""
    window = exact.window(low, 0.0)
    if window is None:
        return np.zeros((0, 0), bool), (0, 0)
    values, origin = exact(low[exact.margin(window)], window)
    return values > 0, origin


def _nothing_inside(window: Window, prompt: Prompt) -> bool:
    """Whether no part of the prompt lies in the window."""
    points, _, box = inside(window, prompt.points, prompt.labels, prompt.box)
    return points is None and box is None


def _extent(photo: Photo, low: np.ndarray) -> np.ndarray | None:
    """(4,) x0, y0, x1, y1 of the mask of low-res logits, x1 and y1 exclusive; None if it is empty."""
    mask, (left, top) = _mask(photo.upsampler(low.shape, photo.size), low)
    return mask_to_box(mask) + np.array([left, top, left + 1, top + 1]) if mask.any() else None
