"""Masks for the page: exact COCO RLE, and an outline for drawing."""

from dataclasses import dataclass
from typing import Any

import contourpy
import cv2
import numpy as np

from ..inference.upsample import Size, Upsampler
from ..ops.masks import mask_to_box, mask_to_rle
from ..ops.tidying import tidy_window

DRAWN = 512
"""Long side at which outlines of logits are traced: twice that of a low-res mask."""
TRACED = 1024
"""Long side at which outlines of binary masks are traced."""
STRAIGHT = 0.3
"""Tolerance of simplifying outlines, in pixels at the traced size."""
LEAST = 1e-6
"""Smallest value inside a tidied mask, so that its sign is positive."""
OUTSIDE = -1e9
"""Value beyond the border, so far below zero that the outline ends at the last pixel."""


def drawn_size(size: Size, longest: float = DRAWN) -> Size:
    """The photo's size, scaled down so that its long side is at most ``longest``."""
    scale = min(1.0, longest / max(size))
    return tuple(max(1, round(side * scale)) for side in size)


@dataclass(frozen=True)
class Tidying:
    """How masks are tidied, see `ops.tidying.tidy`.

    share: of a mask's area, below which specks and holes are removed; 0: no tidying
    points: (P, 2), x then y, in pixels of the photo, or None; labels: (P,)
    """

    share: float = 0.0
    points: np.ndarray | None = None
    labels: np.ndarray | None = None

    def __call__(self, mask: np.ndarray, origin: tuple[int, int], scale: float = 1.0) -> np.ndarray:
        """Tidy a window, (h, w) bool, of a mask. scale: window pixels per pixel of the photo"""
        points = None if self.points is None else self.points * scale
        return tidy_window(mask, origin, self.share, points, self.labels)


def outline_of_logits(logits: np.ndarray, upsampler: Upsampler, size: Size, tidying: Tidying = Tidying()) -> str:
    """Low-res logits (h, w) -> SVG path data in pixels of the photo.

    upsampler: to the drawn size; size: of the photo
    """
    window = upsampler.window(logits, 0.0)
    if window is None:
        return ""
    window = upsampler.margin(window)  # the outline needs the pixels next to the mask
    values, origin = upsampler(logits[upsampler.margin(window)], window)
    drawn = upsampler.frame.original_size
    if tidying.share:
        tidied = tidying(values > 0, origin, max(drawn) / max(size))
        values = np.where(tidied, np.maximum(np.abs(values), LEAST), np.minimum(-np.abs(values), 0))
    return _outline(values, origin, drawn, size)


def shape_of_logits(
    logits: np.ndarray, exact: Upsampler, drawn: Upsampler, path: str | None = None, tidying: Tidying = Tidying()
) -> dict[str, Any]:
    """Low-res logits (h, w) -> ``rle, area, bbox, path`` of the mask.

    exact, drawn: upsamplers to the photo's and to the drawn size; path: the outline, if known
    """
    size = exact.frame.original_size
    window = exact.window(logits, 0.0)
    if window is None:
        return _facts(np.zeros((0, 0), bool), size, (0, 0), "")
    values, origin = exact(logits[exact.margin(window)], window)
    mask = values > 0
    if tidying.share:
        mask = tidying(mask, origin)
    path = outline_of_logits(logits, drawn, size, tidying) if path is None else path
    return _facts(mask, size, origin, path)


def shape_of_mask(mask: np.ndarray) -> dict[str, Any]:
    """A mask (H, W) bool of the photo's size -> ``rle, area, bbox, path``."""
    return shape_of_part(mask, mask.shape, (0, 0), TRACED / max(mask.shape))


def shape_of_part(part: np.ndarray, size: Size, origin: tuple[int, int], scale: float | None = None) -> dict[str, Any]:
    """A part of a mask, (h, w) bool, with all of its pixels -> ``rle, area, bbox, path``.

    size: of the photo; origin: (x, y) of the part's first pixel
    scale: size at which the outline is traced, as a share of the photo's; default: that at which the mask's long side
        is `TRACED`. Never more than 1
    """
    if not part.any():
        return _facts(np.zeros((0, 0), bool), size, (0, 0), "")
    x0, y0, x1, y1 = mask_to_box(part).tolist()
    part = part[y0 : y1 + 1, x0 : x1 + 1]
    x0, y0, x1, y1 = x0 + origin[0], y0 + origin[1], x1 + origin[0], y1 + origin[1]
    traced = drawn_size(size, max(size) * (TRACED / max(part.shape) if scale is None else scale))
    scale = max(size) / max(traced)
    # The traced grid starts at the photo's corner; its window has a margin of one pixel around the mask.
    left, top = max(0, int(x0 / scale) - 1), max(0, int(y0 / scale) - 1)
    right, bottom = min(traced[1], int(x1 / scale) + 2), min(traced[0], int(y1 / scale) + 2)
    shift = (np.array([x0, y0]) + 0.5) / scale - 0.5 - [left, top]
    move = np.float32([[1 / scale, 0, shift[0]], [0, 1 / scale, shift[1]]])
    soft = cv2.warpAffine(part.astype(np.float32), move, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
    # The sign is the mask's; blurring makes the zero crossing between pixels, and so the outline, smooth.
    values = (soft + cv2.blur(soft, (3, 3), borderType=cv2.BORDER_REPLICATE) - 1) / 2
    return _facts(part, size, (x0, y0), _outline(values, (left, top), traced, size))


def _outline(values: np.ndarray, origin: tuple[int, int], drawn: Size, size: Size) -> str:
    """The zero level of a field as SVG path data, in pixels of the photo (fill rule even-odd).

    values: (h, w) at the drawn size, positive in the mask; origin: (x, y) of the first pixel
    drawn, size: (H, W) as drawn and of the photo
    """
    padded = np.pad(values, 1, constant_values=OUTSIDE)
    tracer = contourpy.contour_generator(z=padded, line_type=contourpy.LineType.ChunkCombinedOffset)
    (points,), (offsets,) = tracer.lines(0.0)
    if points is None:
        return ""
    points += np.array(origin) - 0.5  # from indices of padded pixels to coordinates from the photo's corner
    for axis, length in enumerate(drawn[::-1]):
        at = points[:, axis]
        at[at <= 0.5] = 0  # snap border pixel centres to the border
        at[at >= length - 0.5] = length
    points = points.astype(np.float32)
    rings = (points[a : b - 1] for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True))
    simple = [cv2.approxPolyDP(ring, STRAIGHT, True)[:, 0] for ring in rings]
    scale = np.float32(np.array(size[::-1]) / drawn[::-1])
    return "".join("M" + ("%.1f %.1f " * len(ring) % tuple((ring * scale).ravel().tolist())) + "Z" for ring in simple)


def _facts(mask: np.ndarray, size: Size, origin: tuple[int, int], path: str) -> dict[str, Any]:
    area = int(np.count_nonzero(mask))
    if not area:
        return {"rle": mask_to_rle(np.zeros((0, 0), bool), size), "area": 0, "bbox": [0, 0, 0, 0], "path": ""}
    x0, y0, x1, y1 = mask_to_box(mask).tolist()
    box = [x0 + origin[0], y0 + origin[1], x1 - x0 + 1, y1 - y0 + 1]
    return {"rle": mask_to_rle(mask, size, origin), "area": area, "bbox": box, "path": path}
