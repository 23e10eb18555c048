"""Checks of one object's prompt, in pixels of the original image. Sizes are (height, width)."""

from collections.abc import Collection
from typing import Any

import numpy as np

from ..errors import PromptError
from .geometry import scale_boxes, scale_points

LABELS = (-1, 0, 1, 2, 3)
"""-1 not a point, 0 background, 1 object, 2 and 3 the corners of a box."""

PAD_LABEL = -10
"""Label of a padding point, which is masked out of every attention and so changes nothing."""

FLOAT32_MAX = float(np.finfo(np.float32).max) / 2**16
"""Larger numbers overflow in the model, at the latest when coordinates are scaled up."""


def as_numbers(value: Any) -> np.ndarray | None:
    """Numbers in lists or arrays as a new float64 array; None if they are not numbers or lengths differ."""
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
    """Check points, (P, 2) x then y, and their labels, (P,) -> (P,) int64.

    Points on the edge (x equal to the width) count as inside; the position of "not a point" is not checked.
    raises: PromptError if the numbers differ, a label is not in `LABELS`, or a point is NaN or outside
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
    """Clip a box to the image: (4,) x0, y0, x1, y1 -> (4,).

    raises: PromptError if it is NaN, reversed, empty or entirely outside
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
    """Check a mask prompt: (side, side) low-res logits; PromptError if the shape differs or a value is not finite."""
    if mask.shape != (side, side):
        raise PromptError(
            f"a mask prompt must be low-res logits of {side} x {side}, as an earlier prediction returns; "
            f"got {' x '.join(map(str, mask.shape))}"
        )
    if not (np.abs(mask) <= FLOAT32_MAX).all():
        raise PromptError("a mask prompt must be finite logits; it has NaN or infinite values")
    return mask


Prompt = tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None, np.ndarray | None]


def read_prompt(
    coords: Any,
    labels: Any,
    box: Any,
    mask: Any,
    image_size: tuple[int, int],
    input_size: tuple[int, int],
    side: int | None,
) -> Prompt:
    """One object's prompt, as `SamPredictor.predict` takes it, checked and in the frame of the resized image.

    coords: (P, 2), labels: (P,), box: (4,), in pixels of the image; mask: (1, h, w) low-res logits; each may be None
    image_size, input_size: (height, width) of the image and of the resized image
    side: of low-res masks; needed only with a mask
    returns: points (1, P, 2) float32, labels (1, P) int64, box (1, 4) float32, mask (1, 1, h, w) float32, or None each
    raises: PromptError
    """
    points = kinds = boxes = masks = None
    if coords is not None:
        if labels is None:
            raise PromptError("point_labels are missing; give 1 (object) or 0 (background) for each point")
        xy = as_floats(coords, "point_coords", (2,))
        if xy.shape[1] != 2:
            raise PromptError(f"point_coords must be (P, 2), x then y; got {xy.shape}")
        kinds = check_points(xy, as_floats(labels, "point_labels", (1,)), image_size)[None]
        points = scale_points(xy, image_size, input_size)[None]
    elif labels is not None:
        raise PromptError("point_labels were given without point_coords; give the points that they belong to")
    if box is not None:
        corners = as_floats(box, "box", (1, 2))
        if corners.size != 4:
            raise PromptError(f"box must be one box, (4,); got {corners.shape} (predict_torch takes several)")
        boxes = scale_boxes(check_box(corners.reshape(4), image_size), image_size, input_size)[None]
    if mask is not None:
        array = as_floats(mask, "mask_input", (2, 3))
        if array.ndim == 3 and len(array) != 1:
            raise PromptError(f"mask_input must be one mask, (1, h, w); got {array.shape}")
        masks = check_mask(array.reshape(array.shape[-2:]), side)[None, None].astype(np.float32)
    return points, kinds, boxes, masks


def as_floats(value: Any, name: str, dimensions: tuple[int, ...]) -> np.ndarray:
    """Numbers, in lists, arrays or tensors, as float64; PromptError for anything else, named ``name``."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().double().numpy()
    array = as_numbers(value)
    if array is None:
        raise PromptError(f"{name} must be an array of numbers")
    if array.size == 0:
        raise PromptError(f"{name} must have at least one entry; omit it if there is none")
    if array.ndim not in dimensions:
        raise PromptError(f"{name} must have {' or '.join(map(str, dimensions))} dimensions; got {array.shape}")
    return array


def refuse_prompts(kinds: Collection[str], points: Any, labels: Any, boxes: Any, masks: Any) -> None:
    """Refuse prompts that a model was not trained on; arrays or tensors, None if not given.

    kinds: ``prompt_kinds`` of the model's configuration
    raises: PromptError
    """
    given = {"points": points, "boxes": boxes, "masks": masks}
    refused = [kind for kind, prompt in given.items() if prompt is not None and kind not in kinds]
    # Reading a tensor's labels synchronises with its device, so do it only if needed.
    if labels is not None and foreground_only(kinds) and bool((labels == 0).any()):
        refused.append("background points")
    if refused:
        raise PromptError(refusal(kinds, refused))


def foreground_only(kinds: Collection[str]) -> bool:
    """Whether a model takes points, but none on the background."""
    return "points" in kinds and "background points" not in kinds


def refusal(kinds: Collection[str], refused: Collection[str]) -> str:
    """Error message of a model that accepts ``kinds`` for other prompts."""
    return (
        f"this model does not understand {' and '.join(refused)}, only {' and '.join(kinds)}; "
        "omit them or choose another model (`sam-hub zoo`)"
    )
