"""Masks as pixels: run lengths, boxes, stability, small regions, outlines (original: ``utils/amg.py``).

A mask is (H, W) bool. Run lengths are COCO's: column by column, starting with the number of zeros.
"""

from typing import Literal

import cv2
import numpy as np

from .run_lengths import Rle, compress_rle, compressed, rle_area, rle_counts, rle_to_mask

__all__ = [
    "Rle",
    "compress_rle",
    "mask_to_box",
    "mask_to_polygons",
    "mask_to_rle",
    "mask_to_uncompressed_rle",
    "remove_small_regions",
    "rle_area",
    "rle_counts",
    "rle_to_mask",
    "rle_to_window",
    "stability_score",
]


def mask_to_uncompressed_rle(
    mask: np.ndarray, size: tuple[int, int] | None = None, origin: tuple[int, int] = (0, 0)
) -> Rle:
    """Run lengths of a mask, or of a larger frame that is empty outside the mask.

    mask: (h, w) bool
    size: (H, W) of the frame; default: the mask's
    origin: (x, y) of the mask's first pixel in the frame
    returns: ``{"size": [H, W], "counts": [zeros, ones, zeros, ...]}``
    """
    h, w = mask.shape
    height, width = size or (h, w)
    x0, y0 = origin
    if min(origin) < 0 or x0 + w > width or y0 + h > height:
        raise ValueError(f"a window of {h} x {w} at x {x0}, y {y0} does not fit a frame of {height} x {width}")
    padded = np.zeros((w, h + 2), dtype=bool)  # each column between two zeros, so that its runs end
    padded[:, 1:-1] = mask.T
    column, row = np.nonzero(padded[:, 1:] != padded[:, :-1])
    change = (column + x0) * height + row + y0
    if h == height:  # a run that continues in the next column ended and began at the same position
        again = np.flatnonzero(change[1:] == change[:-1])
        change = np.delete(change, np.concatenate([again, again + 1]))
    counts = np.diff(change, prepend=0, append=height * width)
    if len(change) and change[-1] == height * width:
        counts = counts[:-1]
    return {"size": [height, width], "counts": counts.tolist()}


def mask_to_rle(mask: np.ndarray, size: tuple[int, int] | None = None, origin: tuple[int, int] = (0, 0)) -> Rle:
    """Compressed COCO run lengths, ready for JSON; arguments as for `mask_to_uncompressed_rle`."""
    return compressed(mask_to_uncompressed_rle(mask, size, origin))


