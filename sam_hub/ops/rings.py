"""Masks as polygons for other programs: for each part, an outline and its holes, or a single ring.

Corners lie on the edges between pixels, so nothing is lost: filling the polygons by pixel centres, or by pycocotools,
restores the mask. Ring: (K, 2) int32, x then y, the first corner not repeated.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from .masks import mask_to_box, mask_to_polygons

PAIRS = 1 << 20
"""Distances computed at a time."""

Polygon = list[np.ndarray]
"""An outer ring and the rings of its holes."""


def mask_to_parts(mask: np.ndarray) -> list[Polygon]:
    """Each part of a mask whose pixels share edges, as a valid polygon (OGC 06-103r4, 6.1.11.1).

    No ring touches itself, and holes touch the outer ring only at corners. Outer rings have a positive shoelace area
    (clockwise on the screen), holes a negative one. For pixels that touch only at corners, see `mask_to_polygons`.

    mask: (H, W) bool
    returns: one list for each part, in the order of their first pixels, row by row
    """
    if not mask.any():
        return []
    x0, y0, x1, y1 = mask_to_box(mask).tolist()
    window = np.ascontiguousarray(mask[y0 : y1 + 1, x0 : x1 + 1], np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(window, connectivity=4)
    found = []
    for part in range(1, count):
        x, y, w, h = stats[part, : cv2.CC_STAT_AREA].tolist()
        rings = mask_to_polygons(labels[y : y + h, x : x + w] == part)
        rings.sort(key=shoelace, reverse=True)  # the only positive area is the outer ring's
        found.append([ring + np.array([x0 + x, y0 + y], np.int32) for ring in rings])
    return found


def mask_to_closed_rings(mask: np.ndarray) -> list[np.ndarray]:
    """Each part of a mask as one ring, for formats without holes: a zero-width cut joins a hole to its outline.

    Filling the rings by pycocotools (`polygons_to_rle`), or by the even-odd rule, restores the mask bit for bit.
    """
    return [join_rings(polygon) for polygon in mask_to_parts(mask)]


def join_rings(rings: Sequence[np.ndarray]) -> np.ndarray:
    """Join all rings to the first, each by a cut there and back between the nearest corners."""
    joined = rings[0]
    for ring in rings[1:]:
        joined = join_ring(joined, ring)
    return joined


def join_ring(joined: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """Join a ring (L, 2) to another (K, 2): (K + L + 2, 2)."""
    j, r = nearest_corners(joined, ring)
    there_and_back = np.concatenate([np.roll(ring, -r, axis=0), ring[r : r + 1], joined[j : j + 1]])
    return np.concatenate([joined[: j + 1], there_and_back, joined[j + 1 :]])


def nearest_corners(a: np.ndarray, b: np.ndarray) -> tuple[int, int]:
    """Indices of the closest pair of corners, one from each ring; computed in blocks that fit in memory."""
    best, found = np.inf, (0, 0)
    step = max(1, PAIRS // len(b))
    for start in range(0, len(a), step):
        gaps = ((a[start : start + step, None] - b[None]) ** 2).sum(-1)  # (rows, B)
        i, j = np.unravel_index(gaps.argmin(), gaps.shape)
        if gaps[i, j] < best:
            best, found = gaps[i, j], (start + int(i), int(j))
    return found


def shoelace(ring: np.ndarray) -> float:
    """The signed area of a ring (K, 2), in pixels; positive clockwise on the screen."""
    x, y = ring.astype(np.float64).T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)
