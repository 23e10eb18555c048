"""Packs an image's embedding and the decoder's finer feature maps into one array, and unpacks it.

Code written for ``segment_anything`` keeps one array per image. The pixels of a finer map become channels of the
embedding's cells, so nothing is lost. Works for numpy arrays and torch tensors.
"""

from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

Shape = tuple[int, ...]
Size = tuple[int, int]


def packed_width(width: int, shapes: Iterable[Shape], grid: Size) -> int:
    """Channels of the packed array.

    width: channels of the embedding; shapes: of the maps of one image; grid: (h, w) of the embedding
    """
    return width + sum(prod(shape) for shape in shapes) // prod(grid)


def to_cells(x: Any, grid: Size) -> Any:
    """Pixels of a map as channels: (B, c, k * h, k * w) or (B, h, w, c) -> (B, c * k * k, h, w) for (h, w) ``grid``"""
    (h, w), b = grid, x.shape[0]
    k = _factor(tuple(x.shape[1:]), grid)
    if k is None:
        return x.swapaxes(1, 3).swapaxes(2, 3)
    x = x.reshape(b, -1, h, k, w, k)
    return x.swapaxes(2, 3).swapaxes(4, 5).swapaxes(3, 4).reshape(b, -1, h, w)


def from_cells(x: Any, shape: Shape) -> Any:
    """The inverse of `to_cells`: (B, c * k * k, h, w) -> (B, *shape)"""
    b, grid = x.shape[0], tuple(x.shape[-2:])
    k = _factor(shape, grid)
    if k is None:
        return x.swapaxes(2, 3).swapaxes(1, 3)
    x = x.reshape(b, shape[0], k, k, *grid)
    return x.swapaxes(3, 4).swapaxes(4, 5).swapaxes(2, 3).reshape(b, *shape)


def unpack(x: Any, width: int, shapes: Mapping[str, Shape]) -> tuple[Any, dict[str, Any]]:
    """(B, `packed_width`, h, w) -> the embedding (B, width, h, w) and the maps, each (B, *shape)."""
    grid, maps, start = tuple(x.shape[-2:]), {}, width
    for name, shape in shapes.items():
        end = start + prod(shape) // prod(grid)
        maps[name] = from_cells(x[:, start:end], shape)
        start = end
    return x[:, :width], maps


def _factor(shape: Shape, grid: Size) -> int | None:
    """How many times finer a map is than the embedding; None for a channels-last map."""
    k = shape[-2] // grid[0]
    if k and shape[-2:] == (k * grid[0], k * grid[1]):
        return k
    if shape[:2] != grid:
        raise ValueError(f"a map of {shape} is no multiple of an embedding of {grid}")
    return None
