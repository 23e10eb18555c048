"""Accepted masks go out: a folder that trainers and other tools read, with links to the photos."""

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from ..errors import OutputError
from ..ops.files import make_folder, write_atomically
from ..ops.run_lengths import rle_area
from ..results import json_bytes, sa1b_document
from .store import PhotoRow, Project, photo_of, rle_of

UNNAMED = "object"


@dataclass(frozen=True)
class Annotated:
    """A photo as it is exported.

    file_name: unique in the folder; annotations: as in SA-1B, with ``name, stage, round, annotator`` beside
    """

    photo: PhotoRow
    file_name: str
    annotations: list[dict[str, Any]]

    def document(self) -> dict[str, Any]:
        return sa1b_document(self.file_name, self.photo.size, self.annotations, self.photo.id)


def annotated(project: Project, model_too: bool = True) -> Iterator[Annotated]:
    """Photos with accepted masks, one at a time, in the order in which they were added.

    model_too: with what the model did alone
    """
    taken: set[str] = set()
    rows = project.rows("SELECT DISTINCT photo AS id FROM objects WHERE state = 'accepted' ORDER BY photo")
    for row in rows:
        photo = photo_of(project.one("SELECT * FROM photos WHERE id = ?", (row["id"],)))
        found = [
            m
            for m in project.objects(photo.id)
            if m["state"] == "accepted" and (model_too or m["stage"] in ("assisted", "semi", "import"))
        ]
        if found:
            annotations = [_annotation(m, photo, number) for number, m in enumerate(found, start=1)]
            yield Annotated(photo, _unique(Path(photo.path).name, photo.id, taken), annotations)


def _annotation(row: Any, photo: PhotoRow, number: int) -> dict[str, Any]:
    rle, prompts = rle_of(row, photo.size), json.loads(row["prompts"])
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
    """Write ``out``, which appears whole or not at all; numbers of photos and masks.

    format: of `FORMATS`; copy: the photos, instead of linking to them
    raises: OutputError for a folder that is not empty, or where nothing is accepted
    """
    if os.path.lexists(out) and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out} is not an empty folder; choose another with --out")
    out = Path(os.path.abspath(out))
    make_folder(out.parent)
    aside = out.parent / f".{secrets.token_hex(8)}.part"
    make_folder(aside)
    try:
        photos, masks = FORMATS[format](annotated(project, model_too), Writer(aside, copy))
        if not photos:
            raise OutputError(f"nothing is accepted in {project.folder} yet; label some photos first")
        os.replace(aside, out)
    except OSError as e:
        if isinstance(e, OutputError):
            raise
        raise OutputError(f"cannot write {out}: {e.strerror or e}; choose another place") from e
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return photos, masks


class Writer:
    """Files of an export. folder: where; copy: the photos"""

    def __init__(self, folder: Path, copy: bool) -> None:
        self.folder, self.copy = folder, copy

    def photo(self, one: Annotated, below: str = "") -> None:
        """A link to a photo, or its copy."""
        target = self.folder / below / one.file_name
        make_folder(target.parent)
        if not self.copy:
            try:
                target.symlink_to(one.photo.path)
                return
            except (OSError, NotImplementedError):  # not allowed on every system
                pass
        shutil.copyfile(one.photo.path, target)

    def text(self, name: str, content: Any) -> None:
        """content: bytes, or an iterable of them"""
        path = self.folder / name
        make_folder(path.parent)
        write_atomically(path, content)


def to_sa1b(items: Iterator[Annotated], writer: Writer) -> tuple[int, int]:
    """NAME.jpg and NAME.json side by side; run lengths, so that masks come back bit by bit."""
    photos = masks = 0
    for one in items:
        writer.photo(one)
        writer.text(f"{os.path.splitext(one.file_name)[0]}.json", json_bytes(one.document()))
        photos, masks = photos + 1, masks + len(one.annotations)
    return photos, masks


def to_coco(items: Iterator[Annotated], writer: Writer) -> tuple[int, int]:
    """annotations.json and images/; run lengths, and a category for each name."""
    images: list[dict[str, Any]] = []
    categories = {UNNAMED: 1}
    count = 0

    def pieces() -> Iterator[bytes]:
        nonlocal count
        yield b'{"annotations": ['
        for one in items:
            writer.photo(one, "images")
            height, width = one.photo.size
            images.append({"id": one.photo.id, "file_name": one.file_name, "width": width, "height": height})
            for record in one.annotations:
                category = categories.setdefault(record.get("name") or UNNAMED, len(categories) + 1)
                place = {"id": count + 1, "image_id": one.photo.id, "category_id": category, "iscrowd": 0}
                yield (b", " if count else b"") + json_bytes({**record, **place}).rstrip()
                count += 1
        named = [{"id": id, "name": name, "supercategory": UNNAMED} for name, id in categories.items()]
        yield b'], "images": ' + json_bytes(images).rstrip() + b', "categories": ' + json_bytes(named).rstrip() + b"}\n"

    writer.text("annotations.json", pieces())
    return len(images), count


FORMATS: dict[str, Callable[[Iterator[Annotated], Writer], tuple[int, int]]] = {"sa1b": to_sa1b, "coco": to_coco}
