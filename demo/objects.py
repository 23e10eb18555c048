"""Objects as the page sends them and as files hold them, checked: nothing in them is believed."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from ..data.sa1b import check_segmentation
from ..errors import DataError
from ..inference.upsample import Size
from ..ops.masks import Rle, mask_to_rle, rle_to_mask
from ..ops.prompts import as_numbers
from .limits import Limits, Refusal
from .shapes import shape_of_mask

NAME_LENGTH = 80
UNNAMED = "object"


@dataclass(frozen=True)
class Object:
    """One object of a photo.

    name: as a person typed it, or ""
    rle: its mask, of the photo's size
    facts: for JSON: ``predicted_iou, stability_score, point_coords, point_labels, input_box``, those that are known
    """

    name: str
    rle: Rle
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The name, or what stands for it."""
        return self.name or UNNAMED

    def mask(self) -> np.ndarray:
        """(H, W) bool"""
        return rle_to_mask(self.rle)


class Masks(Sequence):
    """The masks of objects, each decoded when it is asked for: hundreds of large ones do not fit in memory."""

    def __init__(self, objects: Sequence[Object]) -> None:
        self.objects = objects

    def __len__(self) -> int:
        return len(self.objects)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.objects[index].mask()

    def __iter__(self) -> Iterator[np.ndarray]:
        return (o.mask() for o in self.objects)


def read_objects(value: Any, size: Size, limits: Limits) -> list[Object]:
    """The page's list ``[{name, rle, score, points, labels, box}, ...]``. raises: DataError, Refusal"""
    if not isinstance(value, list) or not all(isinstance(o, dict) for o in value):
        raise DataError('objects must be [{"name": text, "rle": {"size": [h, w], "counts": text}}, ...]')
    check_count(len(value), limits)
    found = []
    for i, o in enumerate(value, start=1):
        facts = _facts(o, {"predicted_iou": "score", "stability_score": "stability"}, size)
        facts |= _prompt(o.get("points"), o.get("labels"), o.get("box"), size)
        found.append(Object(_name(o.get("name")), _rle(o.get("rle"), size, f"object {i}"), facts))
    return found


def read_annotations(text: Any, size: Size, limits: Limits) -> list[dict[str, Any]]:
    """A COCO or SA-1B file -> objects for the page: ``name, score, points, labels, box`` and `shapes`' facts.

    text: the file, str or bytes, or what it holds
    raises: DataError with what is wrong with it, Refusal
    """
    if isinstance(text, str | bytes):
        try:
            text = json.loads(text)
        except (ValueError, RecursionError) as e:
            raise DataError("this file is not JSON; choose a COCO or SA-1B file") from e
    records, names = _records(text, size)
    check_count(len(records), limits)
    found = []
    for i, record in enumerate(records, start=1):
        rle = _segmentation(record.get("segmentation"), size, f"annotation {i}")
        name = record.get("name")
        if not isinstance(name, str):
            name = names.get(record.get("category_id")) if isinstance(record.get("category_id"), int) else ""
        facts = _facts(record, {"score": "predicted_iou", "stability": "stability_score"}, size)
        prompt = _prompt(record.get("point_coords"), record.get("point_labels"), record.get("input_box"), size)
        found.append(
            {
                "name": _name("" if name == UNNAMED else name),
                "points": prompt.get("point_coords", []),
                "labels": prompt.get("point_labels", []),
                "box": prompt.get("input_box"),
                **facts,
                **shape_of_mask(rle_to_mask(rle)),
            }
        )
    return found


def check_count(count: int, limits: Limits) -> None:
    """Refusal for too many objects."""
    if count > limits.objects:
        raise Refusal(f"{count} objects are too many; at most {limits.objects} are taken at once")


def _records(document: Any, size: Size) -> tuple[list[dict], dict[int, str]]:
    """The annotations that belong to the photo, and names of categories."""
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
        raise DataError(f"the file is about a photo of {w} x {h} pixels, and this one has {size[1]} x {size[0]}")
    if len(images) > 1:
        chosen = fitting[0].get("id")
        records = [r for r in records if r.get("image_id") == chosen]
    categories = document.get("categories")
    categories = categories if isinstance(categories, list) else []
    named = [c for c in categories if isinstance(c, dict) and isinstance(c.get("id"), int)]
    return records, {c["id"]: c["name"] for c in named if isinstance(c.get("name"), str)}


def _segmentation(value: Any, size: Size, what: str) -> Rle:
    """Run lengths, or polygons as COCO has them, as run lengths."""
    if not isinstance(value, list):
        return _rle(value, size, what)
    rings = [as_numbers(ring) for ring in value]
    for ring in rings:
        if ring is None or ring.ndim != 1 or len(ring) < 6 or len(ring) % 2 or not (np.abs(ring) < 1e6).all():
            raise DataError(f"{what} has a polygon that is not [x, y, x, y, x, y, ...]")
    if not rings:
        raise DataError(f"{what} has no mask")
    limit = np.tile([size[1], size[0]], max(map(len, rings)) // 2)
    parts = coco_mask.frPyObjects([r.clip(0, limit[: len(r)]).tolist() for r in rings], *size)
    return mask_to_rle(coco_mask.decode(coco_mask.merge(parts)).astype(bool))


def _rle(value: Any, size: Size, what: str) -> Rle:
    counts = value.get("counts") if isinstance(value, dict) else None
    good = isinstance(counts, str) and counts.isascii() and all("0" <= c <= "o" for c in counts)
    if not good and not (isinstance(counts, list) and all(type(c) is int and 0 <= c < 1 << 40 for c in counts)):
        raise DataError(f"{what} has no mask in COCO run lengths; choose a COCO or SA-1B file")
    return check_segmentation({"size": value.get("size"), "counts": counts}, size, what)


def _name(value: Any) -> str:
    text = value if isinstance(value, str) else ""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:NAME_LENGTH]


def _facts(source: dict, names: dict[str, str], size: Size) -> dict[str, float]:
    """Numbers in [0, 1], under their new names."""
    found = {}
    for new, old in names.items():
        value = source.get(old)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1.1:
            found[new] = float(value)
    return found


def _prompt(points: Any, labels: Any, box: Any, size: Size) -> dict[str, Any]:
    """What was asked, where it is sound; anything else is left out."""
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
