"""Shapes from run lengths, against pycocotools and the pixels."""

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from sam_hub.errors import DataError
from sam_hub.ops.masks import mask_to_rle, mask_to_uncompressed_rle
from sam_hub.statistics.shapes import measure_shapes


def masks(seed: int) -> list[np.ndarray]:
    """Of several sizes: noise, blobs, empty, full, single pixels, with runs over several columns."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(12):
        size = tuple(rng.integers(1, 40, 2).tolist())
        found.append(rng.random(size) < rng.choice([0.05, 0.5, 0.95]))
        found.append(cv2.GaussianBlur(rng.normal(size=size), (0, 0), 3) > 0)
    one = np.zeros((7, 9), bool)
    one[6, 8] = True
    return [*found, np.zeros((5, 4), bool), np.ones((5, 4), bool), one, ~one]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("packed", [True, False])
def test_shapes_are_those_of_pycocotools_and_of_the_pixels(seed, packed):
    drawn = masks(seed)
    rles = [(mask_to_rle if packed else mask_to_uncompressed_rle)(m) for m in drawn]
    shapes = measure_shapes(rles, [m.shape for m in drawn])
    theirs = [coco_mask.encode(np.asfortranarray(m.astype(np.uint8))) for m in drawn]
    assert shapes.area.tolist() == coco_mask.area(theirs).tolist()
    for k, mask in enumerate(drawn):
        y, x = np.nonzero(mask)
        if not len(y):
            continue
        assert shapes.box[k].tolist() == [x.min(), y.min(), x.max(), y.max()]
        assert shapes.center[k] == pytest.approx([x.mean(), y.mean()])
        corners = np.concatenate([np.stack([x + dx, y + dy], 1) for dx in (0, 1) for dy in (0, 1)])
        assert shapes.hull_area(k) == cv2.contourArea(cv2.convexHull(corners.astype(np.int32)))


def test_the_hull_of_known_shapes():
    square, cross = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    square[3:9, 4:11] = True
    cross[9:11, :], cross[:, 9:11] = True, True
    shapes = measure_shapes([mask_to_rle(square), mask_to_rle(cross)], [(20, 20)] * 2)
    assert shapes.hull_area(0) == 42 == shapes.area[0]
    assert shapes.hull_area(1) == 400 - 4 * 9 * 9 / 2


@pytest.mark.parametrize("counts", ["", "1", "P", "\x7f", "zz", "é"])
def test_damaged_run_lengths_are_refused(counts):
    good = mask_to_rle(np.ones((4, 4), bool))
    with pytest.raises(DataError):
        measure_shapes([good, {"size": [4, 4], "counts": counts}], [(4, 4)] * 2)
