"""labelme: a JSON for each image, with shapes (github.com/wkentaro/labelme, ``labelme/label_file.py``)."""

import base64
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from ..results import json_bytes
from .images import File, ImageLabels, Labelled, numbered

VERSION = "5.5.0"
"""Version of labelme to write; 5.3 was the first with "mask" shapes."""


def labelme_files(
    images: Iterable[ImageLabels], *, polygons: bool = False, folder: Path | None = None
) -> Iterator[File]:
    """NAME.json for each image; it refers to the image file without embedding it.

    polygons: write shapes with editable corners; parts of one object share a ``group_id``, and holes are cut into their
        outline. labelme also fills the border pixels, so its masks become a pixel wider. Default: shapes of type
        "mask", which are exact
    folder: future folder of the files, for the image's relative path
    """
    for image, objects in numbered(images):
        shapes = [shape for o in objects for shape in (_polygons(o) if polygons else _mask(o))]
        height, width = image.size
        yield (
            f"{image.stem}.json",
            json_bytes(
                {
                    "version": VERSION,
                    "flags": {},
                    "shapes": shapes,
                    "imagePath": _path_of(image, folder),
                    "imageData": None,
                    "imageHeight": height,
                    "imageWidth": width,
                }
            ),
        )


def _path_of(image: ImageLabels, folder: Path | None) -> str:
    if image.path is None or folder is None:
        return PurePosixPath(image.file_name).name
    place = os.path.abspath(folder / PurePosixPath(image.stem).parent)
    return Path(os.path.relpath(os.path.abspath(image.path), place)).as_posix()


def _shape(o: Labelled, kind: str, points: list, group: int | None) -> dict[str, Any]:
    return {
        "label": o.name,
        "points": points,
        "group_id": group,
        "description": "",
        "shape_type": kind,
        "flags": {},
    }


def _mask(o: Labelled) -> Iterator[dict[str, Any]]:
    mask, (x, y) = o.window
    if not mask.size:
        return
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8)).save(buffer, "PNG")
    corners = [[x, y], [x + mask.shape[1] - 1, y + mask.shape[0] - 1]]  # corners of the first and last pixel
    picture = base64.b64encode(buffer.getvalue()).decode("ascii")
    yield {**_shape(o, "mask", corners, None), "mask": picture}


def _polygons(o: Labelled) -> Iterator[dict[str, Any]]:
    rings = o.rings()
    for ring in rings:
        yield _shape(o, "polygon", ring.tolist(), o.number if len(rings) > 1 else None)
