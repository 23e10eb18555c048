"""Masks as YOLO's segmentation labels: a line ``class x y x y ...`` of one polygon in parts of width and height.

The format knows neither holes nor parts. So all outlines of a mask are joined into one ring by bridges of no
width, at their nearest corners; what the ring encloses is the mask.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from ..ops.masks import mask_to_box, mask_to_polygons

TOLERANCE = 0.7
"""How far the simplified outline may leave the mask's, in pixels."""
CORNERS = 10_000
"""Of a ring that other rings are joined to: finding the nearest corners takes the square of it."""
PAIRS = 1 << 20
"""Distances that are computed at a time."""


def label_line(mask: np.ndarray, label: int) -> str:
    """One line about a mask (H, W) bool; empty where the mask is."""
    ring = single_ring(mask)
    if ring is None:
        return ""
    height, width = mask.shape
    numbers = (ring / [width, height]).clip(0, 1).ravel()
    return f"{label} " + " ".join(f"{v:.6f}".rstrip("0").rstrip(".") for v in numbers)


def data_yaml(names: Sequence[str]) -> str:
    """The description of the data set that YOLO's tools ask for."""
    lines = [f"  {i}: {quoted(name)}" for i, name in enumerate(names)]
    return "\n".join(["path: .", "train: images", "val: images", "names:", *lines, ""])


def quoted(text: str) -> str:
    """A text in YAML's double quotes."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def single_ring(mask: np.ndarray) -> np.ndarray | None:
    """All outlines of a mask as one closed ring (K, 2), x then y, in pixels; None for an empty mask.

    Of a mask with more than `CORNERS` the smallest islands and holes are left out.
    """
    if not mask.any():
        return None
    x0, y0, x1, y1 = mask_to_box(mask).tolist()
    rings = [_simple(ring) for ring in mask_to_polygons(mask[y0 : y1 + 1, x0 : x1 + 1])]
    rings.sort(key=lambda r: -abs(_area(r)))
    joined = rings[0]
    for ring in rings[1:]:
        if len(joined) + len(ring) + 2 > CORNERS:
            break
        j, r = _nearest(joined, ring)
        there_and_back = np.concatenate([np.roll(ring, -r, axis=0), ring[r : r + 1], joined[j : j + 1]])
        joined = np.concatenate([joined[: j + 1], there_and_back, joined[j + 1 :]])
    return joined + np.array([x0, y0])


def _nearest(a: np.ndarray, b: np.ndarray) -> tuple[int, int]:
    """Indices of the two corners, one of each ring, that lie nearest to each other; in rows that fit in memory."""
    best, found = np.inf, (0, 0)
    step = max(1, PAIRS // len(b))
    for start in range(0, len(a), step):
        gaps = ((a[start : start + step, None] - b[None]) ** 2).sum(-1)  # (rows, B)
        i, j = np.unravel_index(gaps.argmin(), gaps.shape)
        if gaps[i, j] < best:
            best, found = gaps[i, j], (start + int(i), int(j))
    return found


def _simple(ring: np.ndarray) -> np.ndarray:
    simple = cv2.approxPolyDP(ring.astype(np.int32).reshape(-1, 1, 2), TOLERANCE, True)[:, 0]
    return (simple if len(simple) > 2 else ring).astype(np.float64)


def _area(ring: np.ndarray) -> float:
    x, y = ring[:, 0], ring[:, 1]
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)
