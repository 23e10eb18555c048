"""Imports masks that were made or edited in other tools."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from ..data.sa1b import PROBLEM
from ..errors import DataError
from ..ops.files import sha256
from ..ops.run_lengths import Rle, check_rle, compress_rle, rle_area
from .store import MaskVersion, PhotoRow, Project, insert_mask, photo_of, rle_of

SAME, MENDED = 0.95, 0.5
"""Minimum IoU with an object for a mask to count as unchanged (polygons round), and as an edit of it."""


@dataclass
class Imported:
    """photos: number found in the project; new, changed, same, removed: numbers of masks; problems: a sentence for each
    skipped item
    """

    photos: int = 0
    new: int = 0
    changed: int = 0
    same: int = 0
    removed: int = 0
    problems: list[str] = field(default_factory=list)


def import_masks(
    project: Project, dataset: Sequence, annotator: str, replace: bool = False, finish: bool = True
) -> Imported:
    """Import the masks of a data set; photos are matched to the project's by content, else by name.

    dataset: from `sam_hub.data.discovery.open_dataset`
    replace: remove objects of these photos that match no mask
    finish: mark photos that get masks as done
    Each photo is stored completely or not at all; importing the same data set again changes nothing.
    """
    found = Imported(problems=list(getattr(dataset, "remarks", ())))
    for index in range(len(dataset)):
        try:
            photo, annotations = _read(project, dataset, index)
        except DataError as e:
            found.problems.append(str(e))
            continue
        _take(project, photo, annotations, annotator, replace, finish, found)
    return found


def _read(project: Project, dataset: Sequence, index: int) -> tuple[PhotoRow, list[dict[str, Any]]]:
    """raises: DataError if the photo is not in the project, or the masks have another size"""
    sample = None
    try:
        path = Path(dataset.image_path(index))
        name, digest = path.name, sha256(path)
    except (AttributeError, NotImplementedError, OSError):  # in a tar, or the photo is missing
        sample = dataset[index]
        name, digest = Path(sample.name).name, ""
    rows = project.rows("SELECT * FROM photos WHERE sha256 = ?", (digest,)) if digest else []
    if not rows:
        escaped = name.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        rows = project.rows("SELECT * FROM photos WHERE path LIKE ? ESCAPE '\\'", (f"%/{escaped}",))
    same_name = [row for row in rows if Path(row["path"]).name == name]
    rows = same_name if len(same_name) == 1 else rows
    if len(rows) != 1:
        why = "is not in the project; add it with `sam-hub engine init`" if not rows else "is there several times"
        raise DataError(f"{name} {why}")
    photo = photo_of(rows[0])
    annotations = (sample or dataset[index]).annotations
    for annotation in annotations:
        if PROBLEM in annotation:
            raise DataError(f"{annotation[PROBLEM]}; {name} is skipped")
        try:
            check_rle(annotation["segmentation"], photo.size)
        except DataError as e:
            raise DataError(f"{name} is skipped: {e}") from e
    return photo, annotations


def _take(
    project: Project,
    photo: PhotoRow,
    annotations: list[dict[str, Any]],
    annotator: str,
    replace: bool,
    finish: bool,
    found: Imported,
) -> None:
    masks = [compress_rle(a["segmentation"]) for a in annotations]
    kept = [i for i, mask in enumerate(masks) if rle_area(mask)]
    there = [row for row in project.objects(photo.id) if row["state"] == "accepted"]
    pairs = _pairs([masks[i] for i in kept], [rle_of(row, photo.size) for row in there])
    versions, matched = [], set()
    for number, i in enumerate(kept):
        of, iou = pairs[number]
        mask, name = masks[i], str(annotations[i].get("name") or "")
        if of is not None:
            matched.add(of)
        if of is not None and iou >= SAME and name in ("", there[of]["name"]):
            found.same += 1
            continue
        object = there[of]["object"] if of is not None else f"i{_digest(mask)}"
        found.changed, found.new = found.changed + (of is not None), found.new + (of is None)
        name = name or (there[of]["name"] if of is not None else "")
        versions.append(_version(object, "accepted", mask, annotator, name, project))
    if replace:
        for at, row in enumerate(there):
            if at not in matched:
                found.removed += 1
                mask = rle_of(row, photo.size)
                versions.append(_version(row["object"], "removed", mask, annotator, row["name"], project))
    with project.writing() as db:
        for version in versions:
            insert_mask(db, photo, version)
        if finish and kept and photo.state in ("open", "skipped"):
            db.execute("UPDATE photos SET state = 'done', annotator = ? WHERE id = ?", (annotator, photo.id))
    found.photos += 1


def _version(object: str, state: str, mask: Rle, annotator: str, name: str, project: Project) -> MaskVersion:
    request = f"import:{object}:{project.newest_mask()}:{state}"
    return MaskVersion(request, object, state, mask, "import", 0, "", annotator, name=name)


def _digest(mask: Rle) -> str:
    return hashlib.sha256(f"{mask['size']} {mask['counts']}".encode()).hexdigest()[:24]


def _pairs(masks: list[Rle], there: list[Rle]) -> list[tuple[int | None, float]]:
    """Match masks to objects greedily by IoU: for each mask its object (None if it is new) and their IoU."""
    pairs: list[tuple[int | None, float]] = [(None, 0.0)] * len(masks)
    if not masks or not there:
        return pairs
    ious = np.asarray(coco_mask.iou(masks, there, [0] * len(there)))
    while (best := float(ious.max())) >= MENDED:
        row, column = np.unravel_index(int(ious.argmax()), ious.shape)
        pairs[row] = int(column), best
        ious[row], ious[:, column] = -1, -1
    return pairs
