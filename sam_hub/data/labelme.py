"""Reader of labelme's annotations: one JSON for each image, with shapes drawn by hand (github.com/wkentaro/labelme)."""

import base64
import binascii
import io
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import DataError, ImageError
from ..ops.images import MAX_PIXELS
from ..ops.masks import mask_to_rle
from ..ops.polygons import polygons_to_rle, union
from ..ops.run_lengths import Rle
from .annotated import AnnotatedImages, annotation_of_rle, problem
from .documents import read_json
from .photos import read_photo
from .sa1b import Sample

CIRCLE_CORNERS = 64
WITHOUT_AREA = ("point", "points", "line", "linestrip")
TURNED = ("oriented_rectangle", "rotation")
"""Shape types for rectangles given by four corners: labelme's and X-AnyLabeling's."""

WHAT = "a readable labelme file"


class LabelmeFolder(AnnotatedImages):
    """Images and shapes: polygon, rectangle, oriented rectangle, circle, mask.

    Shapes with the same label and ``group_id`` form one object, as in labelme's own labelme2coco.py. Points and lines
    have no area and are skipped. Unreadable shapes become a `problem`; the image's other shapes are kept. The image is
    the file named in the JSON, or the one embedded in it.
    path: a folder of labelme files
    raises: DataError if it holds none
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._files = [p for p in sorted(self.path.glob("*.json")) if is_labelme(p, damaged=True)]
        if not any(map(is_labelme, self._files)):
            raise DataError(f"{self.path} holds no labelme file; expected a .json with shapes for each image")

    def __len__(self) -> int:
        return len(self._files)

    def image_path(self, index: int) -> Path:
        return self._image_path(index, self._document(index))

    def __getitem__(self, index: int) -> Sample:
        file, document = self._files[index], self._document(index)
        path, inside = self._image_path(index, document), document.get("imageData")
        try:
            here = os.path.isfile(path) or not inside
            image = read_photo(path if here else base64.b64decode(inside), _stated_size(document))
        except (ImageError, binascii.Error, TypeError, ValueError) as e:
            raise DataError(f"{file}: its image cannot be read ({e})") from e
        return Sample(path.name or f"{file.stem}.png", image, self._objects(file, document, image.shape[:2]))

    def objects(self, index: int, size: tuple[int, int]) -> list[dict]:
        return self._objects(self._files[index], self._document(index), size)

    def _objects(self, file: Path, document: dict, size: tuple[int, int]) -> list[dict]:
        stated = _stated_size(document)
        if stated not in (None, size):
            raise DataError(f"{file}: it was drawn on an image of {stated[1]} x {stated[0]} pixels, not {size[::-1]}")
        groups: dict[object, list[Rle]] = {}
        problems = []
        for number, shape in enumerate(document["shapes"], start=1):
            try:
                rle = _shape(shape, size)
            except DataError as e:
                problems.append(problem(f"{file}: shape {number} is left out: {e}"))
                continue
            if rle is not None:
                group = shape.get("group_id")
                alone = not isinstance(group, int | str)
                key = ("alone", number) if alone else (str(shape.get("label")), group)
                groups.setdefault(key, []).append(rle)
        return [annotation_of_rle(union(rles)) for rles in groups.values()] + problems

    def _document(self, index: int) -> dict:
        document = read_json(self._files[index], WHAT)
        if not _has_shapes(document):
            raise DataError(f"{self._files[index]} is not {WHAT} (it has no list of shapes); save it again")
        return document

    def _image_path(self, index: int, document: dict) -> Path:
        """The file that the JSON names; if it is missing, a file of the same name beside the JSON."""
        folder = self._files[index].parent
        path = folder / str(document.get("imagePath", "")).replace("\\", "/")
        beside = folder / path.name
        return beside if not os.path.isfile(path) and os.path.isfile(beside) else path


def is_labelme(path: Path, damaged: bool = False) -> bool:
    """Whether a JSON file is labelme's; returns ``damaged`` if it is not valid JSON."""
    try:
        return _has_shapes(read_json(path, WHAT))
    except DataError:
        return damaged and os.path.isfile(path)


def _has_shapes(document: Any) -> bool:
    return isinstance(document, dict) and isinstance(document.get("shapes"), list)


def _stated_size(document: dict) -> tuple[int, int] | None:
    size = (document.get("imageHeight"), document.get("imageWidth"))
    return size if all(isinstance(side, int) for side in size) else None


def _shape(shape: Any, size: tuple[int, int]) -> Rle | None:
    """The mask of a shape, or None for a type without area. raises: DataError"""
    if not isinstance(shape, dict):
        raise DataError("it is not an object with points")
    kind = shape.get("shape_type") or "polygon"
    if kind in WITHOUT_AREA:
        return None
    points = _points(shape.get("points"))
    if kind == "mask":
        return mask_to_rle(_painted(shape.get("mask"), points, size))
    return polygons_to_rle([_outline(kind, points)], size)


def _points(value: Any) -> list[tuple[float, float]]:
    pairs = value if isinstance(value, list) else [None]
    if not all(isinstance(p, list) and len(p) == 2 and all(type(v) in (int, float) for v in p) for p in pairs):
        raise DataError("its points are not [[x, y], ...]")
    if not all(abs(v) < math.inf for p in pairs for v in p):  # NaN lands here
        raise DataError("a point is not finite")
    return [tuple(p) for p in pairs]


def _outline(kind: str, points: list[tuple[float, float]]) -> list[float]:
    """x0, y0, x1, y1, ... of a shape."""
    if kind == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = points
        return [x0, y0, x1, y0, x1, y1, x0, y1]
    if kind == "polygon" or (kind in ("rectangle", *TURNED) and len(points) == 4):
        return [v for xy in points for v in xy]
    if kind == "circle" and len(points) == 2:
        (x, y), edge = points
        radius = math.dist((x, y), edge)
        turns = [2 * math.pi * i / CIRCLE_CORNERS for i in range(CIRCLE_CORNERS)]
        return [v for t in turns for v in (x + radius * math.cos(t), y + radius * math.sin(t))]
    if kind in ("rectangle", "circle", *TURNED):
        raise DataError(f"a {kind.replace('_', ' ')} has {len(points)} points")
    raise DataError(f"its kind is {kind!r}; known are polygon, rectangle, oriented_rectangle, circle and mask")


def _painted(text: Any, points: list[tuple[float, float]], size: tuple[int, int]) -> np.ndarray:
    """A shape of type "mask", an image that fills its box, as (H, W) bool; parts outside the photo are cut off."""
    if not points:
        raise DataError("a mask has no box")
    x0, y0 = map(int, points[0])
    try:
        with Image.open(io.BytesIO(base64.b64decode(text)), formats=["PNG"]) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise DataError(f"its mask has more than {MAX_PIXELS // 1_000_000} million pixels")
            painted = np.asarray(picture.convert("L")) > 0
    except DataError:
        raise
    except Exception as e:  # Pillow may raise any exception on damaged files
        raise DataError(f"its mask is not a readable image ({e})") from e
    mask = np.zeros(size, bool)
    left, top = max(0, -x0), max(0, -y0)  # of the picture, outside the image
    painted = painted[top : top + max(0, size[0] - max(0, y0)), left : left + max(0, size[1] - max(0, x0))]
    y0, x0 = max(0, y0), max(0, x0)
    mask[y0 : y0 + painted.shape[0], x0 : x0 + painted.shape[1]] = painted
    return mask
