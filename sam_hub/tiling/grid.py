"""Divides an image into overlapping tiles."""

import math
from dataclasses import dataclass

from ..errors import WrongUsage
from ..rasters.raster import Window


@dataclass(frozen=True)
class Grid:
    """Rows and columns of tiles of equal size; the outer ones are flush with the image's borders.

    size: (H, W) of the image; tile: side of a tile in pixels (smaller images have smaller tiles)
    overlap: minimum overlap of neighbours, as a fraction of the side; tiles are spread evenly
    raises: WrongUsage
    """

    size: tuple[int, int]
    tile: int = 1024
    overlap: float = 0.25

    def __post_init__(self) -> None:
        if self.tile < 16:
            raise WrongUsage(f"a tile of {self.tile} pixels is too small; give at least 16, better 1024")
        if not 0 < self.overlap <= 0.5:
            raise WrongUsage(f"tiles cannot overlap by {self.overlap:g} of their side; give more than 0, at most 0.5")

    @property
    def tops(self) -> list[int]:
        return _starts(self.size[0], self.tile, self.overlap)

    @property
    def lefts(self) -> list[int]:
        return _starts(self.size[1], self.tile, self.overlap)

    @property
    def windows(self) -> list[Window]:
        """Windows of all tiles, row by row."""
        height, width = self.size
        return [(x, y, min(x + self.tile, width), min(y + self.tile, height)) for y in self.tops for x in self.lefts]

    @property
    def neighbours(self) -> list[tuple[int, int]]:
        """Pairs of horizontally or vertically adjacent tiles, as indices into `windows`."""
        rows, columns = len(self.tops), len(self.lefts)
        across = [(r * columns + c, r * columns + c + 1) for r in range(rows) for c in range(columns - 1)]
        down = [(r * columns + c, (r + 1) * columns + c) for r in range(rows - 1) for c in range(columns)]
        return across + down


def shared(a: Window, b: Window) -> Window:
    """The intersection of two windows."""
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])


def _starts(length: int, tile: int, overlap: float) -> list[int]:
    if length <= tile:
        return [0]
    common = max(1, math.ceil(tile * overlap))
    count = math.ceil((length - common) / (tile - common))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]
