"""Validates objects from the page and from files; nothing in them is trusted."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from ..errors import DataError
from ..inference.upsample import Size
from ..ops.masks import mask_to_rle
from ..ops.prompts import as_numbers
from ..ops.run_lengths import Rle, compressed, rle_counts, rle_to_mask
from .limits import Limits, Refusal
from .shapes import shape_of_mask

NAME_LENGTH = 80
RINGS = 1000
"""Maximum number of polygons of one object."""
WORK = 4_000_000_000
"""Maximum number of pixels of all masks in one export or import."""
UNNAMED = "object"


@dataclass(frozen=True)
class Object:
    """One object of a photo.

    name: typed by the user, or ""
    rle: its mask, of the photo's size, checked
    runs: number of run lengths
    facts: for JSON: ``predicted_iou, stability_score, point_coords, point_labels, input_box``, as far as known
    """

    name: str
    rle: Rle
    runs: int = 0
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The name, or a placeholder."""
        return self.name or UNNAMED

    def mask(self) -> np.ndarray:
        """(H, W) bool"""
        return rle_to_mask(self.rle)

    @property
    def box_area(self) -> int:
        """Pixels of the tight box."""
        _, _, w, h = coco_mask.toBbox(compressed(self.rle))
        return round(w * h)


class Masks(Sequence):
    """The masks of objects, decoded on access: hundreds of large ones would not fit in memory.

    check: called before each
    """

    def __init__(self, objects: Sequence[Object], check: Callable[[], None] = lambda: None) -> None:
        self.objects, self.check = objects, check

    def __len__(self) -> int:
        return len(self.objects)

    def __getitem__(self, index: int) -> np.ndarray:
        self.check()
        return self.objects[index].mask()

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))


def read_objects(value: Any, size: Size, limits: Limits) -> list[Object]:
    """The page's list ``[{name, rle, score, points, labels, box}, ...]``. raises: DataError, Refusal"""
    if not isinstance(value, list) or not all(isinstance(o, dict) for o in value):
        raise DataError('objects must be [{"name": text, "rle": {"size": [h, w], "counts": text}}, ...]')
    check_count(len(value), limits)
    found, left = [], _Runs(limits)
    for i, o in enumerate(value, start=1):
        facts = _facts(o, {"predicted_iou": "score", "stability_score": "stability"})
        facts |= _prompt(o.get("points"), o.get("labels"), o.get("box"), size)
        rle, runs = left.checked(o.get("rle"), size, f"object {i}")
        found.append(Object(_name(o.get("name")), rle, runs, facts))
    return found


def read_annotations(text: Any, size: Size, limits: Limits) -> Iterator[dict[str, Any]]:
    """A COCO or SA-1B file -> objects for the page: ``name, score, points, labels, box`` and `shapes`' facts.

    text: the file's text, str or bytes, or its parsed content
    raises: DataError with the reason, Refusal
    """
    if isinstance(text, str | bytes):
        try:
            text = json.loads(text)
        except (ValueError, RecursionError) as e:
            raise DataError("this file is not JSON; choose a COCO or SA-1B file") from e
    records, names = _records(text, size)
    check_count(len(records), limits)
    if len(records) * size[0] * size[1] > WORK:
        raise Refusal("too many objects for a photo of this size; import only some of them", 413)
    left = _Runs(limits)
    for i, record in enumerate(records, start=1):
        rle = left.segmentation(record.get("segmentation"), size, f"annotation {i}")
        name = record.get("name")
        if not isinstance(name, str):
            name = names.get(record.get("category_id")) if isinstance(record.get("category_id"), int) else ""
        facts = _facts(record, {"score": "predicted_iou", "stability": "stability_score"})
        prompt = _prompt(record.get("point_coords"), record.get("point_labels"), record.get("input_box"), size)
        yield {
            "name": _name("" if name == UNNAMED else name),
            "points": prompt.get("point_coords", []),
            "labels": prompt.get("point_labels", []),
            "box": prompt.get("input_box"),
            **facts,
            **shape_of_mask(rle_to_mask(rle)),
        }


def check_count(count: int, limits: Limits) -> None:
    """raises: Refusal for too many objects"""
    if count > limits.objects:
        raise Refusal(f"{count} objects are too many; import at most {limits.objects} at once")


