"""Coordinate frames: the original image and the resized image, whose long side is the network's input size.

Points are x, y and boxes x0, y0, x1, y1; sizes are (height, width), as in the original and in ``transformers``.
"""

import numpy as np


def resized_size(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """Size with ``longest`` as the long side and the same aspect ratio.

    size, returns: (height, width) in pixels. Rounds as the original does (``ResizeLongestSide``: int(x + 0.5)), but to
    at least one pixel, so that very thin images work.
    """
    height, width = size
    scale = longest * 1.0 / max(height, width)
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def scale_points(points: np.ndarray, original_size: tuple[int, int], resized_size: tuple[int, int]) -> np.ndarray:
    """Points of the original image in the frame of the resized one: (..., 2), x then y -> (..., 2) float32.

    Computed in float64, as in the original; for boxes use `scale_boxes`.
    """
    (old_h, old_w), (new_h, new_w) = original_size, resized_size
    return (np.asarray(points, np.float64) * (new_w / old_w, new_h / old_h)).astype(np.float32)


def scale_boxes(boxes: np.ndarray, original_size: tuple[int, int], resized_size: tuple[int, int]) -> np.ndarray:
    """Boxes of the original image in the frame of the resized one: (..., 4) x0, y0, x1, y1 -> (..., 4) float32."""
    boxes = np.asarray(boxes, np.float64)
    corners = boxes.reshape(*boxes.shape[:-1], 2, 2)
    return scale_points(corners, original_size, resized_size).reshape(boxes.shape)
