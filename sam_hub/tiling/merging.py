"""Merges masks of tiles into masks of the whole image.

An object on a seam is found in both tiles, cut off at each tile's border. Both tiles see the same pixels in the strip
that they share, so the two masks agree there. Masks whose parts agree are joined, across any number of tiles.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ..rasters.raster import Window
from .grid import Grid, shared
from .pieces import Piece, common, strips, united

SEAM_IOU = 0.5
"""Minimum IoU of two masks' parts in a shared strip to count as the same object."""

INSIDE = 0.8
"""A mask cut off by its tile is a fragment if at least this share of it lies in a mask of another tile."""

SAME = 0.7
"""If two masks of different tiles have a higher IoU, the one with the lower predicted IoU is removed."""


@dataclass(frozen=True)
class Part:
    """A connected component of a piece in a shared strip.

    owner: index of the piece; box: in the strip; mask: (h, w) bool of the box
    """

    owner: int
    box: Window
    mask: np.ndarray


def merge(pieces: Sequence[Piece], grid: Grid, seam_iou: float = SEAM_IOU) -> list[Piece]:
    """Join the pieces of each object, and drop fragments and duplicates of objects that another tile shows completely.

    pieces: of all tiles of the grid, with their ``tile``
    returns: one piece for each object, in the order of their first pieces
    """
    groups = join(pieces, grid, seam_iou)
    found = [(_one([pieces[i] for i in group], grid), {pieces[i].tile for i in group}) for group in groups]
    return [piece for piece, _ in _without_fragments(found, grid)]


def _one(pieces: Sequence[Piece], grid: Grid) -> Piece:
    """An object's pieces as one: the best of those that their tiles show completely, or else all of them together.

    A piece that is much smaller than all of them together is a part of the object and does not count as complete.
    """
    together = united(pieces)
    if len(pieces) == 1:
        return together
    complete = [
        p for p in pieces if p.area >= SAME * together.area and not touches_seam(p.box, grid.windows[p.tile], grid.size)
    ]
    return max(complete, key=lambda p: p.facts.get("predicted_iou", 0), default=together)


def join(pieces: Sequence[Piece], grid: Grid, seam_iou: float = SEAM_IOU) -> list[list[int]]:
    """Group the pieces of each object: sorted indices into ``pieces``, groups sorted by their first index."""
    windows, by_tile = grid.windows, defaultdict(list)
    for i, piece in enumerate(pieces):
        by_tile[piece.tile].append(i)
    root = list(range(len(pieces)))

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    for a, b in grid.neighbours:
        strip = shared(windows[a], windows[b])
        for i, j in agreeing(_parts(pieces, by_tile[a], strip), _parts(pieces, by_tile[b], strip), seam_iou):
            first, second = sorted((find(i), find(j)))
            root[second] = first
    groups: dict[int, list[int]] = {}
    for i in range(len(pieces)):
        groups.setdefault(find(i), []).append(i)
    return list(groups.values())


def agreeing(ones: Sequence[Part], others: Sequence[Part], least: float) -> Iterator[tuple[int, int]]:
    """Pairs of owners of agreeing parts, matched greedily by IoU, each part at most once."""
    pairs = []
    boxes = np.array([part.box for part in others]).reshape(-1, 4)
    for i, part in enumerate(ones):
        x0, y0, x1, y1 = part.box
        near = (boxes[:, 0] < x1) & (boxes[:, 2] > x0) & (boxes[:, 1] < y1) & (boxes[:, 3] > y0)
        for j in np.flatnonzero(near):
            if (iou := _iou(part, others[j])) >= least:
                pairs.append((iou, i, int(j)))
    used_ones, used_others = set(), set()
    for _, i, j in sorted(pairs, key=lambda pair: (-pair[0], pair[1:])):
        if i not in used_ones and j not in used_others:
            used_ones.add(i)
            used_others.add(j)
            yield ones[i].owner, others[j].owner


def _parts(pieces: Sequence[Piece], chosen: Iterable[int], strip: Window) -> list[Part]:
    found = []
    for i in chosen:
        x0, y0, x1, y1 = shared(pieces[i].box, strip)
        if x0 >= x1 or y0 >= y1:
            continue
        cut = pieces[i].within((x0, y0, x1, y1))
        count, labels, stats, _ = cv2.connectedComponentsWithStats(cut.astype(np.uint8), connectivity=8)
        for k in range(1, count):
            x, y, w, h = stats[k, : cv2.CC_STAT_AREA].tolist()
            found.append(Part(i, (x0 + x, y0 + y, x0 + x + w, y0 + y + h), labels[y : y + h, x : x + w] == k))
    return found


