"""COCO and LVIS annotations with categories, for the detection tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data.coco import CocoDataset
from ..data.documents import read_json
from ..errors import DataError
from ..ops.polygons import polygons_to_rle
from ..ops.run_lengths import check_rle, compressed

FREQUENCIES = {"f": "frequent", "c": "common", "r": "rare"}


class AnnotatedCoco:
    """The evaluated images of a JSON, with their annotations, including crowds.

    path: a COCO or LVIS JSON; images: folder of its photos; default: as in `CocoDataset`
    limit, seed: number of images to draw at random; default: all
    raises: DataError for other files, for an LVIS JSON without the categories checked in each image, and if no photo
    exists
    """

    def __init__(self, path: Path, images: str | None = None, limit: int | None = None, seed: int = 0) -> None:
        self.path = path
        if path.is_dir():
            found = [p for p in sorted(path.glob("*.json")) if p.is_file()]
            if len(found) != 1:
                raise DataError(f"{path} is a folder; give the COCO or LVIS .json itself")
            self.path = path = found[0]
        self.photos = CocoDataset(path, images, crowds_as_objects=True)
        document = read_json(path, "a COCO annotation file")
        self.categories = self._categories(document.get("categories"))
        self.is_lvis = any("frequency" in c for c in self.categories)
        order = np.random.default_rng(seed).permutation(len(self.photos))
        chosen = [i for i in order.tolist() if self.photos.image_path(i).is_file()]
        self.indices = sorted(chosen[:limit])
        self.records = {str(self.photos.image_record(i)["id"]): i for i in self.indices}
        self.known = {str(record["id"]) for record in document["images"] if isinstance(record, dict) and "id" in record}
        if self.is_lvis:
            self._check_lvis()

    def _categories(self, categories: Any) -> list[dict]:
        good = isinstance(categories, list) and all(isinstance(c, dict) and "id" in c for c in categories)
        if not categories or not good:
            raise DataError(f"{self.path} has no categories; give annotations with categories")
        return categories

    def _check_lvis(self) -> None:
        for index in self.indices:
            record = self.photos.image_record(index)
            for key in ("neg_category_ids", "not_exhaustive_category_ids"):
                if not isinstance(record.get(key), list):
                    raise DataError(
                        f"{self.path} has frequencies as LVIS, but image {record['id']} has no {key}; give the file as "
                        "LVIS publishes it"
                    )

    def ids(self) -> list[str]:
        """Ids of the evaluated images, as text."""
        return list(self.records)

    def image(self, key: str) -> np.ndarray:
        """The photo, (H, W, 3) uint8. raises: DataError"""
        return self.photos[self.records[key]].image

    def annotations(self, key: str, size: tuple[int, int]) -> list[dict]:
        """COCO annotations of one image, with compressed RLE.

        raises: DataError if one is damaged or has another size, since the image's score would be wrong without it
        """
        found = []
        for number, record in enumerate(self.photos.records(self.records[key])):
            shape = record.get("segmentation")
            try:
                if isinstance(shape, list) and shape:
                    rle = polygons_to_rle(shape, size)
                else:
                    rle = compressed(check_rle(shape, size))
                x, y, w, h = map(float, record["bbox"])
                area = float(record.get("area") or 0)
                own = int(record["id"])
            except (DataError, KeyError, TypeError, ValueError, OverflowError) as e:
                why = f"it has no {e}" if isinstance(e, KeyError) else str(e)
                raise DataError(f"{self.path.name}: annotation {number} of image {key} is damaged ({why})") from e
            crowd, category = int(bool(record.get("iscrowd"))), record.get("category_id")
            found.append(
                {"id": own, "image_id": key, "category_id": category, "segmentation": rle, "bbox": [x, y, w, h],
                 "area": area, "iscrowd": crowd}
            )  # fmt: skip
        return found

    def document(self, annotations: Sequence[dict]) -> dict[str, Any]:
        """A COCO document of the evaluated images, with integer ids, and the given ``annotations``."""
        numbers = {key: k for k, key in enumerate(self.records, start=1)}
        images = []
        for key, index in self.records.items():
            record = self.photos.image_record(index)
            images.append({**record, "id": numbers[key]})
        records = [{**a, "id": k, "image_id": numbers[a["image_id"]]} for k, a in enumerate(annotations, start=1)]
        return {"images": images, "annotations": records, "categories": self.categories}
