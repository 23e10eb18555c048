"""What a tile gave of an object: a mask in the window that it fills, packed."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..ops.masks import Rle, mask_to_box, mask_to_rle, rle_to_mask
from ..rasters.raster import Window


@dataclass(frozen=True)
class Piece:
    """A mask, not empty, as its window's run lengths; a few hundred bytes.

    box: of the window in the picture, XYXY with exclusive right and bottom edges
    counts: compressed run lengths of the window
    area: pixels; tile: its place in `Grid.windows`; facts: of its record, without ``segmentation``, ``area``, ``bbox``
    """

    box: Window
    counts: str
    area: int
    tile: int = 0
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, mask: np.ndarray, origin: tuple[int, int], tile: int = 0, facts: dict[str, Any] | None = None
    ) -> "Piece":
        """mask: (h, w) bool, not empty; origin: (x, y) of its first pixel in the picture"""
        x0, y0, x1, y1 = mask_to_box(mask).tolist()
        window = mask[y0 : y1 + 1, x0 : x1 + 1]
        x, y = origin
        box = (x + x0, y + y0, x + x1 + 1, y + y1 + 1)
        return cls(box, mask_to_rle(window)["counts"], int(np.count_nonzero(window)), tile, facts or {})

    @property
    def mask(self) -> np.ndarray:
        """(h, w) bool of the window."""
        x0, y0, x1, y1 = self.box
        return rle_to_mask({"size": [y1 - y0, x1 - x0], "counts": self.counts})

    def within(self, window: Window) -> np.ndarray:
        """The mask in a window of the picture: (h, w) bool, False where the piece is not."""
        x0, y0, x1, y1 = window
        out = np.zeros((y1 - y0, x1 - x0), bool)
        paste(out, (x0, y0), self)
        return out

    def rle(self, size: tuple[int, int]) -> Rle:
        """Compressed run lengths in a picture of (H, W)."""
        return mask_to_rle(self.mask, size, self.box[:2])


def paste(canvas: np.ndarray, origin: tuple[int, int], piece: Piece) -> None:
    """Add a piece to (h, w) bool, whose first pixel is at (x, y) of the picture."""
    x, y = origin
    x0, y0, x1, y1 = piece.box
    low_x, low_y = max(x, x0), max(y, y0)
    high_x, high_y = min(x + canvas.shape[1], x1), min(y + canvas.shape[0], y1)
    if low_x < high_x and low_y < high_y:
        part = piece.mask[low_y - y0 : high_y - y0, low_x - x0 : high_x - x0]
        canvas[low_y - y : high_y - y, low_x - x : high_x - x] |= part


def united(pieces: Iterable[Piece]) -> Piece:
    """One piece of the pixels of all, with the facts of the largest; its ``crop_box`` is around those of all."""
    pieces = list(pieces)
    if len(pieces) == 1:
        return pieces[0]
    boxes = np.array([p.box for p in pieces])
    x0, y0 = boxes[:, :2].min(axis=0).tolist()
    x1, y1 = boxes[:, 2:].max(axis=0).tolist()
    canvas = np.zeros((y1 - y0, x1 - x0), bool)
    for piece in pieces:
        paste(canvas, (x0, y0), piece)
    largest = max(pieces, key=lambda p: p.area)
    facts = dict(largest.facts)
    crops = [p.facts["crop_box"] for p in pieces if "crop_box" in p.facts]
    if crops:
        left, top = min(c[0] for c in crops), min(c[1] for c in crops)
        right, bottom = max(c[0] + c[2] for c in crops), max(c[1] + c[3] for c in crops)
        facts["crop_box"] = [left, top, right - left, bottom - top]
    return Piece.of(canvas, (x0, y0), largest.tile, facts)
