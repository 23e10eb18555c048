"""Reader of COCO instance annotations: one JSON for a folder of images (cocodataset.org, "Data format")."""

import json
from pathlib import Path

from pycocotools import mask as coco_mask

from ..errors import DataError
from ..ops.run_lengths import check_rle, compressed
from .annotated import PROBLEM, AnnotatedImages, annotation_of_polygons


class CocoDataset(AnnotatedImages):
    """Images with their polygons or run lengths; crowds (``iscrowd``) are no objects and are left out.

    An annotation that cannot be read carries its `PROBLEM`; the rest of its image stays.
    path: the JSON
    images: the folder of the images; by default they are sought beside the JSON, in ``images/`` beside it or beside
        its folder, and under the JSON's own name (``annotations/train.json`` -> ``train/``)
    raises: DataError when the JSON is damaged or none of its images is there
    """

    def __init__(self, path: str | Path, images: str | Path | None = None) -> None:
        self.path = Path(path)
        try:
            document = json.loads(self.path.read_text("utf-8"))
            self._images = {image["id"]: image["file_name"] for image in document["images"]}
            by_image: dict = {key: [] for key in self._images}
            for number, annotation in enumerate(document["annotations"]):
                if not annotation.get("iscrowd") and annotation["image_id"] in by_image:
                    by_image[annotation["image_id"]].append((number, annotation))
        except OSError as e:
            raise DataError(f"{self.path} cannot be read ({e.strerror})") from e
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            raise DataError(f"{self.path} is not a COCO annotation file ({type(e).__name__}: {e})") from e
        places = [Path(images)] if images else self._places()
        self._samples = []
        for key, name in sorted(self._images.items(), key=lambda item: str(item[1])):
            found = next((p for d in places for p in (d / name, d / Path(name).name) if p.is_file()), places[0] / name)
            self._samples.append((found, by_image[key]))
        if not any(found.is_file() for found, _ in self._samples):
            tried = ", ".join(dict.fromkeys(map(str, places)))
            raise DataError(f"none of the images of {self.path} is in {tried}; say where with --images")

    def _places(self) -> list[Path]:
        beside = self.path.parent
        names = ("", "images", self.path.stem)
        return [d / name for d in (beside, beside.parent) for name in names]

    def __len__(self) -> int:
        return len(self._samples)

    def image_path(self, index: int) -> Path:
        return self._samples[index][0]

    def objects(self, index: int, size: tuple[int, int]) -> list[dict]:
        path, annotations = self._samples[index]
        return [self._object(annotation, size, path.name, number) for number, annotation in annotations]

    def _object(self, annotation: dict, size: tuple[int, int], name: str, number: int) -> dict:
        """Polygons and uncompressed run lengths as compressed ones."""
        shape = annotation.get("segmentation")
        try:
            if isinstance(shape, list) and shape:
                return annotation_of_polygons(shape, size)
            if isinstance(shape, dict):
                rle = compressed(check_rle(shape, size))
                return {"segmentation": rle, "bbox": coco_mask.toBbox(rle).tolist()}
            raise ValueError("it has no segmentation")
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as e:
            why = f"{self.path}: annotation {annotation.get('id', number)} of {name} is left out: {e}"
            return {"segmentation": None, "bbox": [0, 0, 0, 0], PROBLEM: why}
