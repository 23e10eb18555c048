"""Exports a photo's objects as one file, or as a ZIP of several files that is written while it is sent."""

import io
import re
import unicodedata
import zipfile
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import results
from ..errors import DataError
from ..labels.formats import takes, writer
from ..labels.images import ImageLabels
from ..labels.yolo import data_yaml, label_line
from .limits import Limits, Refusal
from .objects import WORK, Masks, Object


@dataclass(frozen=True)
class Scene:
    """A photo and what was found in it.

    stem: the photo's name without folder and suffix, fit for a file name
    image: (H, W, 3) uint8; objects: at least one
    check: called for each mask; raises to stop the work
    """

    stem: str
    image: np.ndarray
    objects: Sequence[Object]
    check: Callable[[], None] = lambda: None

    def masks(self) -> Masks:
        """The objects' masks, in order."""
        return Masks(self.objects, self.check)

    def names(self) -> list[str]:
        """A part of a file name for each object: its number and name."""
        width = len(str(len(self.objects)))
        return ["-".join(filter(None, (f"{i:0{width}}", slug(o.name)))) for i, o in enumerate(self.objects, start=1)]

    def labels(self) -> list[str]:
        """The distinct names, in order; unnamed objects are called "object"."""
        return list(dict.fromkeys(o.label for o in self.objects))


File = tuple[str, bytes]
Files = Generator[File | None, None, None]
"""Files, and None at points where unfinished work may be interrupted."""


def _masks(scene: Scene) -> Files:
    for name, mask in zip(scene.names(), scene.masks(), strict=True):
        yield f"masks/{scene.stem}.mask-{name}.png", results.mask_png(mask)


def _cutouts(scene: Scene) -> Files:
    for name, mask in zip(scene.names(), scene.masks(), strict=True):
        yield f"cutouts/{scene.stem}.cutout-{name}.png", results.cutout_png(scene.image, mask)


def _svg(scene: Scene) -> Files:
    yield f"{scene.stem}.svg", results.outlines_svg(scene.masks())


def _records(scene: Scene) -> Iterator[dict[str, Any]]:
    for i, (o, mask) in enumerate(zip(scene.objects, scene.masks(), strict=True), start=1):
        name = {"name": o.name} if o.name else {}
        yield results.annotation(mask, i, **name, **o.facts)


def _sa1b(scene: Scene) -> Files:
    document = yield from _document(scene)
    yield f"{scene.stem}.json", results.json_bytes(document)


def _document(scene: Scene) -> Generator[None, None, dict[str, Any]]:
    records = []
    for record in _records(scene):
        records.append(record)
        yield None
    return results.sa1b_document(f"{scene.stem}.jpg", scene.image.shape[:2], records)


def _coco(scene: Scene) -> Files:
    """Names become categories; unnamed objects are called "object"."""
    document = yield from _document(scene)
    document, labels = results.coco_document([document]), scene.labels()
    number = {label: i for i, label in enumerate(labels, start=1)}
    document["categories"] = [{**results.CATEGORY, "id": i, "name": label} for label, i in number.items()]
    for record, o in zip(document["annotations"], scene.objects, strict=True):
        record["category_id"] = number[o.label]
    yield "coco.json", results.json_bytes(document)


def _yolo(scene: Scene) -> Files:
    labels, lines = scene.labels(), []
    for o, mask in zip(scene.objects, scene.masks(), strict=True):
        lines.append(label_line(mask, labels.index(o.label)))
        yield None
    yield f"yolo/images/{scene.stem}.jpg", results.jpeg(scene.image)
    yield f"yolo/labels/{scene.stem}.txt", "".join(f"{line}\n" for line in lines if line).encode()
    yield "yolo/data.yaml", data_yaml(labels).encode()


def _labels(kind: str) -> Callable[[Scene], Files]:
    """A format of `sam_hub.labels`, in a folder of its name. In label maps, each pixel goes to the smallest mask."""

    def files(scene: Scene) -> Files:
        records = [{"segmentation": o.rle, "name": o.label, **o.facts} for o in scene.objects]
        image = ImageLabels(f"{scene.stem}.jpg", scene.image.shape[:2], records)
        options = {"non_overlapping": True} if takes(kind, "non_overlapping") else {}
        for name, content in writer(kind)([image], **options):
            pieces = []
            for piece in [content] if isinstance(content, bytes) else content:
                scene.check()
                pieces.append(piece)
                yield None
            yield f"{kind}/{name}", b"".join(pieces)

    return files


