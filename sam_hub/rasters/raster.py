"""`Raster`: the properties of an image file, and access to windows without reading the rest."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ImageError
from ..ops.bounds import LIFT, trusts_size

Window = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels, right and bottom edges exclusive."""


@dataclass(frozen=True)
class Georeference:
    """Georeference of a raster.

    crs: its coordinate reference system, as WKT; authority: its code, such as ("EPSG", "32632"), if it has one
    transform: a, b, c, d, e, f of x = a column + b row + c, y = d column + e row + f, for the corners of pixels
    """

    crs: str
    transform: tuple[float, float, float, float, float, float]
    authority: tuple[str, str] | None = None


SEGMENT = 2**31
"""Maximum bytes of a tile or strip, which is always unpacked as a whole."""

BANDS, PAGES = 65_536, 1_000_000
"""Maximum bands of a page, and pages of a file."""


def check_layout(name: str, segment: int, bands: int, pages: int) -> None:
    """Check the declared sizes of a file. raises: ImageError if they would take too much memory

    segment: bytes of an unpacked tile or strip
    """
    if trusts_size():
        return
    if segment > SEGMENT:
        size = f"{segment / 2**30:,.0f} GB"
        raise ImageError(f"{name} packs {size} into one tile or strip; save it with tiles of 512 pixels, or {LIFT}")
    for what, count, most in (("bands", bands, BANDS), ("pages", pages, PAGES)):
        if count > most:
            raise ImageError(f"{name} has {count:,} {what}, over {most:,}; {LIFT}")


class Raster(ABC):
    """One page of a file, opened.

    name: for messages
    size: (H, W); bands: their number; dtype: of the values; pages: in the file
    nodata: value of pixels without data, or None
    georeference: None if the file has none
    windowed: whether a window is read without the rest of the image
    """

    name: str
    size: tuple[int, int]
    bands: int
    dtype: np.dtype
    pages: int = 1
    nodata: float | None = None
    georeference: Georeference | None = None
    windowed: bool = True

    def __enter__(self) -> "Raster":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    def read(self, window: Window | None = None, bands: Sequence[int] | None = None) -> np.ndarray:
        """Values of a window, the whole raster by default.

        bands: counted from 0; all by default
        returns: (h, w, bands) of `dtype`
        raises: ImageError if the file is damaged there, or has no such band or window
        """
        height, width = self.size
        x0, y0, x1, y1 = window or (0, 0, width, height)
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise ImageError(f"{self.name} is {width} x {height} pixels and has no window {x0}, {y0}, {x1}, {y1}")
        chosen = check_bands(range(self.bands) if bands is None else bands, self.bands, self.name)
        try:
            with quietly("tifffile"), quietly("rasterio._env"):
                return self._read((x0, y0, x1, y1), chosen)
        except ImageError:
            raise
        except MemoryError as e:
            raise ImageError(f"{self.name} does not fit into memory; read it by tiles") from e
        except Exception as e:  # decoders may raise any exception on damaged files
            raise ImageError(f"{self.name} is damaged or cut short ({_first(e)}); save or download it again") from e

    def valid(self, values: np.ndarray) -> np.ndarray:
        """Which pixels of ``values`` (h, w, n), as `read` gave them, hold data: (h, w) bool."""
        wrong = np.zeros(values.shape[:2], bool)
        if values.dtype.kind == "f":
            wrong |= ~np.isfinite(values).all(axis=2)
        if self.nodata is not None:
            wrong |= (values == self.nodata).all(axis=2)
        return ~wrong

    @abstractmethod
    def _read(self, window: Window, bands: Sequence[int]) -> np.ndarray: ...


@contextmanager
def quietly(library: str) -> Iterator[None]:
    """Suppress a library's log about a damaged file; the error reports it."""
    logger = logging.getLogger(library)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def check_bands(bands: Sequence[int], count: int, name: str) -> tuple[int, ...]:
    """Bands as whole numbers from 0. raises: ImageError if there are none, or if one does not exist"""
    chosen = tuple(bands)
    if not chosen or not all(isinstance(b, int | np.integer) and not isinstance(b, bool) for b in chosen):
        raise ImageError(f"bands are whole numbers, counted from 0; got {bands!r}")
    if wrong := [b for b in chosen if not 0 <= b < count]:
        held = "one band, 0," if count == 1 else f"{count} bands, 0 to {count - 1},"
        raise ImageError(f"{name} has {held} and no band {wrong[0]}")
    return tuple(map(int, chosen))


def _first(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
