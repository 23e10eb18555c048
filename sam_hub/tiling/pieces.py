"""A tile's mask of an object, compressed, cropped to its box."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..ops.masks import Rle, mask_to_box, mask_to_rle, rle_counts
from ..ops.run_lengths import compressed
from ..rasters.raster import Window

PART = 1 << 22
"""Maximum number of pixels of a large mask that are decoded at a time."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A non-empty mask, as RLE of its window; a few hundred bytes.

    box: of the window in the image, XYXY with exclusive right and bottom edges
    counts: compressed RLE counts of the window
    area: pixels; tile: index into `Grid.windows`; facts: its record without ``segmentation``, ``area``, ``bbox``
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
        """mask: (h, w) bool, not empty; origin: (x, y) of its first pixel in the image"""
        x0, y0, x1, y1 = mask_to_box(mask).tolist()
        window = mask[y0 : y1 + 1, x0 : x1 + 1]
        x, y = origin
        box = (x + x0, y + y0, x + x1 + 1, y + y1 + 1)
        return cls(box, mask_to_rle(window)["counts"], int(np.count_nonzero(window)), tile, facts or {})

    @property
    def mask(self) -> np.ndarray:
        """(h, w) bool of the window."""
        return self.within(self.box)

    def runs(self) -> tuple[np.ndarray, np.ndarray]:
        """Start and end of each run of pixels, in column-major order of the window."""
        x0, y0, x1, y1 = self.box
        size = [y1 - y0, x1 - x0]
        ends = rle_counts({"size": size, "counts": self.counts}, size).cumsum()
        starts, ends = ends[:-1:2], ends[1::2]
        return starts[: len(ends)], ends

    def within(self, window: Window) -> np.ndarray:
        """The mask in a window of the image: (h, w) bool, False outside the piece."""
        x0, y0, x1, y1 = window
        out = np.zeros((y1 - y0, x1 - x0), bool)
        paste(out, (x0, y0), self)
        return out

    def at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Whether the pixels of columns (w,) and rows (h,), all in the box, belong to it: (h, w) bool."""
        x0, y0, _, y1 = self.box
        starts, ends = self.runs()
        place = (x - x0)[None] * (y1 - y0) + (y - y0)[:, None]
        run = np.searchsorted(starts, place, side="right") - 1
        return (run >= 0) & (place < ends[np.maximum(run, 0)])

    def rle(self, size: tuple[int, int]) -> Rle:
        """Compressed RLE in an image of (H, W)."""
        x0, y0, _, y1 = self.box
        high, (height, width) = y1 - y0, size
        starts, ends = self.runs()
        if high < height:  # a run ends with its column
            first, last = starts // high, (ends - 1) // high
            pieces = last - first + 1
            run = np.repeat(np.arange(len(starts)), pieces)
            column = np.arange(len(run)) - np.repeat(pieces.cumsum() - pieces, pieces) + first[run]
            low, top = np.maximum(starts[run], column * high), np.minimum(ends[run], (column + 1) * high)
            shift = (x0 + column) * height + y0 - column * high
            starts, ends = low + shift, top + shift
        else:
            starts, ends = starts + x0 * height, ends + x0 * height
        counts = np.diff(np.stack([starts, ends], axis=1).ravel(), prepend=0, append=height * width)
        if counts[-1] == 0:
            counts = counts[:-1]
        return compressed({"size": [height, width], "counts": counts})


def paste(canvas: np.ndarray, origin: tuple[int, int], piece: Piece) -> None:
    """Draw a piece into (h, w) bool, whose first pixel is at (x, y); decodes only the columns needed."""
    x, y = origin
    x0, y0, x1, y1 = piece.box
    low_x, low_y = max(x, x0), max(y, y0)
    high_x, high_y = min(x + canvas.shape[1], x1), min(y + canvas.shape[0], y1)
    if low_x >= high_x or low_y >= high_y:
        return
    high = y1 - y0
    begin, end = (low_x - x0) * high, (high_x - x0) * high
    starts, ends = piece.runs()
    here = slice(np.searchsorted(ends, begin, side="right"), np.searchsorted(starts, end))
    edges = np.stack([starts[here], ends[here]], axis=1).ravel().clip(begin, end) - begin
    counts = np.diff(edges, prepend=0, append=end - begin)
    columns = np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(high_x - low_x, high).T
    part = columns[low_y - y0 : high_y - y0]
    canvas[low_y - y : high_y - y, low_x - x : high_x - x] |= part


def strips(box: Window) -> Iterator[Window]:
    """Split a box, left to right, into parts of at most `PART` pixels, or one column."""
    x0, y0, x1, y1 = box
    step = max(1, PART // max(1, y1 - y0))
    for x in range(x0, x1, step):
        yield x, y0, min(x + step, x1), y1


def common(a: Piece, b: Piece) -> int:
    """Number of common pixels of two pieces."""
    x0, y0 = max(a.box[0], b.box[0]), max(a.box[1], b.box[1])
    x1, y1 = min(a.box[2], b.box[2]), min(a.box[3], b.box[3])
    if x0 >= x1 or y0 >= y1:
        return 0
    return sum(int(np.count_nonzero(a.within(part) & b.within(part))) for part in strips((x0, y0, x1, y1)))


def united(pieces: Iterable[Piece]) -> Piece:
    """The union of pieces, with the facts of the largest; ``crop_box`` encloses those of all.

    Built strip by strip, so that memory does not grow with the piece.
    """
    pieces = list(pieces)
    if len(pieces) == 1:
        return pieces[0]
    boxes = np.array([p.box for p in pieces])
    x0, y0 = boxes[:, :2].min(axis=0).tolist()
    x1, y1 = boxes[:, 2:].max(axis=0).tolist()
    edges = []
    for left, _, right, _ in strips((x0, y0, x1, y1)):
        canvas = np.zeros((y1 - y0, right - left), bool)
        for i in np.flatnonzero((boxes[:, 0] < right) & (boxes[:, 2] > left)):
            paste(canvas, (left, y0), pieces[i])
        flat = np.r_[False, canvas.T.ravel(), False]
        edges.append(np.flatnonzero(flat[1:] != flat[:-1]).reshape(-1, 2) + (left - x0) * (y1 - y0))
    runs = np.concatenate(edges)
    goes_on = np.flatnonzero(runs[1:, 0] == runs[:-1, 1])  # a run across the border of two strips
    starts, ends = np.delete(runs[:, 0], goes_on + 1), np.delete(runs[:, 1], goes_on)
    total = (x1 - x0) * (y1 - y0)
    counts = np.diff(np.stack([starts, ends], axis=1).ravel(), prepend=0, append=total)
    if counts[-1] == 0:
        counts = counts[:-1]
    packed = compressed({"size": [y1 - y0, x1 - x0], "counts": counts})["counts"]
    largest = max(pieces, key=lambda p: p.area)
    facts = dict(largest.facts)
    crops = [p.facts["crop_box"] for p in pieces if "crop_box" in p.facts]
    if crops:
        left, top = min(c[0] for c in crops), min(c[1] for c in crops)
        right, bottom = max(c[0] + c[2] for c in crops), max(c[1] + c[3] for c in crops)
        facts["crop_box"] = [left, top, right - left, bottom - top]
    return Piece((x0, y0, x1, y1), packed, int((ends - starts).sum()), largest.tile, facts)
