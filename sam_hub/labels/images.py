"""The input of every format: an image's name, size and objects."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ..errors import DataError
from ..ops.masks import Rle, mask_to_rle, rle_area, rle_to_window
from ..ops.rings import Polygon, mask_to_closed_rings, mask_to_parts
from ..ops.run_lengths import check_rle, compressed
from ..results import CATEGORY

File = tuple[str, bytes | Iterable[bytes]]
"""A path relative to the output folder, with "/", and the content, complete or in chunks."""

FACTS = ("predicted_iou", "stability_score", "point_coords", "point_labels", "input_box", "input_text")
"""Fields of a record that are kept in formats with custom properties."""


@dataclass(frozen=True)
class ImageLabels:
    """An image and its objects.

    file_name: path of the image relative to the common folder, with "/"
    size: (H, W)
    objects: records as `SamAutomaticMaskGenerator.generate` returns them or as in SA-1B: ``segmentation``, (H, W) bool
        or COCO RLE, compressed or not; ``name``, the class; default: "object"
    path: the image's file, for formats that refer to it (labelme) or copy it (yolo)
    name: of the results, without suffix; default: ``file_name`` without its suffix
    georeference: the fields of `sam_hub.rasters.raster.Georeference`, or None
    written: whether the records come from files written by sam-hub; coco.json then takes them unchanged
    """

    file_name: str
    size: tuple[int, int]
    objects: Sequence[Mapping[str, Any]]
    path: Path | None = None
    name: str = ""
    georeference: Mapping[str, Any] | None = None
    written: bool = False

    @classmethod
    def from_document(cls, document: Mapping[str, Any], path: Path | None = None, name: str = "") -> "ImageLabels":
        """From a document made by `sam_hub.results.sa1b_document`, such as masks/NAME.json of `everything`."""
        image = document["image"]
        size = int(image["height"]), int(image["width"])
        place = image.get("georeference")
        return cls(image["file_name"], size, document["annotations"], path, name, place, written=True)

    @property
    def stem(self) -> str:
        """Name of the results: ``name``, or the file name without its suffix."""
        return self.name or str(PurePosixPath(self.file_name).with_suffix(""))


@dataclass(frozen=True)
class Labelled:
    """One numbered object; its geometry is computed on access, which may raise DataError.

    number: from 1 over all images, the id in coco.json
    """

    number: int
    record: Mapping[str, Any]
    image: ImageLabels

    @property
    def name(self) -> str:
        """Name of its class."""
        return str(self.record.get("name") or CATEGORY["name"])

    @property
    def facts(self) -> dict[str, Any]:
        """See `FACTS`."""
        return {key: self.record[key] for key in FACTS if key in self.record}

    @cached_property
    def rle(self) -> Rle:
        """Compressed RLE. raises: DataError if it is damaged or does not fit the image"""
        try:
            return _rle(self.record["segmentation"], self.image.size)
        except DataError as e:
            raise DataError(f"{self.image.file_name}: {e}") from e

    @cached_property
    def window(self) -> tuple[np.ndarray, tuple[int, int]]:
        """See `rle_to_window`."""
        return rle_to_window(self.rle, self.image.size)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1 with exclusive right and bottom edges; all 0 for an empty mask."""
        mask, (x, y) = self.window
        return x, y, x + mask.shape[1], y + mask.shape[0]

    @cached_property
    def area(self) -> int:
        return rle_area(self.rle, self.image.size)

    def parts(self) -> list[Polygon]:
        """See `mask_to_parts`, in pixels of the image."""
        mask, origin = self.window
        return [[ring + np.array(origin, np.int32) for ring in part] for part in mask_to_parts(mask)]

    def rings(self) -> list[np.ndarray]:
        """See `mask_to_closed_rings`, in pixels of the image."""
        mask, origin = self.window
        return [ring + np.array(origin, np.int32) for ring in mask_to_closed_rings(mask)]


class Numbered(Sequence[Labelled]):
    """The objects of an image, created on access and not cached, because their masks could exceed memory."""

    def __init__(self, image: ImageLabels, first: int) -> None:
        self._image, self._first = image, first

    def __len__(self) -> int:
        return len(self._image.objects)

    def __iter__(self) -> Iterator[Labelled]:
        for number, record in enumerate(self._image.objects, start=self._first):
            yield Labelled(number, record, self._image)

    def __getitem__(self, index: Any) -> Any:
        i = range(len(self))[index]
        return Labelled(self._first + i, self._image.objects[i], self._image)


def numbered(images: Iterable[ImageLabels]) -> Iterator[tuple[ImageLabels, Numbered]]:
    """Yield each image with its objects, numbered as in coco.json: from 1, across all images."""
    number = 1
    for image in images:
        yield image, Numbered(image, number)
        number += len(image.objects)


def _rle(segmentation: Any, size: tuple[int, int]) -> Rle:
    if not isinstance(segmentation, np.ndarray):
        if isinstance(segmentation, Mapping) and tuple(segmentation.get("size", ())) != tuple(size):
            raise DataError(f"a mask has the size {segmentation.get('size')}, and the image {list(size)}")
        return compressed(check_rle(segmentation, size))
    if segmentation.shape != tuple(size):
        raise DataError(f"a mask has the shape {segmentation.shape}, and the image {tuple(size)}")
    return mask_to_rle(segmentation.astype(bool))
