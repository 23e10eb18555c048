"""Everything mode tile by tile: `generate_tiled` for an image, and its two steps."""

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import ImageError
from ..inference.amg import SamAutomaticMaskGenerator
from ..ops.bands import Bands
from ..ops.images import LIFTED
from ..ops.masks import rle_to_mask
from ..ops.value_range import ValueRange
from ..rasters.raster import Window
from .grid import Grid
from .merging import merge, separate
from .picture import Picture
from .pieces import Piece

VALID = 0.5
"""Minimum share of a mask's pixels that have data."""


def generate_tiled(
    generator: SamAutomaticMaskGenerator,
    source: str | os.PathLike,
    tile: int = 1024,
    overlap: float = 0.25,
    progress: Callable[[int, int], None] | None = None,
    value_range: ValueRange = None,
    bands: Bands = None,
    page: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Generate all masks of an image that may exceed memory, merging them at tile seams.

    generator: its thresholds apply to tiles; ``min_mask_area`` and ``non_overlapping`` to the whole image
    source: path; TIFFs are read window by window (the extra ``science`` or ``geo``)
    tile: side in pixels; overlap: of neighbouring tiles, as a fraction of the side
    progress: called with the number of finished tiles and the total
    value_range, bands, page: as for `read_image`
    returns: records as from `SamAutomaticMaskGenerator.generate`, in pixels of the image, with ``segmentation`` as
        "coco_rle"; ``crop_box`` encloses the tiles in which a mask was found. Masks exclude pixels without data
    raises: ImageError; WrongUsage for an invalid tile or overlap
    """
    value_range = value_range or getattr(generator.predictor, "value_range", None)
    with Picture(source, value_range, bands, page) as picture:
        grid = Grid(picture.size, tile, overlap)
        check_size(picture.size, picture.name)
        pieces: list[Piece] = []
        for number, window in enumerate(grid.windows):
            pieces += pieces_of_tile(generator, picture, window, number)
            if progress is not None:
                progress(number + 1, len(grid.windows))
    for piece in finish(pieces, grid, generator):
        yield record_of(piece, grid.size)


def check_size(size: tuple[int, int], name: str) -> None:
    """Check that RLE can represent masks of (H, W). raises: ImageError"""
    if size[0] * size[1] > LIFTED:
        raise ImageError(
            f"{name} has more than {LIFTED // 1_000_000} million pixels, which COCO's run lengths cannot count; "
            "cut it into several files"
        )


def pieces_of_tile(generator: SamAutomaticMaskGenerator, picture: Picture, window: Window, number: int) -> list[Piece]:
    """Segment one tile; tiles without data are not encoded. raises: ImageError"""
    pixels, valid = picture.read(window)
    if not valid.any():
        return []
    x0, y0 = window[:2]
    mine = copy.copy(generator)
    mine.output_mode, mine.min_mask_area, mine.non_overlapping = "coco_rle", 0, False
    mine.warns_when_empty = False  # a tile of sky has no masks
    if not valid.all():
        mine.point_grids = [_with_data(points, valid) for points in generator.point_grids]
        if not any(len(points) for points in mine.point_grids):
            return []
    found = []
    for record in mine.generate(pixels):
        mask = rle_to_mask(record["segmentation"])
        if not valid.all():
            before = np.count_nonzero(mask)
            mask &= valid
            if np.count_nonzero(mask) < VALID * before:
                continue
        if not mask.any():
            continue
        cx, cy, cw, ch = record["crop_box"]
        facts = {
            "predicted_iou": record["predicted_iou"],
            "point_coords": [[x + x0, y + y0] for x, y in record["point_coords"]],
            "stability_score": record["stability_score"],
            "crop_box": [cx + x0, cy + y0, cw, ch],
        }
        found.append(Piece.of(mask, (x0, y0), number, facts))
    return found


def finish(pieces: Sequence[Piece], grid: Grid, generator: SamAutomaticMaskGenerator) -> list[Piece]:
    """Merge the pieces of all tiles, and apply the generator's whole-image settings."""
    found = merge(pieces, grid)
    if generator.non_overlapping:
        found = separate(found, grid)
    return [piece for piece in found if piece.area >= generator.min_mask_area]


def record_of(piece: Piece, size: tuple[int, int]) -> dict[str, Any]:
    """A record as from `SamAutomaticMaskGenerator.generate`, with RLE of the (H, W) image."""
    x0, y0, x1, y1 = piece.box
    return {
        "segmentation": piece.rle(size),
        "area": piece.area,
        "bbox": [x0, y0, x1 - x0 - 1, y1 - y0 - 1],
        **piece.facts,
    }


def _with_data(points: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """The clicks (N, 2), in [0, 1], on pixels with data."""
    height, width = valid.shape
    column = np.clip((points[:, 0] * width).astype(int), 0, width - 1)
    row = np.clip((points[:, 1] * height).astype(int), 0, height - 1)
    return points[valid[row, column]]