def _records(document: Any, size: Size) -> tuple[list[dict], dict[int, str]]:
    """The annotations of the photo, and the category names."""
    if isinstance(document, list):
        document = {"annotations": document}
    records = document.get("annotations") if isinstance(document, dict) else None
    if not isinstance(records, list) or not all(isinstance(r, dict) for r in records):
        raise DataError("this JSON holds no annotations; choose a COCO or SA-1B file")
    images = document.get("images", document.get("image", []))
    images = [i for i in (images if isinstance(images, list) else [images]) if isinstance(i, dict)]
    fitting = [i for i in images if [i.get("height"), i.get("width")] == list(size)]
    if images and not fitting:
        w, h = images[0].get("width"), images[0].get("height")
        raise DataError(f"the file is for a photo of {w} x {h} pixels, and this one has {size[1]} x {size[0]}")
    if len(images) > 1:
        chosen = fitting[0].get("id")
        records = [r for r in records if r.get("image_id") == chosen]
    categories = document.get("categories")
    categories = categories if isinstance(categories, list) else []
    named = [c for c in categories if isinstance(c, dict) and isinstance(c.get("id"), int)]
    return records, {c["id"]: c["name"] for c in named if isinstance(c.get("name"), str)}


class _Runs:
    """Checks masks, and tracks how many run lengths and outline pixels one request may still use."""

    def __init__(self, limits: Limits) -> None:
        self.runs, self.characters, self.outline = limits.runs, 4 * limits.runs, limits.outline

    def checked(self, value: Any, size: Size, what: str) -> tuple[Rle, int]:
        """Check that COCO RLE fits the photo; returns it and its number of runs. raises: DataError, Refusal"""
        counts = value.get("counts") if isinstance(value, dict) else None
        if not isinstance(counts, str | list):
            raise DataError(f"{what} has no mask in COCO run lengths; choose a COCO or SA-1B file")
        self.characters -= len(counts)
        if self.characters < 0:
            raise _too_fine()
        try:
            runs = len(rle_counts(value, size))
        except DataError as e:
            raise DataError(f"{what}: {e}") from e
        self.runs -= runs
        if self.runs < 0:
            raise _too_fine()
        return {"size": list(size), "counts": counts}, runs

    def segmentation(self, value: Any, size: Size, what: str) -> Rle:
        """Convert COCO RLE or polygons to RLE. raises: DataError, Refusal"""
        if not isinstance(value, list):
            return self.checked(value, size, what)[0]
        rings = [as_numbers(ring) for ring in value]
        if not 0 < len(rings) <= RINGS:
            raise DataError(f"{what} has {len(rings) or 'no'} polygons; at most {RINGS} are accepted")
        clipped = []
        for ring in rings:
            if ring is None or ring.ndim != 1 or len(ring) < 6 or len(ring) % 2 or not (np.abs(ring) < 1e6).all():
                raise DataError(f"{what} has a polygon that is not [x, y, x, y, x, y, ...]")
            ring = ring.clip(0, np.tile([size[1], size[0]], len(ring) // 2))
            corners = ring.reshape(-1, 2)
            self.outline -= int(np.abs(corners - np.roll(corners, 1, axis=0)).sum())
            if self.outline < 0:  # pycocotools allocates memory for each pixel along it
                raise _too_fine()
            clipped.append(ring.tolist())
        parts = coco_mask.frPyObjects(clipped, *size)
        return mask_to_rle(coco_mask.decode(coco_mask.merge(parts)).astype(bool))


def _too_fine() -> Refusal:
    return Refusal("the outlines are too fine for the page; take fewer objects at a time", 413)


def _name(value: Any) -> str:
    text = value if isinstance(value, str) else ""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:NAME_LENGTH]


def _facts(source: dict, names: dict[str, str]) -> dict[str, float]:
    """Numbers in [0, 1], under their new names."""
    found = {}
    for new, old in names.items():
        value = source.get(old)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1.1:
            found[new] = float(value)
    return found


def _prompt(points: Any, labels: Any, box: Any, size: Size) -> dict[str, Any]:
    """The prompt, as far as it is valid; invalid parts are dropped."""
    height, width = size
    found: dict[str, Any] = {}
    xy, kinds, corners = as_numbers(points), as_numbers(labels), as_numbers(box)
    if xy is not None and xy.ndim == 2 and xy.shape[1] == 2 and 0 < len(xy) <= 1000:
        kinds = np.ones(len(xy)) if kinds is None or kinds.shape != (len(xy),) else kinds
        if ((xy >= 0) & (xy <= [width, height])).all() and np.isin(kinds, (0, 1)).all():
            found = {"point_coords": xy.tolist(), "point_labels": kinds.astype(int).tolist()}
    if corners is not None and corners.shape == (4,) and np.isfinite(corners).all():
        x0, y0, x1, y1 = corners
        if 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height:
            found["input_box"] = corners.tolist()
    return found
