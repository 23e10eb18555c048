"""Masks and prompts drawn over a photo, with smooth edges at any size.

Every shape is a field of signed distances to its edge (pixels, negative inside). Clipping the distance gives the
coverage of a pixel, so lines of any width are antialiased without supersampling. Line widths grow with the image, so
that a thumbnail and a 12-megapixel photo look alike.
"""

import math
from collections.abc import Iterable

import cv2
import numpy as np

from .masks import mask_to_box

PALETTE = (
    (46, 144, 255),
    (255, 122, 48),
    (22, 190, 130),
    (236, 72, 153),
    (150, 100, 255),
    (250, 190, 20),
    (10, 190, 215),
    (240, 70, 70),
    (140, 200, 40),
    (190, 130, 80),
)
"""RGB colours of objects 1, 2, ..., repeated after the last."""

WHITE, SHADE, GREEN, RED = (255, 255, 255), (20, 24, 32), (24, 170, 84), (225, 50, 56)


def draw_masks(image: np.ndarray, masks: Iterable[np.ndarray], opacity: float = 0.42) -> np.ndarray:
    """Tint each mask in its own colour and draw its outline.

    image: (H, W, 3) uint8 RGB; masks: each (H, W) bool, later ones on top
    returns: a new image
    """
    canvas = image.copy()
    unit = _unit(image)
    for i, mask in enumerate(masks):
        if not mask.any():
            continue
        margin = math.ceil(4 * unit) + 2
        x0, y0, x1, y1 = (int(v) for v in mask_to_box(mask))
        window = np.s_[max(0, y0 - margin) : y1 + 1 + margin, max(0, x0 - margin) : x1 + 1 + margin]
        distance = _mask_distance(mask[window])
        color = PALETTE[i % len(PALETTE)]
        _paint(canvas[window], color, opacity * _cover(distance))
        _paint(canvas[window], SHADE, 0.35 * _cover(np.abs(distance) - 1.6 * unit))
        _paint(canvas[window], _lighter(color), _cover(np.abs(distance) - 0.75 * unit))
    return canvas


def draw_prompts(
    image: np.ndarray, points: np.ndarray, labels: np.ndarray, boxes: np.ndarray | None = None
) -> np.ndarray:
    """Mark clicks (a green plus on the object, a red minus on the background) and boxes.

    image: (H, W, 3) uint8 RGB
    points: (P, 2), x then y; labels: (P,), 1 object, 0 background; boxes: (N, 4) x0, y0, x1, y1; in pixels
    returns: a new image
    """
    canvas = image.copy()
    unit = _unit(image)
    for i, (x0, y0, x1, y1) in enumerate(() if boxes is None else boxes):
        for strip in _frame(x0, y0, x1, y1, 3 * unit + 2):
            x, y, window = _window(canvas, *strip)
            edge = np.abs(_rectangle(x - (x0 + x1) / 2, y - (y0 + y1) / 2, (x1 - x0) / 2, (y1 - y0) / 2))
            _paint(window, SHADE, 0.45 * _cover(edge - 1.6 * unit))
            _paint(window, _lighter(PALETTE[i % len(PALETTE)], 0.6), _cover(edge - 0.75 * unit))
    for (px, py), label in zip(np.asarray(points) + 0.5, labels, strict=True):  # at the pixel's centre
        reach = 9 * unit + 2
        x, y, window = _window(canvas, px - reach, py - reach, px + reach, py + reach)
        x, y = x - px, y - py
        disc = np.hypot(x, y)
        _paint(window, SHADE, 0.35 * _cover(disc - 8.2 * unit))
        _paint(window, WHITE, _cover(disc - 7.4 * unit))
        _paint(window, GREEN if label else RED, _cover(disc - 6 * unit))
        sign = _rectangle(x, y, 3.6 * unit, 0.95 * unit)
        if label:
            sign = np.minimum(sign, _rectangle(x, y, 0.95 * unit, 3.6 * unit))
        _paint(window, WHITE, _cover(sign))
    return canvas


def soft_mask(mask: np.ndarray) -> np.ndarray:
    """(H, W) bool -> (H, W) float32 in [0, 1]: the same mask with a smooth edge, 0.5 at the outline."""
    return _cover(_mask_distance(mask))


def _unit(image: np.ndarray) -> float:
    """The unit of line widths, in pixels: a 600 x 800 photo has lines of about 2 pixels."""
    return max(0.8, math.sqrt(image.shape[0] * image.shape[1]) / 520)


def _window(
    canvas: np.ndarray, x0: float, y0: float, x1: float, y1: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The part of the canvas under a box, and its pixel centres: (1, w), (h, 1), a view (h, w, 3)."""
    left, top = max(0, math.floor(x0)), max(0, math.floor(y0))
    view = canvas[top : max(0, math.ceil(y1)), left : max(0, math.ceil(x1))]
    return np.arange(view.shape[1])[None] + left + 0.5, np.arange(view.shape[0])[:, None] + top + 0.5, view


def _frame(x0: float, y0: float, x1: float, y1: float, margin: float) -> list[tuple[int, int, int, int]]:
    """The pixels within ``margin`` of a box's edges, as four boxes that do not overlap."""
    left, top, right, bottom = (math.floor(v) for v in (x0 - margin, y0 - margin, x1 + margin + 1, y1 + margin + 1))
    x, y = (left + right) // 2, (top + bottom) // 2
    inner_left, inner_right = min(math.ceil(x0 + margin), x), max(math.floor(x1 - margin), x)
    inner_top, inner_bottom = min(math.ceil(y0 + margin), y), max(math.floor(y1 - margin), y)
    return [
        (left, top, right, inner_top),
        (left, inner_top, inner_left, inner_bottom),
        (inner_right, inner_top, right, inner_bottom),
        (left, inner_bottom, right, bottom),
    ]


def _mask_distance(mask: np.ndarray) -> np.ndarray:
    """(h, w) bool -> (h, w) float32 signed distance to the outline, smoothed."""
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    return cv2.GaussianBlur(np.where(mask, 0.5 - inside, outside - 0.5), (0, 0), 1.0)


def _rectangle(x: np.ndarray, y: np.ndarray, half_width: float, half_height: float) -> np.ndarray:
    """Signed distance to a rectangle about the origin."""
    dx, dy = np.abs(x) - half_width, np.abs(y) - half_height
    return np.hypot(dx.clip(0), dy.clip(0)) + np.maximum(dx, dy).clip(max=0)


def _cover(distance: np.ndarray) -> np.ndarray:
    """Share of a pixel that a shape covers, from the distance of the pixel's centre."""
    return np.clip(0.5 - distance, 0, 1)


def _lighter(color: tuple[int, int, int], by: float = 0.35) -> tuple[int, ...]:
    return tuple(round(c + (255 - c) * by) for c in color)


def _paint(view: np.ndarray, color: tuple[int, ...], alpha: np.ndarray) -> None:
    """Blend a colour into a part of the canvas, in place: view (h, w, 3) uint8, alpha (h, w) in [0, 1]."""
    there = alpha > 0
    below = view[there].astype(np.float32)
    view[there] = np.rint(below + (np.asarray(color, np.float32) - below) * alpha[there][:, None])
