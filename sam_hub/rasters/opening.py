"""Chooses the library that opens a TIFF."""

import os
from contextlib import suppress
from importlib import util
from typing import BinaryIO

from ..errors import ImageError
from ..ops.packages import require
from .raster import Georeference, Raster

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of a TIFF; the last two are BigTIFF's."""


def is_tiff(file: BinaryIO) -> bool:
    """Whether a seekable file starts like a TIFF; the position is reset to the start."""
    try:
        file.seek(0)
        start = file.read(4)
        file.seek(0)
    except (OSError, ValueError, AttributeError):
        return False
    return start in MAGIC


def open_tiff(file: str | os.PathLike | BinaryIO, name: str, page: int | None = None, bands: int = 0) -> Raster:
    """A page of a TIFF, by default the first, through tifffile, or through rasterio if that is missing or fails.

    file: a path, or a binary file (tifffile only)
    bands: number of bands wanted; if a page has fewer and no page is given, plain pages are treated as bands
    raises: ImageError, also if neither library is installed
    """
    maps = isinstance(file, str | os.PathLike) and not page and util.find_spec("rasterio") is not None
    if not maps or util.find_spec("tifffile") is not None:
        require(f"reading {name}", ["tifffile"], "science", ImageError)
        from .tiff import TiffRaster

        try:
            raster = TiffRaster(file, name, page or 0)
            if page is None and raster.bands < bands and raster.pages > 1:
                raster.close()
                raster = TiffRaster(file, name, pages_as_bands=True)
            return raster
        except ImageError:
            if not maps:
                raise
    from .geotiff import GeoTiffRaster

    return GeoTiffRaster(file, name)


def open_map(path: str | os.PathLike, name: str, page: int | None = None, bands: int = 0) -> Raster:
    """Like `open_tiff`, but through rasterio if it is installed and the image is georeferenced."""
    if not page and util.find_spec("rasterio") is not None:
        from .geotiff import GeoTiffRaster

        with suppress(ImageError):
            raster = GeoTiffRaster(path, name)
            if raster.georeference is not None or util.find_spec("tifffile") is None:
                return raster
            raster.close()
    return open_tiff(path, name, page, bands)


def georeference_of(path: str | os.PathLike) -> Georeference | None:
    """The georeference of an image; None if the file has none, or without rasterio."""
    try:
        with open(path, "rb") as file:
            if not is_tiff(file) or util.find_spec("rasterio") is None:
                return None
        from .geotiff import GeoTiffRaster

        with GeoTiffRaster(path, str(path)) as raster:
            return raster.georeference
    except (OSError, ImageError):
        return None
