"""Base class of the readers of annotated images: a sequence of `Sample`, with objects as COCO RLE."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

from ..errors import DataError, ImageError
from ..ops.masks import mask_to_box, mask_to_rle
from ..ops.polygons import polygons_to_rle
from ..ops.run_lengths import Rle
from .photos import read_photo
from .sa1b import PROBLEM, Sample

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp")


class AnnotatedImages(Sequence):
    """Samples of a data set, with random access; only names are kept in memory.

    path: where it was read from; name: its title in reports
    remarks: a sentence for each kind of entry skipped in the whole data set
    """

    path: Path
    remarks: Sequence[str] = ()

    @property
    def name(self) -> str:
        return self.path.stem

    @abstractmethod
    def image_path(self, index: int) -> Path:
        """The file of one image."""

    def stated_size(self, index: int) -> tuple[int, int] | None:
        """(H, W) of one image according to its annotations, or None."""
        return None

    @abstractmethod
    def objects(self, index: int, size: tuple[int, int]) -> list[dict]:
        """The annotations of one image of (H, W): ``segmentation`` as compressed RLE and ``bbox`` XYWH.

        raises: DataError, naming the file, if they do not fit the image
        """

    def __getitem__(self, index: int) -> Sample:
        """raises: DataError, naming the file, if the image or its annotations are damaged"""
        path = self.image_path(index)
        try:
            image = read_photo(path, self.stated_size(index))
        except ImageError as e:
            raise DataError(f"{self.path}: {e}") from e
        return Sample(path.name, image, self.objects(index, image.shape[:2]))


def annotation_of(mask: np.ndarray) -> dict:
    """A mask (H, W) bool as an annotation; an empty mask gets a box with zero area."""
    box = [0, 0, 0, 0]
    if mask.any():
        x0, y0, x1, y1 = mask_to_box(mask).tolist()
        box = [x0, y0, x1 - x0 + 1, y1 - y0 + 1]
    return {"segmentation": mask_to_rle(mask), "bbox": box}


def annotation_of_polygons(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> dict:
    """The union of polygons as an annotation; arguments and errors as in `polygons_to_rle`."""
    return annotation_of_rle(polygons_to_rle(polygons, size))


def annotation_of_rle(rle: Rle) -> dict:
    """Compressed RLE, already checked, as an annotation."""
    return {"segmentation": rle, "bbox": coco_mask.toBbox(rle).tolist()}


def problem(why: str) -> dict:
    """A placeholder for an unusable annotation, with the reason; the image's other objects remain usable."""
    return {"segmentation": None, "bbox": [0, 0, 0, 0], PROBLEM: why}
