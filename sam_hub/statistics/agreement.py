"""Agreement of two annotations of the same images: the paper's measure of mask quality (section 5).

Annotators corrected 50 k automatic masks; 94 % of the pairs had an IoU above 0.90, and 97 % above 0.75.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from ..errors import DataError
from ..ops.run_lengths import check_rle, compressed
from .sources import ImageMasks, find_sources, read_images

GOOD, FAIR = 0.90, 0.75


def agreement(data: Iterable[Path], corrected: Path) -> dict[str, Any]:
    """Compare pairs of masks in the same image: those with the same id, or else those that overlap most.

    data: the annotations that were corrected; their images are found by name
    returns: ``pairs``, ``iou_above_90`` and ``iou_above_75`` as shares, a histogram of 20 bins, and the masks of either
        side without a partner
    raises: DataError if no image is in both
    """
    theirs = {image.name: image for image in _all(corrected)}
    histogram = np.zeros(20, np.int64)
    pairs = good = fair = images = alone = added = 0
    for path in data:
        for image in _all(path):
            other = theirs.get(image.name)
            if other is None:
                continue
            images += 1
            ious = paired(image, other)
            pairs, good, fair = pairs + len(ious), good + int((ious > GOOD).sum()), fair + int((ious > FAIR).sum())
            histogram += np.histogram(ious, 20, (0, 1))[0]
            alone, added = alone + len(image.masks) - len(ious), added + len(other.masks) - len(ious)
    if not images:
        raise DataError(f"no image of the data is in {corrected}; the names of images must be the same in both")
    return {
        "images": images,
        "pairs": pairs,
        "iou_above_90": good / pairs if pairs else None,
        "iou_above_75": fair / pairs if pairs else None,
        "histogram": histogram.tolist(),
        "without_partner": alone,
        "added": added,
    }


def _all(path: Path) -> Iterator[ImageMasks]:
    for source in find_sources(path):
        yield from read_images(source)


def paired(image: ImageMasks, other: ImageMasks) -> np.ndarray:
    """IoU of each pair, (K,). raises: DataError if masks are damaged, or their images differ in size"""
    if image.size and other.size and tuple(image.size) != tuple(other.size):
        here, there = (f"{one.size[1]} x {one.size[0]}" for one in (image, other))
        raise DataError(
            f"{image.name} is {here} in one data set and {there} in the other; give annotations of the same images"
        )
    mine, theirs = ([compressed(check_rle(rle, one.size)) for rle in one.masks] for one in (image, other))
    if not mine or not theirs:
        return np.empty(0)
    if len(set(image.ids)) == len(mine) and set(image.ids) & set(other.ids):
        place = {key: k for k, key in enumerate(other.ids)}
        both = [(k, place[key]) for k, key in enumerate(image.ids) if key in place]
        return np.array([coco_mask.iou([mine[a]], [theirs[b]], [0])[0, 0] for a, b in both])
    from scipy.optimize import linear_sum_assignment

    ious = coco_mask.iou(mine, theirs, [0] * len(theirs))
    rows, columns = linear_sum_assignment(ious, maximize=True)
    found = ious[rows, columns]
    return found[found > 0]
