"""Exports accepted masks: a folder for trainers and other tools, with links to the photos."""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from ..errors import OutputError
from ..labels.formats import FORMATS as LABEL_FORMATS
from ..labels.formats import check_format
from ..labels.images import ImageLabels
from ..labels.writing import write_labels
from ..ops.files import make_folder, whole_folder, write_atomically
from ..ops.run_lengths import rle_area
from ..results import json_bytes, sa1b_document
from .store import PhotoRow, Project, read_object, rle_of


@dataclass(frozen=True)
class Annotated:
    """One photo of the export.

    file_name: unique in the folder; annotations: as in SA-1B, plus ``name, stage, round, annotator``
    """

    photo: PhotoRow
    file_name: str
    annotations: list[dict[str, Any]]

    def document(self) -> dict[str, Any]:
        return sa1b_document(self.file_name, self.photo.size, self.annotations, self.photo.id)


def annotated(project: Project, model_too: bool = True) -> Iterator[Annotated]:
    """Yield photos with accepted masks, in the order in which they were added.

    model_too: include masks made by the model alone
    """
    taken: set[str] = set()
    rows = project.rows("SELECT DISTINCT photo AS id FROM objects WHERE state = 'accepted' ORDER BY photo")
    for row in rows:
        photo = project.photo(row["id"])
        found = [
            m
            for m in project.objects(photo.id)
            if m["state"] == "accepted" and (model_too or m["stage"] in ("assisted", "semi", "import"))
        ]
        if found:
            annotations = [_annotation(m, photo, number) for number, m in enumerate(found, start=1)]
            yield Annotated(photo, _unique(Path(photo.path).name, photo.id, taken), annotations)


def _annotation(row: Any, photo: PhotoRow, number: int) -> dict[str, Any]:
    rle, prompts = rle_of(row, photo.size), read_object(row["prompts"], f"the prompts of a mask in {photo.path}")
    points = prompts.get("points", [])
    return {
        "id": number,
        "segmentation": rle,
        "area": rle_area(rle),
        "bbox": coco_mask.toBbox(rle).tolist(),
        **({"predicted_iou": row["score"]} if row["score"] is not None else {}),
        **({"point_coords": points} if points else {}),
        **({"name": row["name"]} if row["name"] else {}),
        **{key: row[key] for key in ("stage", "round", "annotator")},
    }


def _unique(name: str, number: int, taken: set[str]) -> str:
    if name.lower() in taken:
        stem, suffix = os.path.splitext(name)
        name = f"{stem}-{number}{suffix}"
    taken.add(name.lower())
    return name


def export(project: Project, format: str, out: Path, copy: bool = False, model_too: bool = True) -> tuple[int, int]:
    """Write ``out``, completely or not at all; returns the numbers of photos and masks.

    format: one of `FORMATS`; copy: copy photos instead of linking to them
    raises: OutputError if the folder is not empty or no mask is accepted
    """
    if format not in FORMATS:
        raise OutputError(f"there is no format {format!r}; choose one of {', '.join(FORMATS)}")
    if format != "sa1b":
        check_format(format)
    if os.path.lexists(out) and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out} is not an empty folder; choose another with --out")
    with whole_folder(out) as aside:
        counted = Counted(annotated(project, model_too))
        if format == "sa1b":
            to_sa1b(counted, aside, copy)
        else:
            to_labels(counted, aside, copy, format)
        if not counted.photos:
            raise OutputError(f"{project.folder} has no accepted masks yet; label some photos first")
    return counted.photos, counted.masks


class Counted:
    """Passes photos on and counts them."""

    def __init__(self, items: Iterable[Annotated]) -> None:
        self.items, self.photos, self.masks = items, 0, 0

    def __iter__(self) -> Iterator[Annotated]:
        for one in self.items:
            self.photos += 1
            self.masks += len(one.annotations)
            yield one


def place_photo(one: Annotated, folder: Path, copy: bool) -> None:
    """Link a photo into a folder, or copy it."""
    target = folder / one.file_name
    make_folder(folder)
    if not copy:
        with suppress(OSError, NotImplementedError):  # some systems do not allow links
            target.symlink_to(one.photo.path)
            return
    shutil.copyfile(one.photo.path, target)


def to_sa1b(items: Iterable[Annotated], folder: Path, copy: bool) -> None:
    """NAME.jpg and NAME.json side by side; RLE, so masks are stored exactly."""
    for one in items:
        place_photo(one, folder, copy)
        write_atomically(folder / f"{os.path.splitext(one.file_name)[0]}.json", json_bytes(one.document()))


def to_labels(items: Iterable[Annotated], folder: Path, copy: bool, format: str) -> None:
    """A format of `sam_hub.labels`, with the photos in images/ unless the format places them itself."""

    def images() -> Iterator[ImageLabels]:
        for one in items:
            if format != "yolo":
                place_photo(one, folder / "images", copy)
            path = folder / "images" / one.file_name if format == "labelme" else Path(one.photo.path)
            yield ImageLabels(one.file_name, one.photo.size, one.annotations, path)

    write_labels(images(), folder, format)


FORMATS = ("sa1b", *LABEL_FORMATS)
"""sa1b, coco, labelme, labelstudio and cvat store masks exactly. YOLO's polygons differ by up to a pixel."""
