"""Reader of labelme's annotations: one JSON for each image, with shapes drawn by hand (github.com/wkentaro/labelme)."""

import base64
import binascii
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import DataError, ImageError
from ..ops.images import read_image
from .annotated import AnnotatedImages, annotation_of, annotation_of_polygons
from .sa1b import Sample

CIRCLE_CORNERS = 64


class LabelmeFolder(AnnotatedImages):
    """Images and shapes (polygon, rectangle, circle, mask); shapes of one ``group_id`` are one object.

    Points and lines have no area and are left out. The image is the file that the JSON names, or the one inside
    the JSON.
    path: a folder of labelme files
    raises: DataError when there is none
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._files = [p for p in sorted(self.path.glob("*.json")) if is_labelme(p)]
        if not self._files:
            raise DataError(f"{self.path} holds no labelme file; expected a .json with shapes for each image")

    def __len__(self) -> int:
        return len(self._files)

    def image_path(self, index: int) -> Path:
        return self._files[index].parent / str(self._document(index).get("imagePath", "")).replace("\\", "/")

    def __getitem__(self, index: int) -> Sample:
        file, document = self._files[index], self._document(index)
        path, inside = self.image_path(index), document.get("imageData")
        try:
            image = read_image(path if path.is_file() or not inside else base64.b64decode(inside))
        except (ImageError, binascii.Error, TypeError) as e:
            raise DataError(f"{file}: its image cannot be read ({e})") from e
        return Sample(path.name or f"{file.stem}.png", image, self.objects(index, image.shape[:2]))

    def objects(self, index: int, size: tuple[int, int]) -> list[dict]:
        file, document = self._files[index], self._document(index)
        groups: dict[object, list[list[float]]] = {}
        masks = []
        try:
            stated = (document.get("imageHeight"), document.get("imageWidth"))
            if None not in stated and stated != size:
                raise ValueError(f"it was drawn on an image of {stated[1]} x {stated[0]} pixels, not {size[::-1]}")
            for number, shape in enumerate(document["shapes"]):
                kind = shape.get("shape_type") or "polygon"
                if kind == "mask":
                    masks.append(_painted(shape, size))
                elif outline := _outline(kind, shape["points"]):
                    group = shape.get("group_id")
                    groups.setdefault(("alone", number) if group is None else group, []).append(outline)
            return [annotation_of_polygons(p, size) for p in groups.values()] + [annotation_of(m) for m in masks]
        except (ValueError, KeyError, TypeError, IndexError, OSError) as e:
            raise DataError(f"{file}: {e}") from e

    def _document(self, index: int) -> dict:
        try:
            return json.loads(self._files[index].read_text("utf-8"))
        except (OSError, ValueError) as e:
            raise DataError(f"{self._files[index]} is not a readable labelme file ({e})") from e


def is_labelme(path: Path) -> bool:
    """Whether a JSON file is labelme's."""
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and isinstance(document.get("shapes"), list)


def _outline(kind: str, points: Sequence[Sequence[float]]) -> list[float]:
    """x0, y0, x1, y1, ... of a shape, or nothing where it has no area."""
    if kind == "polygon" and len(points) >= 3:
        return [float(v) for xy in points for v in xy]
    if kind == "rectangle":
        (x0, y0), (x1, y1) = points
        return [x0, y0, x1, y0, x1, y1, x0, y1]
    if kind == "circle":
        (x, y), edge = points
        radius = math.dist((x, y), edge)
        turns = [2 * math.pi * i / CIRCLE_CORNERS for i in range(CIRCLE_CORNERS)]
        return [v for t in turns for v in (x + radius * math.cos(t), y + radius * math.sin(t))]
    return []


def _painted(shape: dict, size: tuple[int, int]) -> np.ndarray:
    """A shape of kind "mask": a picture that fills its box, as (H, W) bool."""
    (x0, y0), _ = ((int(x), int(y)) for x, y in shape["points"])
    with Image.open(io.BytesIO(base64.b64decode(shape["mask"]))) as picture:
        painted = np.asarray(picture.convert("L")) > 0
    mask = np.zeros(size, bool)
    part = mask[y0 : y0 + painted.shape[0], x0 : x0 + painted.shape[1]]
    part[:] = painted[: part.shape[0], : part.shape[1]]
    return mask
