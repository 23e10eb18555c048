"""Label maps: a 16-bit PNG for each image; pixels have the number of their object, or 0 for background."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from ..errors import DataError
from ..ops.strips import grey_png
from .images import File, ImageLabels, Labelled, numbered

MOST = 65_535
"""Highest number that fits in 16 bits."""


def labelmap_files(images: Iterable[ImageLabels], *, non_overlapping: bool = False) -> Iterator[File]:
    """NAME.png for each image; exact if masks do not overlap.

    The numbers are the ids of coco.json, from 1, across all images.
    non_overlapping: each pixel goes to the smallest mask that contains it
    raises: DataError if masks overlap, unless ``non_overlapping``, and for more than `MOST` objects
    """
    for image, objects in numbered(images):
        if objects and objects[-1].number > MOST:
            raise DataError(
                f"{image.file_name}: a label map numbers at most {MOST:,} objects, and this is object "
                f"{objects[-1].number:,}; write fewer images at a time, or another format"
            )
        yield f"{image.stem}.png", _png(image, objects, non_overlapping)


def _png(image: ImageLabels, objects: Sequence[Labelled], cover: bool) -> Iterator[bytes]:
    places = [(-o.area, -o.number, o.box[1], o.box[3]) for o in objects]
    order = list(range(len(places)))
    if cover:  # painted last, so on top: the smallest mask; ties: the first
        order.sort(key=places.__getitem__)

    def paint(strip: np.ndarray, top: int) -> None:
        for i in order:
            y0, y1 = places[i][2:]
            if y0 < top + len(strip) and y1 > top:
                _paint(strip, top, objects[i], cover, image.file_name)

    return grey_png(image.size, paint, np.uint16)


def _paint(strip: np.ndarray, top: int, o: Labelled, cover: bool, name: str) -> None:
    """Paint an object that has rows in the strip."""
    x0, y0, x1, y1 = o.box
    low, high = max(y0, top), min(y1, top + len(strip))
    mask = o.window[0][low - y0 : high - y0]
    place = strip[low - top : high - top, x0:x1]
    if not cover and place[mask].any():
        raise DataError(f"{name}: its masks overlap, and a label map has one object per pixel; add --non-overlapping")
    place[mask] = o.number