def _iou(a: Part, b: Part) -> float:
    both = _both(a.box, a.mask, b.box, b.mask)
    return both / (np.count_nonzero(a.mask) + np.count_nonzero(b.mask) - both)


def _both(box_a: Window, a: np.ndarray, box_b: Window, b: np.ndarray) -> int:
    """Number of common pixels of two masks, each given with its box in the image."""
    x0, y0, x1, y1 = shared(box_a, box_b)
    if x0 >= x1 or y0 >= y1:
        return 0
    ours = a[y0 - box_a[1] : y1 - box_a[1], x0 - box_a[0] : x1 - box_a[0]]
    theirs = b[y0 - box_b[1] : y1 - box_b[1], x0 - box_b[0] : x1 - box_b[0]]
    return int(np.count_nonzero(ours & theirs))


# ---------------------------------------------------------------- fragments and duplicates


def _without_fragments(found: list[tuple[Piece, set[int]]], grid: Grid) -> list[tuple[Piece, set[int]]]:
    """found: pieces, each with the tiles that it was joined from"""
    windows = grid.windows
    cells = Cells([piece.box for piece, _ in found], grid.tile)
    dropped: set[int] = set()
    worst_first = sorted(range(len(found)), key=lambda i: (found[i][0].facts.get("predicted_iou", 0), found[i][0].area))
    for i in worst_first:
        piece, tiles = found[i]
        cut = len(tiles) == 1 and any(touches_seam(piece.box, windows[t], grid.size) for t in tiles)
        for j in cells.near(i):
            other, theirs = found[j]
            if j in dropped or (tiles == theirs and len(tiles) == 1):  # a tile has no duplicates of its own
                continue
            if not cut and min(piece.area, other.area) <= SAME * max(piece.area, other.area):
                continue  # upper bound of their common pixels
            both = common(piece, other)
            is_fragment = cut and other.area >= piece.area and both >= INSIDE * piece.area
            if is_fragment or both > SAME * (piece.area + other.area - both):
                dropped.add(i)
                break
    return [pair for i, pair in enumerate(found) if i not in dropped]


def touches_seam(box: Window, window: Window, size: tuple[int, int]) -> bool:
    """Whether a box touches a tile border that is not an image border."""
    x0, y0, x1, y1 = window
    left, top, right, bottom = box
    return (
        (left <= x0 and x0 > 0)
        or (top <= y0 and y0 > 0)
        or (right >= x1 and x1 < size[1])
        or (bottom >= y1 and y1 < size[0])
    )


def _common_area(a: Window, b: Window) -> int:
    x0, y0, x1, y1 = shared(a, b)
    return max(0, x1 - x0) * max(0, y1 - y0)


class Cells:
    """Boxes indexed by the cells of a coarse grid, to find neighbours without testing all boxes."""

    def __init__(self, boxes: Sequence[Window], side: int) -> None:
        self._boxes, self._side = boxes, side
        self._in = defaultdict(list)
        for i, box in enumerate(boxes):
            for cell in self._of(box):
                self._in[cell].append(i)

    def _of(self, box: Window) -> Iterator[tuple[int, int]]:
        x0, y0, x1, y1 = box
        for y in range(y0 // self._side, (y1 - 1) // self._side + 1):
            for x in range(x0 // self._side, (x1 - 1) // self._side + 1):
                yield x, y

    def near(self, i: int) -> list[int]:
        """Sorted indices of boxes that intersect box i, without i."""
        found = {j for cell in self._of(self._boxes[i]) for j in self._in[cell]}
        return sorted(j for j in found if j != i and _common_area(self._boxes[i], self._boxes[j]))


def separate(pieces: Sequence[Piece], grid: Grid) -> list[Piece]:
    """Assign each pixel to the smallest piece that contains it; pieces that become empty are dropped."""
    cells = Cells([piece.box for piece in pieces], grid.tile)
    left = []
    for i, piece in enumerate(pieces):
        smaller = [pieces[j] for j in cells.near(i) if (pieces[j].area, j) < (piece.area, i)]
        parts = []
        for x0, y0, x1, y1 in strips(piece.box):
            mask = piece.within((x0, y0, x1, y1))
            for other in smaller:
                mask &= ~other.within((x0, y0, x1, y1))
            if mask.any():
                parts.append(Piece.of(mask, (x0, y0), piece.tile, piece.facts))
        if parts:
            left.append(united(parts))
    return left
