"""Polygons -> run lengths: checked, clipped near the image, then filled as COCO does (pycocotools)."""

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_mask

from ..errors import DataError
from .run_lengths import Rle

FARTHEST = 1e9
"""A larger coordinate is a mistake, not a corner outside the image."""

LONGEST = 1_000_000
"""The most outline pixels of one object, as filling takes memory for each."""

MERGED = 16
"""Masks merged at a time, so that merging thousands of parts takes n log n and not n squared."""


def polygons_to_rle(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> Rle:
    """The union of polygons as compressed run lengths.

    polygons: each x0, y0, x1, y1, ... in pixels; those with fewer than three corners have no area and are skipped
    size: (H, W) of the image; parts outside are cut off
    raises: DataError if none has three corners, or one is not a list of finite numbers, far outside, or too long
    """
    height, width = size
    rings = [ring for ring in map(_corners, polygons) if len(ring) >= 3]
    if not rings:
        raise DataError("none of its polygons has three corners, so they have no area")
    near = [cut for ring in rings if len(cut := _cut(ring, width, height)) >= 3]
    length = sum(np.abs(ring - np.roll(ring, 1, axis=0)).max(axis=1).sum() for ring in near)
    if length > LONGEST:
        raise DataError(f"its outlines are {length:,.0f} pixels long; at most {LONGEST:,} are filled")
    if not near:
        near = [np.zeros((3, 2))]
    return union(coco_mask.frPyObjects([ring.ravel().tolist() for ring in near], height, width))


def union(rles: Sequence[Rle]) -> Rle:
    """Union of one or more masks in checked run lengths, all of one size."""
    rles = list(rles)
    while len(rles) > 1:
        rles = [coco_mask.merge(rles[i : i + MERGED]) for i in range(0, len(rles), MERGED)]
    counts = rles[0]["counts"]
    return {"size": list(rles[0]["size"]), "counts": counts.decode() if isinstance(counts, bytes) else counts}


def _corners(polygon: Sequence[float]) -> np.ndarray:
    """(K, 2) float64, x then y."""
    if not isinstance(polygon, list | tuple | np.ndarray) or len(polygon) % 2:
        raise DataError("a polygon is not a list of numbers x, y, x, y, ...")
    numbers = polygon.tolist() if isinstance(polygon, np.ndarray) else polygon
    if not set(map(type, numbers)) <= {int, float}:
        raise DataError("a polygon is not a list of numbers x, y, x, y, ...")
    try:
        ring = np.array(numbers, np.float64).reshape(-1, 2)
    except OverflowError as e:
        raise DataError("a corner of a polygon is far outside the image") from e
    if not np.isfinite(ring).all():
        raise DataError("a corner of a polygon is not finite")
    if (np.abs(ring) > FARTHEST).any():
        raise DataError("a corner of a polygon is far outside the image")
    return ring


def _cut(ring: np.ndarray, width: int, height: int) -> np.ndarray:
    """A ring (K, 2) clipped to one image width and height around the image (Sutherland and Hodgman)."""
    for axis, side in ((0, width), (1, height)):
        for bound, sign in ((-side, -1), (2 * side, 1)):
            ring = _cut_at(ring, axis, bound, sign)
    return ring


def _cut_at(ring: np.ndarray, axis: int, bound: float, sign: int) -> np.ndarray:
    """Cut off the part where ``sign * coordinate > sign * bound``."""
    inside = sign * ring[:, axis] <= sign * bound
    if inside.all():
        return ring
    before, inside_before = np.roll(ring, 1, axis=0), np.roll(inside, 1)
    crosses = inside != inside_before
    way = np.where(crosses, ring[:, axis] - before[:, axis], 1)
    met = before + ((bound - before[:, axis]) / way)[:, None] * (ring - before)
    corners = np.stack([met, ring], axis=1).reshape(-1, 2)  # the crossing of the edge to a corner, then the corner
    return corners[np.stack([crosses, inside], axis=1).ravel()]
