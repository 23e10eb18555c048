"""Prompts in any nesting -> padded arrays for a batch of images.

The full nesting is ``[image][object][point][x, y]`` for points, ``[image][object][point]`` for labels,
``[image][object][x0, y0, x1, y1]`` for boxes and ``[image][object][row][column]`` for masks. Levels may be omitted if
only one reading is possible:

- one image: any levels from the left (``[x, y]``, ``[[x, y], [x, y]]`` for two points on one object, ...);
- several images: the object level of points, labels and masks, which then mean one object in each image, as in
  ``transformers``.

Each level may have its own length, and None stands for an object (or an image) without points or without a box. No
object at all, as from a detector that found none, is ``[[]]`` or an array (1, 0, 4), and gives arrays with N = 0.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ..errors import PromptError
from ..ops.geometry import scale_boxes, scale_points
from ..ops.prompts import as_numbers, check_box, check_counts, check_mask, check_points
from ..ops.wording import counted
from .configuration_sam import PAD_COORDINATE, PAD_LABEL

Size = tuple[int, int]

NESTING = {
    "input_points": "[image][object][point][x, y]",
    "input_labels": "[image][object][point]",
    "input_boxes": "[image][object][x0, y0, x1, y1]",
    "input_masks": "[image][object][row][column]",
}
LEAF_LEVELS = {"input_points": 2, "input_labels": 1, "input_boxes": 1, "input_masks": 2}
"""Nesting levels of one object's value."""

FEWEST_LEVELS = {"input_points": 1, "input_labels": 0, "input_boxes": 1, "input_masks": 2}
"""Nesting levels of the shortest form: one point, one label, one box, one mask."""


def batch_prompts(
    prompts: dict[str, Any], original_sizes: Sequence[Size], frame_sizes: Sequence[Size], mask_side: int
) -> dict[str, np.ndarray]:
    """Check, scale and pad the prompts of B images.

    prompts: some of the keys of `NESTING`, in pixels of the original images; a value may be None
    original_sizes, frame_sizes: (height, width) of each image and of the model's coordinate frame for it
    mask_side: side of a low-res mask
    returns: the given keys, and labels for points; N and P are the largest numbers in the batch: input_points
        (B, N, P, 2) float32, input_labels (B, N, P) int64, input_boxes (B, N, 4) float32, input_masks
        (B, N, mask_side, mask_side) float32. Padding has label -10 and coordinates -10.
    raises: PromptError
    """
    given = {name: _nested(name, value, len(original_sizes)) for name, value in prompts.items() if value is not None}
    if "input_labels" in given and "input_points" not in given:
        raise PromptError("input_labels were given without input_points; give the points that they belong to")
    if not given:
        return {}
    objects = [_objects_of(image, given, size, mask_side) for image, size in enumerate(original_sizes)]
    most = max(map(len, objects))
    if most == 0 and any(_levels(_plain(name, prompts[name])) < 2 for name in given):
        raise PromptError(f"{' and '.join(given)} hold no prompt; give at least one, or omit the argument")
    if set(given) == {"input_masks"} and any(len(found) != most for found in objects):
        raise PromptError(
            "without points or boxes, each image needs the same number of masks; "
            "add points or boxes, which can be padded"
        )

    b, n = len(objects), most
    places = [(i, j, found) for i, image in enumerate(objects) for j, found in enumerate(image)]
    batch: dict[str, np.ndarray] = {}
    if "input_points" in given:
        p = max([1, *(len(found["labels"]) for *_, found in places)])
        batch["input_points"] = np.full((b, n, p, 2), PAD_COORDINATE, np.float32)
        batch["input_labels"] = np.full((b, n, p), PAD_LABEL, np.int64)
        for i, j, found in places:
            points, labels = found["points"], found["labels"]
            scaled = scale_points(points, original_sizes[i], frame_sizes[i])
            batch["input_points"][i, j, : len(labels)] = np.where(labels[:, None] == PAD_LABEL, points, scaled)
            batch["input_labels"][i, j, : len(labels)] = labels
    if "input_boxes" in given:
        batch["input_boxes"] = np.full((b, n, 4), PAD_COORDINATE, np.float32)
        for i, j, found in places:
            if found["box"] is not None:
                batch["input_boxes"][i, j] = scale_boxes(found["box"], original_sizes[i], frame_sizes[i])
    if "input_masks" in given:
        batch["input_masks"] = np.zeros((b, n, mask_side, mask_side), np.float32)
        for i, j, found in places:
            batch["input_masks"][i, j] = found["mask"]
    return batch


