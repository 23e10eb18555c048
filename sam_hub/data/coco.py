"""Reader of COCO instance annotations: one JSON for a folder of images (cocodataset.org, "Data format")."""

import os
import re
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..ops.run_lengths import check_rle, compressed
from ..ops.wording import counted
from .annotated import AnnotatedImages, annotation_of_polygons, annotation_of_rle, problem
from .documents import read_json

WHAT = "a COCO annotation file"
KIND = re.compile(r"^(?:instances|person_keypoints|panoptic|captions|stuff|image_info|labels)_")
"""Prefix of annotation file names, before the name of the split: ``instances_train2017.json``."""


class CocoDataset(AnnotatedImages):
    """Images with polygons or RLE.

    Unreadable annotations become a `problem`; the image's other annotations are kept. Crowds (``iscrowd`` 1) are
    regions of many objects; they are skipped and counted in ``remarks``.
    path: the JSON
    images: folder of the images; default: search the JSON's folder and its parent, there also ``images/`` and folders
        named after the JSON, also inside ``images/`` (``annotations/instances_train.json`` -> ``train/``,
        ``images/train/``)
    crowds_as_objects: treat crowds as objects, because some tools mark every mask that is not a polygon as a crowd
    raises: DataError if the JSON is damaged or none of its images exists
    """

    def __init__(self, path: str | Path, images: str | Path | None = None, crowds_as_objects: bool = False) -> None:
        self.path, self.remarks = Path(path), []
        records, annotations = self._parts(read_json(self.path, WHAT))
        places = [Path(images)] if images else self._places()
        self._samples = []
        for record in sorted(records.values(), key=lambda record: record["file_name"]):
            name = record["file_name"]
            names = [name, os.path.basename(name)]
            if "\\" in name:  # written on Windows
                names += [name.replace("\\", "/"), name.rpartition("\\")[2]]
            tried = (os.path.join(d, n) for d in places for n in names)
            found = next(filter(os.path.isfile, tried), os.path.join(places[0], name))
            self._samples.append((Path(found), record, []))
        if not any(os.path.isfile(found) for found, *_ in self._samples):
            where = ", ".join(dict.fromkeys(map(str, places)))
            raise DataError(f"none of the images of {self.path} is in {where}; say where with --images")
        self._hand_out(annotations, crowds_as_objects)

    def _parts(self, document: Any) -> tuple[dict, list]:
        """The images by id, and the annotations; invalid image records are skipped and counted in ``remarks``."""
        images = document.get("images") if isinstance(document, dict) else None
        annotations = document.get("annotations") if isinstance(document, dict) else None
        if not isinstance(images, list) or not isinstance(annotations, list):
            raise DataError(f"{self.path} is not {WHAT} (it has no lists of images and annotations); export it as COCO")
        for record in images:  # LVIS gives URLs: http://images.cocodataset.org/val2017/000000397133.jpg
            if isinstance(record, dict) and "file_name" not in record and _is_name(record.get("coco_url")):
                record["file_name"] = "/".join(record["coco_url"].split("/")[-2:])
        good = [
            r for r in images if isinstance(r, dict) and _key(r.get("id")) is not None and _is_name(r.get("file_name"))
        ]
        if images and not good:
            raise DataError(f"{self.path} is not {WHAT} (no image has an id and a file_name); export it again")
        if len(good) < len(images):
            self.remarks.append(f"{self.path}: {counted(len(images) - len(good), 'image')} without an id or file_name")
        return {_key(record["id"]): record for record in good}, annotations

    def _hand_out(self, annotations: list, crowds_as_objects: bool) -> None:
        by_image = {_key(record["id"]): mine for _, record, mine in self._samples}
        crowds = homeless = 0
        for number, annotation in enumerate(annotations):
            key = _key(annotation.get("image_id")) if isinstance(annotation, dict) else None
            if key not in by_image:
                homeless += 1
            elif annotation.get("iscrowd") and not crowds_as_objects:
                crowds += 1
            else:
                by_image[key].append((number, annotation))
        if homeless:
            which = f"{counted(homeless, 'annotation')} {'belongs' if homeless == 1 else 'belong'}"
            self.remarks.append(f"{self.path}: {which} to none of its images")
        if crowds:
            which = f"{'all ' if crowds == len(annotations) else ''}{counted(crowds, 'crowd')}"
            self.remarks.append(f"{self.path}: {which} (iscrowd 1) left out; take them with --crowds as-objects")

    def _places(self) -> list[Path]:
        beside, stem = self.path.parent, self.path.stem
        part = KIND.sub("", stem)
        names = dict.fromkeys(("", "images", stem, part, f"images/{stem}", f"images/{part}"))
        return [d / name for d in (beside, beside.parent) for name in names]

    def __len__(self) -> int:
        return len(self._samples)

    def image_path(self, index: int) -> Path:
        return self._samples[index][0]

    def records(self, index: int) -> list[dict]:
        """The annotations of one image, unchanged from the file, without skipped crowds."""
        return [annotation for _, annotation in self._samples[index][2]]

    def image_record(self, index: int) -> dict:
        """The file's record of one image, with its ``id``."""
        return self._samples[index][1]

    def stated_size(self, index: int) -> tuple[int, int] | None:
        record = self._samples[index][1]
        size = (record.get("height"), record.get("width"))
        return size if all(isinstance(side, int) for side in size) else None

    def objects(self, index: int, size: tuple[int, int]) -> list[dict]:
        path, _, annotations = self._samples[index]
        return [self._object(annotation, size, path.name, number) for number, annotation in annotations]

    def _object(self, annotation: dict, size: tuple[int, int], name: str, number: int) -> dict:
        """Convert polygons or RLE, compressed or not, to compressed RLE."""
        shape = annotation.get("segmentation")
        try:
            if isinstance(shape, list) and shape:
                shape = [shape] if all(isinstance(v, int | float) for v in shape) else shape  # one unnested polygon
                return {"id": self._id(annotation, number), **annotation_of_polygons(shape, size)}
            if isinstance(shape, dict):
                found = annotation_of_rle(compressed(check_rle(shape, size)))
                return {"id": self._id(annotation, number), **found}
            raise DataError("it has no segmentation")
        except DataError as e:
            shown = self._id(annotation, number)
            return problem(f"{self.path}: annotation {shown} of {name} is left out: {e}")

    @staticmethod
    def _id(annotation: dict, number: int) -> int | str:
        """The annotation's id, or its position in the file if the id is unusable."""
        key = annotation.get("id", number)
        return key if isinstance(key, int | str) else number


def _key(value: Any) -> str | None:
    """An id as text, since tools write 7, 7.0 and "7" for the same image; None if it is not an id."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int | str) else None


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value != ""
