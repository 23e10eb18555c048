"""Crops of the image for everything mode, and a grid of clicks in each (original: ``utils/amg.py``)."""

import math
from itertools import product

import numpy as np


def point_grid(n_per_side: int) -> np.ndarray:
    """The cell centres of an n x n grid over [0, 1] x [0, 1]: (n * n, 2) float64, x then y, row by row."""
    _check_side(n_per_side)
    offset = 1 / (2 * n_per_side)
    side = np.linspace(offset, 1 - offset, n_per_side)
    return np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)


def _check_side(n: int) -> None:
    if n < 1:
        raise ValueError(f"a grid needs at least 1 point per side; got {n}")


def layer_point_grids(n_per_side: int, n_layers: int, scale_per_layer: int) -> list[np.ndarray]:
    """A grid for the whole image and one for each layer of crops, coarser by ``scale_per_layer`` each time.

    returns: ``n_layers + 1`` arrays as of `point_grid`, of at least one point
    raises: ValueError
    """
    _check_side(n_per_side)
    return [point_grid(max(1, int(n_per_side / scale_per_layer**i))) for i in range(n_layers + 1)]


def crop_boxes(size: tuple[int, int], n_layers: int, overlap_ratio: float) -> tuple[list[list[int]], list[int]]:
    """Boxes of the whole image (layer 0) and of the (2^i)^2 overlapping crops of each layer i.

    size: (h, w) of the image; overlap_ratio: of the image's short side in layer 1, halved in each further layer
    returns: the boxes, XYXY with exclusive right and bottom edges, and the layer of each. Empty crops
        (of images of a few pixels) are omitted.
    """
    height, width = size
    boxes, layers = [[0, 0, width, height]], [0]
    for layer in range(1, n_layers + 1):
        n = 2**layer
        overlap = int(overlap_ratio * min(height, width) * (2 / n))
        crop_w = math.ceil((overlap * (n - 1) + width) / n)
        crop_h = math.ceil((overlap * (n - 1) + height) / n)
        for i, j in product(range(n), range(n)):
            x0, y0 = (crop_w - overlap) * i, (crop_h - overlap) * j
            if x0 < width and y0 < height:
                boxes.append([x0, y0, min(x0 + crop_w, width), min(y0 + crop_h, height)])
                layers.append(layer)
    return boxes, layers
