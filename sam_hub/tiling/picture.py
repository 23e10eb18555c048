"""An image of any size, read as uint8 RGB windows with a common value range."""

import math
import os
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..errors import ImageError
from ..ops.bands import Bands, choose_bands
from ..ops.images import read_image
from ..ops.value_range import Levels, ValueRange, choose_bounds, scale
from ..rasters.opening import is_tiff, open_map
from ..rasters.raster import Georeference, Raster, Window

SAMPLES, SAMPLE_SIDE = 6, 256
"""Sample for the value range: number of windows along each side, and side of a window in pixels."""


class Picture:
    """An open image file, read by windows: TIFFs from disk; other formats (PNG, JPEG) are decoded completely.

    value_range, bands, page: as for `read_image`; a default or percentile range is computed from a sample spread over
        the whole image, so that it is the same in every window
    size: (H, W); georeference: None if the file has none
    raises: ImageError
    """

    def __init__(
        self,
        path: str | os.PathLike,
        value_range: ValueRange = None,
        bands: Bands = None,
        page: int | None = None,
    ) -> None:
        self.path, self.name = Path(path), str(path)
        self.georeference: Georeference | None = None
        self._raster: Raster | None = None
        self._whole: np.ndarray | None = None
        if self._opens_as_raster(bands, page):
            raster = self._raster
            self.size, self.georeference = raster.size, raster.georeference
            self._bands = choose_bands(raster.bands, bands, self.name)
            self._bounds = self._choose_bounds(value_range)
        else:
            self._whole = read_image(self.path, value_range, bands, page)
            self.size = self._whole.shape[:2]

    def _opens_as_raster(self, bands: Bands, page: int | None) -> bool:
        if not self.path.is_file():
            return False  # `read_image` gives the error message
        with open(self.path, "rb") as file:
            if not is_tiff(file):
                return False
        try:
            raster = open_map(self.path, self.name, page, 1 + max(bands) if bands else 0)
        except ImageError:
            return False
        if getattr(raster, "orientation", 1) != 1:  # rotated: decode completely
            raster.close()
            return False
        self._raster = raster
        return True

    def __enter__(self) -> "Picture":
        return self

    def __exit__(self, *_: Any) -> None:
        if self._raster is not None:
            self._raster.close()

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Read a window: (h, w, 3) uint8 RGB, and (h, w) bool, True for pixels with data. raises: ImageError"""
        if self._whole is not None:
            x0, y0, x1, y1 = window
            part = self._whole[y0:y1, x0:x1]
            return part, np.ones(part.shape[:2], bool)
        values = self._raster.read(window, self._bands)
        valid = self._raster.valid(values)
        if not valid.any():
            return np.zeros((*valid.shape, 3), np.uint8), valid
        if not valid.all():
            values = np.where(valid[..., None], values, values.dtype.type(0))
        levels = scale(values, self._bounds)
        if getattr(self._raster, "inverted", False):
            levels = 255 - levels
        if not valid.all():
            levels[~valid] = 0
        return np.array(np.broadcast_to(levels, (*valid.shape, 3)), order="C").view(Levels), valid

    def thumbnail(self, longest: int, block: int = 2048) -> np.ndarray:
        """The image scaled down to ``longest`` pixels, block by block; unreadable parts are black. (h, w, 3) uint8"""
        height, width = self.size
        ratio = min(1.0, longest / max(height, width))
        out = np.zeros((max(1, round(height * ratio)), max(1, round(width * ratio)), 3), np.uint8)
        rows = np.linspace(0, height, math.ceil(height / block) + 1).astype(int)
        columns = np.linspace(0, width, math.ceil(width / block) + 1).astype(int)
        for y0, y1 in pairwise(rows.tolist()):
            for x0, x1 in pairwise(columns.tolist()):
                with suppress(ImageError):
                    top, bottom, left, right = (round(v * ratio) for v in (y0, y1, x0, x1))
                    bottom, right = min(bottom, out.shape[0]), min(right, out.shape[1])
                    if top < bottom and left < right:
                        part, _ = self.read((x0, y0, x1, y1))
                        size = (right - left, bottom - top)
                        out[top:bottom, left:right] = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
        return out

    def _choose_bounds(self, value_range: ValueRange) -> Any:
        if self._raster.dtype == np.uint8 and value_range in (None, "auto"):
            return None
        height, width = self.size
        found, failed = [], None
        for y in np.linspace(0, max(0, height - SAMPLE_SIDE), SAMPLES).astype(int):
            for x in np.linspace(0, max(0, width - SAMPLE_SIDE), SAMPLES).astype(int):
                window = (int(x), int(y), min(int(x) + SAMPLE_SIDE, width), min(int(y) + SAMPLE_SIDE, height))
                try:
                    values = self._raster.read(window, self._bands)
                except ImageError as e:
                    failed = e
                    continue
                found.append(values[self._raster.valid(values)])
        if not found:
            raise failed
        sample = np.concatenate(found)[:, None]
        if not len(sample):
            return None if self._raster.dtype == np.uint8 else (0.0, 1.0)
        return choose_bounds(sample, value_range, self.name)