def _objects_of(image: int, given: dict[str, list[list]], size: Size, mask_side: int) -> list[dict[str, Any]]:
    """The checked prompts of each object of one image: points, labels, box, mask, unscaled."""
    counts = {name: len(nested[image]) for name, nested in given.items() if nested[image]}
    if "input_masks" in counts and counts["input_masks"] == 1 and len(counts) > 1:
        del counts["input_masks"]  # one mask for all objects
    if len(set(counts.values())) > 1:
        each = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise PromptError(
            f"image {image} has prompts for different numbers of objects ({each}); give None for an object without one"
        )
    found = []
    for index in range(max(counts.values(), default=0)):
        leaf = {name: _pick(nested[image], index, name == "input_masks") for name, nested in given.items()}
        try:
            points, labels = _points(leaf.get("input_points"), leaf.get("input_labels"), size)
            box = _box(leaf.get("input_boxes"), size)
            mask = None
            if "input_masks" in given:
                if _is_blank(leaf["input_masks"]):
                    raise PromptError("if one object has a mask prompt, every object needs one")
                mask = check_mask(_numbers(leaf["input_masks"], 2, "a mask prompt", "rows of numbers"), mask_side)
            if mask is None and not len(labels) and _is_blank(leaf.get("input_boxes")):
                raise PromptError("an object has neither a point nor a box; give one of them")
        except PromptError as e:
            raise PromptError(f"{e} (image {image}, object {index})") from None
        found.append({"points": points, "labels": labels, "box": box, "mask": mask})
    return found


def _pick(leaves: list, index: int, shared: bool) -> Any:
    """The value of one object; a single one serves all objects."""
    if shared and len(leaves) == 1:
        return leaves[0]
    return leaves[index] if index < len(leaves) else None


def _points(points: Any, labels: Any, size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Points (P, 2) float64 and labels (P,) int64 of one object; P is 0 if it has none."""
    xy = np.zeros((0, 2)) if _is_blank(points) else _numbers(points, 2, "points", "[x, y] pairs")
    if xy.shape[1] != 2:
        raise PromptError(f"a point must be [x, y]; got {xy.shape[1]} numbers")
    kinds = np.ones(len(xy)) if labels is None else _numbers(labels, 1, "labels", "one number for each point")
    check_counts(xy, kinds)
    padding = kinds == PAD_LABEL
    xy[padding] = PAD_COORDINATE
    kinds[~padding] = check_points(xy[~padding], kinds[~padding], size)
    return xy, kinds.astype(np.int64)


def _box(box: Any, size: Size) -> np.ndarray | None:
    """(4,) float64, or None if the object has no box or only padding."""
    if _is_blank(box):
        return None
    corners = _numbers(box, 1, "a box", "four numbers x0, y0, x1, y1")
    if corners.shape != (4,):
        raise PromptError(f"a box must be four numbers x0, y0, x1, y1; got {len(corners)}")
    return None if (corners == PAD_COORDINATE).all() else check_box(corners, size)


def _numbers(value: Any, ndim: int, what: str, shape: str) -> np.ndarray:
    """Convert to a new float64 array of ``ndim`` axes."""
    array = as_numbers(value)
    if array is None or array.ndim != ndim:
        raise PromptError(f"{what} must be {shape}")
    return array


def _nested(name: str, value: Any, images: int) -> list[list]:
    """The value with image and object levels added: for each image a list of its objects' values."""
    value = _plain(name, value)
    if _is_blank(value):
        return [[] for _ in range(images)]
    levels, full = _levels(value), LEAF_LEVELS[name] + 2
    if images == 1 and FEWEST_LEVELS[name] <= levels < full:
        for _ in range(full - levels):
            value = [value]
    elif levels == full - 1 and name != "input_boxes":
        value = [None if v is None else [v] for v in value]
    elif levels != full:
        raise PromptError(
            f"{name} must be nested as {NESTING[name]} for {counted(images, 'image')}; got {levels} levels"
        )
    if len(value) != images:
        raise PromptError(f"{name} are for {len(value)} images, but {images} were given; nest them as {NESTING[name]}")
    return [[] if v is None else list(v) if _levels(v) else [v] for v in value]


def _plain(name: str, value: Any) -> Any:
    """Convert tensors of any device to arrays; lists, arrays and numbers stay."""
    if isinstance(value, list | tuple):
        return [_plain(name, v) for v in value]
    if hasattr(value, "detach"):
        return value.detach().cpu().double().numpy()
    if isinstance(value, np.ndarray) and value.dtype == object:
        return _plain(name, value.tolist())
    if value is None or isinstance(value, int | float | np.ndarray | np.generic):
        return value
    raise PromptError(f"{name} must be numbers in lists, arrays or tensors; got a {type(value).__name__}")


def _is_blank(value: Any) -> bool:
    """Whether it is None, or lists and arrays that hold no number."""
    if isinstance(value, list):
        return all(map(_is_blank, value))
    return value is None or np.size(value) == 0


def _levels(value: Any) -> int:
    """The deepest nesting of lists and arrays."""
    if isinstance(value, list):
        return 1 + max((_levels(v) for v in value if v is not None), default=0)
    return np.ndim(value)


def objects_present(labels: Tensor | None, boxes: Tensor | None, masks: Tensor | None = None) -> Tensor | None:
    """(B, N) bool, False where an object is only padding; None if no prompt can show it.

    masks: (B, N, h, w); an object also counts as present if its mask prompt is not all zeros, as padding is
    """
    present = None
    if labels is not None:
        present = (labels != PAD_LABEL).any(-1)
    if boxes is not None:
        boxed = (boxes != PAD_COORDINATE).any(-1)
        present = boxed if present is None else present | boxed
    if present is not None and masks is not None and masks.shape[:-2] == present.shape:
        present = present | (masks != 0).flatten(2).any(-1)
    return present