def rle_to_window(rle: Rle, size: tuple[int, int] | None = None) -> tuple[np.ndarray, tuple[int, int]]:
    """The part of a mask that holds all its pixels; memory grows with that part, not with the image.

    rle, size: as for `rle_counts`
    returns: the window (h, w) bool and its origin (x, y) in the image, as for `mask_to_rle`; for an empty mask, an
        array of shape (0, 0) and the origin (0, 0)
    raises: DataError as `rle_counts`
    """
    counts = rle_counts(rle, size)
    height = int(rle["size"][0])
    ends = counts.cumsum()
    starts, ends = ends[:-1:2], ends[1::2]  # of the runs of ones
    starts, ends = starts[ends > starts], ends[ends > starts]
    if not len(starts):
        return np.zeros((0, 0), dtype=bool), (0, 0)
    x0, x1 = int(starts[0] // height), int((ends[-1] - 1) // height) + 1
    low, high = starts % height, (ends - 1) % height
    whole = starts // height != (ends - 1) // height  # continues in the next column, from its top
    y0 = 0 if whole.any() else int(low.min())
    y1 = height if whole.any() else int(high.max()) + 1
    if not whole.any():  # each run within its column, in rows of the window
        starts, ends = ((v // height) * (y1 - y0) + v % height - y0 for v in (starts, ends - 1))
        ends = ends + 1
    offset = x0 * (y1 - y0)
    edges = np.stack([starts, ends], axis=1).ravel() - offset
    runs = np.diff(edges, prepend=0, append=(x1 - x0) * (y1 - y0))
    window = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(x1 - x0, y1 - y0).T
    return window, (x0, y0)


def mask_to_box(masks: np.ndarray) -> np.ndarray:
    """The tight box of each mask: (..., H, W) bool -> (..., 4) int64 XYXY.

    Right and bottom edges are inclusive (indices of the last pixel); an empty mask gives 0, 0, 0, 0.
    """
    height, width = masks.shape[-2:]
    if masks.size == 0:
        return np.zeros((*masks.shape[:-2], 4), dtype=np.int64)
    columns, rows = masks.any(axis=-2), masks.any(axis=-1)
    box = np.stack(
        [
            columns.argmax(-1),
            rows.argmax(-1),
            width - 1 - columns[..., ::-1].argmax(-1),
            height - 1 - rows[..., ::-1].argmax(-1),
        ],
        axis=-1,
    )
    return box * rows.any(-1)[..., None]


def stability_score(logits: np.ndarray, threshold: float, offset: float) -> np.ndarray:
    """IoU between the masks at ``threshold + offset`` and at ``threshold - offset`` (paper, appendix B).

    logits: (..., H, W)
    returns: (...) float64; 0 if both masks are empty (the original divides 0 by 0)
    """
    inner = np.count_nonzero(logits > threshold + offset, axis=(-2, -1))
    outer = np.count_nonzero(logits > threshold - offset, axis=(-2, -1))
    return inner / np.maximum(outer, 1)


def remove_small_regions(mask: np.ndarray, area: float, mode: Literal["holes", "islands"]) -> tuple[np.ndarray, bool]:
    """Fill holes, or remove islands, of fewer than ``area`` pixels (8-connected).

    If all islands are small, the largest stays. The background counts as a hole: if a mask covers all but a few pixels,
    those are filled.
    returns: the mask, and whether anything was changed
    """
    if mode not in ("holes", "islands"):
        raise ValueError(f"unknown mode {mode!r}; expected 'holes' or 'islands'")
    holes = mode == "holes"
    count, labels, stats, _ = cv2.connectedComponentsWithStats((mask ^ holes).astype(np.uint8), connectivity=8)
    sizes = stats[1:, cv2.CC_STAT_AREA]
    small = np.zeros(count, dtype=bool)  # by label; 0 is not searched
    small[1:] = sizes < area
    if not small.any():
        return mask, False
    if not holes and small[1:].all():
        small[1 + sizes.argmax()] = False
    return np.where(small[labels], holes, mask), True


def mask_to_polygons(mask: np.ndarray) -> list[np.ndarray]:
    """The outlines of a mask, along the edges of its pixels.

    Pixel (x, y) is the square from (x, y) to (x + 1, y + 1): a mask of that one pixel gives the corners
    (x, y), (x + 1, y), (x + 1, y + 1), (x, y + 1). Filling all outlines together with the even-odd rule gives
    the mask back exactly. Pixels that touch at a corner share an outline (8-connected).

    mask: (H, W) bool
    returns: for each outline its corners (K, 2) int32, x then y, not repeating the first. Outer outlines run
        clockwise as seen on the screen and holes the other way, so the signed areas sum to the mask's.
    """
    p = np.pad(np.asarray(mask, dtype=bool), 1)
    above_left, above_right, below_left, below_right = p[:-1, :-1], p[:-1, 1:], p[1:, :-1], p[1:, 1:]
    corner = above_left ^ above_right ^ below_left ^ below_right
    crossing = (above_left == below_right) & (above_right == below_left) & (above_left != above_right)
    # Two outlines meet at a crossing, so its vertex is listed twice.
    y, x = np.nonzero(corner | crossing)
    twice = crossing[y, x]
    y, x, falling = (np.repeat(v, 1 + twice) for v in (y, x, twice & above_left[y, x]))

    # Along each row, and along each column, the sorted corners pair up into edges. Of a crossing the first copy
    # takes the edge to the left; where the pixels above left and below right are set, it turns down, else up.
    index = np.arange(len(y))
    second = np.zeros(len(y), dtype=bool)
    second[1:] = (y[1:] == y[:-1]) & (x[1:] == x[:-1])
    by_column = np.lexsort((second ^ falling, y, x))
    across, along = np.empty_like(index), np.empty_like(index)
    across[0::2], across[1::2] = index[1::2], index[0::2]
    along[by_column[0::2]], along[by_column[1::2]] = by_column[1::2], by_column[0::2]

    outlines, seen = [], np.zeros(len(y), dtype=bool)
    across, along = across.tolist(), along.tolist()
    for start in range(len(y)):
        if seen[start]:
            continue
        ring, at = [], start
        while not ring or at != start:
            ring += [at, across[at]]
            at = along[across[at]]
        seen[ring] = True
        hole = not p[y[start] + 1, x[start] + 1]  # the first corner of a ring is its upper left one
        outlines.append(np.stack([x[ring], y[ring]], axis=-1)[:: -1 if hole else 1].astype(np.int32))
    return outlines
