"""Masks as YOLO's segmentation labels: a line ``class x y x y ...`` of one polygon in parts of width and height.

The format knows neither holes nor parts. So all outlines of a mask are joined into one ring by bridges of no
width, at their nearest corners; what the ring encloses is the mask.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from ..ops.masks import mask_to_polygons

TOLERANCE = 0.7
"""How far the simplified outline may leave the mask's, in pixels."""


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
    """All outlines of a mask as one closed ring (K, 2), x then y, in pixels; None for an empty mask."""
    rings = [_simple(ring) for ring in mask_to_polygons(mask)]
    if not rings:
        return None
    rings.sort(key=lambda r: -abs(_area(r)))
    joined = rings.pop(0)
    while rings:
        ring = rings.pop(0)
        gaps = ((joined[:, None] - ring[None]) ** 2).sum(-1)  # (J, R)
        j, r = np.unravel_index(gaps.argmin(), gaps.shape)
        there_and_back = np.concatenate([np.roll(ring, -r, axis=0), ring[r : r + 1], joined[j : j + 1]])
        joined = np.concatenate([joined[: j + 1], there_and_back, joined[j + 1 :]])
    return joined


def _simple(ring: np.ndarray) -> np.ndarray:
    simple = cv2.approxPolyDP(ring.astype(np.int32).reshape(-1, 1, 2), TOLERANCE, True)[:, 0]
    return (simple if len(simple) > 2 else ring).astype(np.float64)


def _area(ring: np.ndarray) -> float:
    x, y = ring[:, 0], ring[:, 1]
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)
