"""What every reader of annotated images has in common: a sequence of `Sample`, objects as COCO run lengths."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

from ..errors import DataError, ImageError
from ..ops.images import read_image
from ..ops.masks import mask_to_box, mask_to_rle
from .sa1b import Sample

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp")

PROBLEM = "problem"
"""Key of an annotation that is damaged, with a sentence; the other objects of its image are good."""


class AnnotatedImages(Sequence):
    """Samples of a data set, read at random; nothing is held in memory but names.

    path: where it was read from; name: its title in reports
    """

    path: Path

    @property
    def name(self) -> str:
        return self.path.stem

    @abstractmethod
    def image_path(self, index: int) -> Path:
        """The file of one image."""

    @abstractmethod
    def objects(self, index: int, size: tuple[int, int]) -> list[dict]:
        """The annotations of one image of (H, W): ``segmentation`` as compressed RLE and ``bbox`` XYWH.

        raises: DataError, naming the file, when they do not fit the image
        """

    def __getitem__(self, index: int) -> Sample:
        """raises: DataError, naming the file, when the image or its annotations are damaged"""
        path = self.image_path(index)
        try:
            image = read_image(path)
        except ImageError as e:
            raise DataError(f"{self.path}: {e}") from e
        return Sample(path.name, image, self.objects(index, image.shape[:2]))


def annotation_of(mask: np.ndarray) -> dict:
    """A mask (H, W) bool as an annotation; an empty one has a box of no area."""
    box = [0, 0, 0, 0]
    if mask.any():
        x0, y0, x1, y1 = mask_to_box(mask).tolist()
        box = [x0, y0, x1 - x0 + 1, y1 - y0 + 1]
    return {"segmentation": mask_to_rle(mask), "bbox": box}


def annotation_of_polygons(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> dict:
    """The union of polygons, each x0, y0, x1, y1, ... in pixels of an image of (H, W), as an annotation.

    Filled as COCO does (pycocotools).
    """
    rle = coco_mask.merge(coco_mask.frPyObjects([list(map(float, p)) for p in polygons], *size))
    return {
        "segmentation": {"size": list(size), "counts": rle["counts"].decode()},
        "bbox": coco_mask.toBbox(rle).tolist(),
    }
