"""The objects of a photo as files; one file as it is, several in a ZIP."""

import io
import re
import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import results
from ..errors import DataError
from .limits import Refusal
from .objects import Masks, Object
from .yolo import data_yaml, label_line

WORK = 4_000_000_000
"""Pixels of all masks together that one export may cost."""


@dataclass(frozen=True)
class Scene:
    """A photo and what was found in it.

    stem: the photo's name without folder and suffix, fit for a file name
    image: (H, W, 3) uint8; objects: at least one
    """

    stem: str
    image: np.ndarray
    objects: Sequence[Object]

    def names(self) -> list[str]:
        """A part of a file name for each object: its number and name."""
        width = len(str(len(self.objects)))
        return ["-".join(filter(None, (f"{i:0{width}}", slug(o.name)))) for i, o in enumerate(self.objects, start=1)]

    def labels(self) -> list[str]:
        """The different names, in order; what has none is an "object"."""
        return list(dict.fromkeys(o.label for o in self.objects))


File = tuple[str, bytes]


def _masks(scene: Scene) -> Iterator[File]:
    for name, o in zip(scene.names(), scene.objects, strict=True):
        yield f"masks/{scene.stem}.mask-{name}.png", results.mask_png(o.mask())


def _cutouts(scene: Scene) -> Iterator[File]:
    for name, o in zip(scene.names(), scene.objects, strict=True):
        yield f"cutouts/{scene.stem}.cutout-{name}.png", results.cutout_png(scene.image, o.mask())


def _svg(scene: Scene) -> Iterator[File]:
    yield f"{scene.stem}.svg", results.outlines_svg(Masks(scene.objects))


def _document(scene: Scene) -> dict[str, Any]:
    records = []
    for i, o in enumerate(scene.objects, start=1):
        name = {"name": o.name} if o.name else {}
        records.append(results.annotation(o.mask(), i, **name, **o.facts))
    return results.sa1b_document(f"{scene.stem}.jpg", scene.image.shape[:2], records)


def _sa1b(scene: Scene) -> Iterator[File]:
    yield f"{scene.stem}.json", results.json_bytes(_document(scene))


def _coco(scene: Scene) -> Iterator[File]:
    """Names become categories; what has none stays "object"."""
    document, labels = results.coco_document([_document(scene)]), scene.labels()
    number = {label: i for i, label in enumerate(labels, start=1)}
    document["categories"] = [{**results.CATEGORY, "id": i, "name": label} for label, i in number.items()]
    for record, o in zip(document["annotations"], scene.objects, strict=True):
        record["category_id"] = number[o.label]
    yield "coco.json", results.json_bytes(document)


def _yolo(scene: Scene) -> Iterator[File]:
    labels = scene.labels()
    lines = [label_line(o.mask(), labels.index(o.label)) for o in scene.objects]
    yield f"yolo/images/{scene.stem}.jpg", results.jpeg(scene.image)
    yield f"yolo/labels/{scene.stem}.txt", "".join(f"{line}\n" for line in lines if line).encode()
    yield "yolo/data.yaml", data_yaml(labels).encode()


FORMATS: dict[str, Callable[[Scene], Iterator[File]]] = {
    "masks": _masks,
    "cutouts": _cutouts,
    "coco": _coco,
    "sa1b": _sa1b,
    "svg": _svg,
    "yolo": _yolo,
}


def export(scene: Scene, formats: Any) -> File:
    """The name and the content of what is downloaded.

    raises: DataError for unknown formats or nothing to export, Refusal for too much
    """
    if not isinstance(formats, list) or not formats or not all(isinstance(f, str) for f in formats):
        raise DataError(f"choose at least one format of {', '.join(FORMATS)}")
    if unknown := [f for f in formats if f not in FORMATS]:
        raise DataError(f"there is no format {unknown[0]!r}; choose some of {', '.join(FORMATS)}")
    if not scene.objects:
        raise DataError("there is no object yet; click on one first")
    chosen = list(dict.fromkeys(formats))
    if len(scene.objects) * len(chosen) * scene.image.shape[0] * scene.image.shape[1] > WORK:
        raise Refusal("this is too much at once; export fewer objects or formats at a time", 413)
    files = [file for kind in chosen for file in FORMATS[kind](scene)]
    if len(files) == 1:
        return files[0][0].rpartition("/")[2], files[0][1]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as archive:
        for name, content in files:
            stored = name.endswith((".png", ".jpg"))
            archive.writestr(name, content, zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED)
    return f"{scene.stem}.zip", packed.getvalue()


def slug(text: Any, fallback: str = "") -> str:
    """A part of a file name that every system takes: letters, digits, ``-`` and ``_`` in ASCII."""
    plain = unicodedata.normalize("NFKD", text if isinstance(text, str) else "").encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_]+", "-", plain).strip("-")[:60] or fallback


def stem_of(file_name: Any) -> str:
    """The name of the photo without folder and suffix."""
    text = file_name if isinstance(file_name, str) else ""
    return slug(re.split(r"[/\\]", text)[-1].rsplit(".", 1)[0], "photo")
