"""Areas, boxes, centres and convex hulls of many masks from their run lengths, without decoding them to pixels.

Run lengths are column-major. A batch of masks is one array of characters, then one of runs, which are split at the ends
of columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ..errors import DataError
from ..ops.run_lengths import COUNT_LENGTH, Rle, rle_counts


@dataclass
class Shapes:
    """N masks.

    area: (N,) pixels; 0 for empty masks, whose other values are undefined
    box: (N, 4) x0, y0, x1, y1 of the outermost pixels, inclusive
    center: (N, 2) mean x and y of the pixels' centres, in pixels
    column, top, bottom: (P,) the vertical pieces of all masks, rows inclusive
    first: (N + 1,) mask i has the pieces first[i] to first[i + 1]
    """

    area: np.ndarray
    box: np.ndarray
    center: np.ndarray
    first: np.ndarray
    column: np.ndarray
    top: np.ndarray
    bottom: np.ndarray

    def hull_area(self, index: int) -> float:
        """Area of the convex hull of a mask's pixels, as unit squares."""
        part = slice(self.first[index], self.first[index + 1])
        column, top, bottom = self.column[part], self.top[part], self.bottom[part]
        starts = _changes(column)  # pieces of one column are adjacent
        corners = np.empty((len(starts), 4, 2), np.int32)
        corners[:, ::2, 0] = column[starts, None]
        corners[:, 1::2, 0] = corners[:, ::2, 0] + 1
        corners[:, :2, 1] = top[starts, None]
        corners[:, 2:, 1] = np.maximum.reduceat(bottom, starts)[:, None] + 1
        return float(cv2.contourArea(cv2.convexHull(corners.reshape(-1, 2))))


def _changes(values: np.ndarray) -> np.ndarray:
    """Start indices of runs of equal values: (K,) -> (R,), beginning with 0."""
    if not len(values):
        return np.empty(0, np.int64)
    return np.concatenate([[0], np.flatnonzero(values[1:] != values[:-1]) + 1])


def measure_shapes(masks: Sequence[Rle], sizes: Sequence[tuple[int, int]]) -> Shapes:
    """Measure N masks at once.

    masks: run lengths, compressed or not; sizes: (H, W) of each mask's image
    raises: DataError if any is damaged; call `rle_counts` on each to find which
    """
    counts, number = _all_counts(masks)
    heights, widths = np.array(sizes, np.int64).reshape(-1, 2).T
    total = np.bincount(number, counts, len(masks))
    if (counts < 0).any() or (total != heights * widths).any():
        raise DataError("some masks do not cover their images; re-export the annotations")
    ends = counts.cumsum()
    begin = np.concatenate([[0], total.cumsum()[:-1]]).astype(np.int64)  # start of each mask in the concatenated pixels
    place = _place_in_mask(number)
    ones = (place % 2 == 1) & (counts > 0)
    owner = number[ones]
    start = ends[ones] - counts[ones] - begin[owner]
    stop = start + counts[ones] - 1
    height = heights[owner]
    left, right = start // height, stop // height
    # Split runs that span several columns.
    columns = right - left + 1
    piece = np.repeat(np.arange(len(owner)), columns)
    step = np.arange(len(piece)) - np.repeat(columns.cumsum() - columns, columns)
    column = left[piece] + step
    tall = height[piece]
    top = np.where(step == 0, start[piece] - left[piece] * tall, 0)
    bottom = np.where(step == columns[piece] - 1, stop[piece] - right[piece] * tall, tall - 1)
    return _summed(owner[piece], column, top, bottom, len(masks))


def _summed(owner: np.ndarray, column: np.ndarray, top: np.ndarray, bottom: np.ndarray, count: int) -> Shapes:
    length = bottom - top + 1
    first = np.searchsorted(owner, np.arange(count + 1))
    area = np.bincount(owner, length, count).astype(np.int64)
    safe = np.maximum(area, 1)
    x = np.bincount(owner, column * length, count) / safe
    y = np.bincount(owner, (top + bottom) / 2 * length, count) / safe
    box = np.zeros((count, 4), np.int64)
    filled = np.flatnonzero(area)
    if len(filled):
        at = first[filled]
        box[filled, 0], box[filled, 1] = column[at], np.minimum.reduceat(top, at)
        box[filled, 2], box[filled, 3] = column[first[filled + 1] - 1], np.maximum.reduceat(bottom, at)
    return Shapes(area, box, np.stack([x, y], 1), first, column, top, bottom)


def _place_in_mask(number: np.ndarray) -> np.ndarray:
    """Index of each count within its mask, from 0. number: (K,) mask of each count, non-decreasing"""
    first = _changes(number)
    lengths = np.diff(np.append(first, len(number)))
    return np.arange(len(number)) - np.repeat(first, lengths)


def _all_counts(masks: Sequence[Rle]) -> tuple[np.ndarray, np.ndarray]:
    """The concatenated counts of all masks, (K,) int64, and the mask of each count, (K,)."""
    texts = [rle["counts"] for rle in masks]
    if all(isinstance(text, str) and text for text in texts):
        return _decompressed([text.encode("ascii", "replace") for text in texts])
    counts = [rle_counts(rle) for rle in masks]
    return np.concatenate([*counts, np.empty(0, np.int64)]), np.repeat(np.arange(len(masks)), [len(c) for c in counts])


def _decompressed(texts: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """`_all_counts` for COCO's compressed form: 5 bits per character, differences from the fourth count on."""
    codes = np.frombuffer(b"".join(texts), np.uint8)
    if len(codes) and (codes.min() < 48 or codes.max() > 111):
        raise DataError("a mask has characters that are not run lengths; re-export the annotations")
    codes = codes - np.uint8(48)
    last = codes < 32
    text_ends = np.cumsum([len(text) for text in texts])
    if len(codes) and not last[text_ends - 1].all():
        raise DataError("the last count of a mask is cut short; re-export the annotations")
    ends = np.flatnonzero(last)
    first = np.concatenate([[0], ends[:-1] + 1])[: len(ends)]
    lengths = ends - first + 1
    if len(lengths) and lengths.max() > COUNT_LENGTH:
        raise DataError("a count of a mask is too long; re-export the annotations")
    values = (codes[first] & 31).astype(np.int64)
    for k in range(1, int(lengths.max(initial=1))):  # most counts have one or two characters
        longer = np.flatnonzero(lengths > k)
        values[longer] |= (codes[first[longer] + k] & 31).astype(np.int64) << 5 * k
    negative = codes[ends] & 16 > 0
    values[negative] -= np.int64(1) << 5 * lengths[negative]
    per_text = np.add.reduceat(last, np.concatenate([[0], text_ends[:-1]]), dtype=np.int64) if len(last) else []
    number = np.repeat(np.arange(len(texts)), per_text)
    where = _place_in_mask(number)
    for parity in (1, 0):
        chain = np.flatnonzero((where % 2 == parity) & (where > 0))
        if len(chain):
            run = values[chain].cumsum()
            opens = _changes(number[chain])
            before = np.concatenate([[0], run])[opens]
            values[chain] = run - np.repeat(before, np.diff(np.append(opens, len(chain))))
    return values, number
