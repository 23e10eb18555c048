"""COCO instance annotations (cocodataset.org, "Data format"), as RLE or polygons."""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..results import CATEGORY
from .images import File, ImageLabels, Labelled, numbered


def coco_files(images: Iterable[ImageLabels], *, polygons: bool = False) -> Iterator[File]:
    """coco.json of all images.

    polygons: ``segmentation`` is a list of rings x, y, x, y, ... along pixel edges, which pycocotools fills to exactly
        the mask; holes are joined to their outline by a zero-width cut. Empty masks are skipped
    """
    yield "coco.json", coco_parts(images, polygons)


def coco_parts(
    images: Iterable[ImageLabels], polygons: bool = False, tell: Callable[[ImageLabels], None] | None = None
) -> Iterator[bytes]:
    """A COCO file in chunks, one annotation at a time, with the numbering and layout of `coco_document`.

    tell: called with each finished image
    """
    records: list[dict[str, Any]] = []
    categories: dict[str, int] = {CATEGORY["name"]: CATEGORY["id"]}
    first = True
    yield b'{"annotations": ['
    for image, objects in numbered(images):
        height, width = image.size
        records.append({"id": len(records) + 1, "file_name": image.file_name, "width": width, "height": height})
        for o in objects:
            own = {} if image.written and not polygons else _own(o, polygons)
            if own.get("segmentation") == []:
                continue
            place = {
                "id": o.number,
                "image_id": len(records),
                "category_id": categories.setdefault(o.name, len(categories) + 1),
                "iscrowd": 0,
            }
            yield ("\n" if first else ",\n").encode() + json.dumps({**o.record, **own, **place}).encode("ascii")
            first = False
        if tell is not None:
            tell(image)
    rest = {"images": records, "categories": [{**CATEGORY, "id": i, "name": n} for n, i in categories.items()]}
    yield b"\n],\n" + json.dumps(rest)[1:].encode("ascii") + b"\n"


def _own(o: Labelled, polygons: bool) -> dict[str, Any]:
    """Fields computed from the mask."""
    x0, y0, x1, y1 = o.box
    segmentation: Any = [ring.ravel().tolist() for ring in o.rings()] if polygons else o.rle
    return {"segmentation": segmentation, "area": o.area, "bbox": [x0, y0, x1 - x0, y1 - y0]}