LABELS = ("labelmap", "labelme", "labelstudio", "cvat")
FORMATS: dict[str, Callable[[Scene], Files]] = {
    "masks": _masks,
    "cutouts": _cutouts,
    "coco": _coco,
    "sa1b": _sa1b,
    "svg": _svg,
    "yolo": _yolo,
    **{kind: _labels(kind) for kind in LABELS},
}
ALONE = {
    **{"coco": "coco.json", "sa1b": "{stem}.json", "svg": "{stem}.svg"},
    **{"labelmap": "{stem}.png", "labelme": "{stem}.json", "cvat": "annotations.xml"},
}
"""Formats that are one file, and its name."""
WINDOWS = 1 << 29
"""Pixels of the boxes of all masks, which the formats of `LABELS` hold in memory."""


def estimated_bytes(kind: str, o: Object, pixels: int) -> int:
    """Approximate maximum size of one object in a format; pixels: of the photo"""
    if kind == "cutouts":
        return 1000 + 3 * o.box_area
    if kind == "masks":
        return 1000 + pixels // 500 + 4 * o.runs
    return 1000 + {"svg": 24, "yolo": 40, "labelstudio": 40, "cvat": 40}.get(kind, 6) * o.runs


def export(scene: Scene, formats: Any, limits: Limits) -> tuple[str, Iterator[bytes | None]]:
    """The name of the download, and its content in lazily generated chunks.

    raises: DataError for unknown formats or nothing to export, Refusal for too much
    """
    if not isinstance(formats, list) or not formats or not all(isinstance(f, str) for f in formats):
        raise DataError(f"choose at least one format of {', '.join(FORMATS)}")
    if unknown := [f for f in formats if f not in FORMATS]:
        raise DataError(f"there is no format {unknown[0]!r}; choose some of {', '.join(FORMATS)}")
    if not scene.objects:
        raise DataError("there is no object yet; click on one first")
    chosen = list(dict.fromkeys(formats))
    pixels = scene.image.shape[0] * scene.image.shape[1]
    size = sum(estimated_bytes(kind, o, pixels) for kind in chosen for o in scene.objects)
    held = sum(o.box_area for o in scene.objects) if set(chosen) & set(LABELS) else 0
    if len(scene.objects) * len(chosen) * pixels > WORK or size > limits.export_bytes or held > WINDOWS:
        raise Refusal("this is too much at once; export fewer objects or formats at a time", 413)
    files = (file for kind in chosen for file in FORMATS[kind](scene))
    alone = chosen[0] in ALONE or (chosen[0] in ("masks", "cutouts") and len(scene.objects) == 1)
    if len(chosen) == 1 and alone:
        name = ALONE.get(chosen[0], "").format(stem=scene.stem)
        name = name or f"{scene.stem}.{chosen[0].removesuffix('s')}-{scene.names()[0]}.png"
        return name, (file and file[1] for file in files)
    return f"{scene.stem}.zip", zipped(files, limits)


def zipped(files: Files, limits: Limits) -> Iterator[bytes | None]:
    """A ZIP of the files, in chunks. raises: Refusal if it exceeds `Limits.export_bytes`"""
    out, size = _Pieces(), 0
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as archive:
        for file in files:
            if file is not None:
                stored = file[0].endswith((".png", ".jpg"))
                archive.writestr(*file, zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED)
            piece = out.take()
            size += len(piece)
            if size > limits.export_bytes:
                raise Refusal("this is too much at once; export fewer objects or formats at a time", 413)
            yield piece or None
    yield out.take()


class _Pieces(io.RawIOBase):
    """A write-only file that returns the bytes written since the last call; it cannot seek."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._written.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        found, self._written = b"".join(self._written), []
        return found


def slug(text: Any, fallback: str = "") -> str:
    """A part of a file name valid on every system: ASCII letters, digits, ``-`` and ``_``."""
    plain = unicodedata.normalize("NFKD", text if isinstance(text, str) else "").encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_]+", "-", plain).strip("-")[:60] or fallback


def stem_of(file_name: Any) -> str:
    """The name of the photo without folder and suffix."""
    text = file_name if isinstance(file_name, str) else ""
    return slug(re.split(r"[/\\]", text)[-1].rsplit(".", 1)[0], "photo")
