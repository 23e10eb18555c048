"""Checks of one object's prompt, in pixels of the original image. Sizes are (height, width)."""

from typing import Any

import numpy as np

from ..errors import PromptError

LABELS = (-1, 0, 1, 2, 3)
"""-1 not a point, 0 background, 1 object, 2 and 3 the corners of a box."""


FLOAT32_MAX = float(np.finfo(np.float32).max) / 2**16
"""Beyond it a number is infinite to the model, at the latest when an image is enlarged."""


def as_numbers(value: Any) -> np.ndarray | None:
    """A new float64 array of numbers in lists or arrays, or None where they are no numbers or of unequal lengths."""
    try:
        array = np.asarray(value)
        return np.array(array, np.float64) if array.dtype.kind in "biufO" else None
    except (TypeError, ValueError, OverflowError):
        return None


def check_counts(points: np.ndarray, labels: np.ndarray) -> None:
    """PromptError unless there is one label for each point."""
    if len(points) != len(labels):
        raise PromptError(f"{len(points)} points have {len(labels)} labels; give one label for each point")


def check_points(points: np.ndarray, labels: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Labels of points that the model can take: (P, 2) x then y, and (P,) -> (P,) int64.

    Points on the very edge (x equal to the width) count as inside; where "not a point" lies does not matter.
    raises: PromptError when the numbers differ, a label is none of `LABELS`, or a point is NaN or outside
    """
    check_counts(points, labels)
    for label in labels:
        if label not in LABELS:
            raise PromptError(f"label {label:g} is unknown; use 1 for the object and 0 for the background")
    height, width = image_size
    for x, y in points[~(np.abs(points) <= FLOAT32_MAX).all(-1)]:  # NaN lands here
        raise PromptError(f"point ({x:g}, {y:g}) is not a number; give finite pixel coordinates")
    outside = ((points < 0) | (points > (width, height))).any(-1) & (labels != -1)
    for x, y in points[outside]:
        raise PromptError(f"point ({x:g}, {y:g}) is outside the image, which is {width} x {height} pixels")
    return labels.astype(np.int64)


def check_box(box: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """A box cut at the borders of the image: (4,) x0, y0, x1, y1 -> (4,).

    raises: PromptError when it is NaN, reversed, empty or wholly outside
    """
    height, width = image_size
    x0, y0, x1, y1 = box
    text = f"box ({x0:g}, {y0:g}, {x1:g}, {y1:g})"
    if not np.isfinite(box).all():
        raise PromptError(f"{text} is not a number; give finite pixel coordinates x0, y0, x1, y1")
    if x0 >= x1 or y0 >= y1:
        raise PromptError(f"{text} is reversed or empty; it needs x0 < x1 and y0 < y1")
    if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
        raise PromptError(f"{text} is outside the image, which is {width} x {height} pixels")
    return np.clip(box, 0, (width, height, width, height))


def check_mask(mask: np.ndarray, side: int) -> np.ndarray:
    """A mask prompt: (side, side) low-res logits; PromptError when the shape is another or a value is not finite."""
    if mask.shape != (side, side):
        raise PromptError(
            f"a mask prompt must be low-res logits of {side} x {side}, as an earlier prediction returns; "
            f"got {' x '.join(map(str, mask.shape))}"
        )
    if not (np.abs(mask) <= FLOAT32_MAX).all():
        raise PromptError("a mask prompt must be finite logits; it has NaN or infinite values")
    return mask
