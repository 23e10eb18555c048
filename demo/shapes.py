"""Masks as they travel: COCO run lengths, which are the mask, and an outline to draw."""

from typing import Any

import cv2
import numpy as np

from ..inference.upsample import Size, Upsampler
from ..ops.masks import mask_to_box, mask_to_rle
from ..results import svg_path

DRAWN = 1024
"""Long side at which outlines are traced; a low-res mask knows no more."""


def drawn_size(size: Size) -> Size:
    """The photo's size, made smaller for outlines where it is large."""
    scale = min(1.0, DRAWN / max(size))
    return tuple(max(1, round(side * scale)) for side in size)


def outline_of_logits(logits: np.ndarray, upsampler: Upsampler, size: Size) -> str:
    """Low-res logits (h, w) -> SVG path data in pixels of the photo.

    upsampler: to the drawn size; size: of the photo
    """
    mask, origin = _visible(logits, upsampler)
    return "" if mask is None else svg_path(mask, origin=origin, scale=size[1] / upsampler.frame.original_size[1])


def shape_of_logits(logits: np.ndarray, exact: Upsampler, drawn: Upsampler) -> dict[str, Any]:
    """Low-res logits (h, w) -> ``rle, area, bbox, path`` of the mask.

    exact, drawn: upsamplers to the photo and to the size for drawing
    """
    size = exact.frame.original_size
    mask, origin = _visible(logits, exact)
    path = outline_of_logits(logits, drawn, size)
    return _facts(np.zeros((0, 0), bool) if mask is None else mask, size, origin, path)


def shape_of_mask(mask: np.ndarray) -> dict[str, Any]:
    """A mask (H, W) bool of the photo's size -> the same."""
    size = mask.shape
    if not mask.any():
        return _facts(np.zeros((0, 0), bool), size, (0, 0), "")
    x0, y0, x1, y1 = mask_to_box(mask).tolist()
    part = mask[y0 : y1 + 1, x0 : x1 + 1]
    scale = max(size) / max(drawn_size(size))
    if scale == 1:
        path = svg_path(part, origin=(x0, y0))
    else:  # on a grid of coarser pixels that begins at the corner of the photo
        left, top = int(x0 / scale), int(y0 / scale)
        width, height = int(x1 / scale) + 1 - left, int(y1 / scale) + 1 - top
        shift = (np.array([x0, y0]) + 0.5) / scale - 0.5 - [left, top]
        move = np.float32([[1 / scale, 0, shift[0]], [0, 1 / scale, shift[1]]])
        soft = cv2.warpAffine(part.astype(np.float32), move, (width, height), flags=cv2.INTER_LINEAR)
        path = svg_path(soft > 0.5, origin=(left, top), scale=scale)
    return _facts(part, size, (x0, y0), path)


def _visible(logits: np.ndarray, upsampler: Upsampler) -> tuple[np.ndarray | None, tuple[int, int]]:
    """The window of the mask that is not empty, and where it begins; None where all is empty."""
    window = upsampler.window(logits, 0.0)
    if window is None:
        return None, (0, 0)
    values, origin = upsampler(logits[upsampler.margin(window)], window)
    return values > 0, origin


def _facts(mask: np.ndarray, size: Size, origin: tuple[int, int], path: str) -> dict[str, Any]:
    area = int(np.count_nonzero(mask))
    if not area:
        return {"rle": mask_to_rle(np.zeros((0, 0), bool), size), "area": 0, "bbox": [0, 0, 0, 0], "path": ""}
    x0, y0, x1, y1 = mask_to_box(mask).tolist()
    box = [x0 + origin[0], y0 + origin[1], x1 - x0 + 1, y1 - y0 + 1]
    return {"rle": mask_to_rle(mask, size, origin), "area": area, "bbox": box, "path": path}
