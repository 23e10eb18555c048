"""TIFFs through tifffile: interleaved or planar bands, pages, tiles, strips, BigTIFF."""

import math
import os
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

from ..errors import ImageError
from .raster import Raster, Window, check_layout, quietly

CHANNELS = "CS"
"""Axes of a series that are bands, in tifffile's letters; others, except Y and X, are pages."""

NODATA = "GDAL_NODATA"


class TiffRaster(Raster):
    """A page of a TIFF; only the tiles or strips that a window touches are read and decoded.

    file: a path or a binary file
    page: counted from 0, over all axes but rows, columns and channels (planes, times, plain pages)
    pages_as_bands: treat pages as bands, for a stack of channels that is not declared as one
    raises: ImageError
    """

    def __init__(
        self, file: str | os.PathLike | BinaryIO, name: str, page: int = 0, pages_as_bands: bool = False
    ) -> None:
        import tifffile

        self.name = name
        try:
            with quietly("tifffile"):
                self._tiff = tifffile.TiffFile(file)
                check_layout(name, 0, 0, len(self._tiff.pages))
                self._open(self._tiff.series[0], page, pages_as_bands)
        except ImageError:
            raise
        except Exception as e:  # as in `Raster.read`
            raise ImageError(f"{name} is damaged or cut short ({e}); save or download it again") from e

    def _open(self, series: Any, page: int, pages_as_bands: bool) -> None:
        axes, shape = series.axes, series.shape
        keyframe = series.keyframe
        if "Y" not in axes or "X" not in axes or keyframe.imagedepth > 1:
            raise ImageError(f"{self.name} holds no images (its axes are {axes}); save one plane as a TIFF")
        leading = [a for a in axes if a not in "YX" and (a not in CHANNELS or axes.index(a) < axes.index("Y"))]
        planar = keyframe.planarconfig == 2 and keyframe.samplesperpixel > 1  # samples before rows in one page
        if planar:
            leading = [a for a in leading if a != "S"]
        sizes = dict(zip(axes, shape, strict=True))
        pages = [a for a in leading if pages_as_bands or a not in CHANNELS]
        self.size = sizes["Y"], sizes["X"]
        self.dtype = np.dtype(series.dtype)
        counts = [sizes[a] for a in leading]
        samples = keyframe.samplesperpixel if "S" in axes else 1
        rows, columns = _segment(keyframe, self.size)
        deep = rows * columns * (1 if planar else keyframe.samplesperpixel) * self.dtype.itemsize
        check_layout(self.name, 0 if series.dataoffset is not None else deep, 0, math.prod(counts))
        self.pages = 1 if pages_as_bands else math.prod(sizes[a] for a in pages)
        if not 0 <= page < self.pages:
            raise ImageError(f"{self.name} has {self.pages} pages, 0 to {self.pages - 1}, and no page {page}")
        frames = np.arange(math.prod(counts)).reshape(counts)
        if not pages_as_bands:  # the frames of the page: its channels, in order
            inner = [i for i, a in enumerate(leading) if a in CHANNELS]
            outer = [i for i, a in enumerate(leading) if a not in CHANNELS]
            frames = frames.transpose(*outer, *inner).reshape(self.pages, -1)[page]
        check_layout(self.name, 0, frames.size * samples, 0)
        self._places = [(int(f), s) for f in frames.ravel() for s in range(samples)]
        self.bands = len(self._places)
        self.nodata = _number(keyframe.tags.get(NODATA))
        self._series, self._keyframe, self._samples, self._planar = series, keyframe, samples, planar
        self.orientation = int(getattr(keyframe.tags.get("Orientation"), "value", 1) or 1)
        self.inverted = keyframe.photometric == 0  # white is zero

    @property
    def channels(self) -> bool:
        """Whether there are more bands than samples per pixel, that is, a channel axis."""
        return self.bands > self._samples

    def close(self) -> None:
        self._tiff.close()

    def _read(self, window: Window, bands: Sequence[int]) -> np.ndarray:
        x0, y0, x1, y1 = window
        out = np.zeros((y1 - y0, x1 - x0, len(bands)), self.dtype)
        places = [self._places[b] for b in bands]
        for frame in dict.fromkeys(f for f, _ in places):
            wanted = [(i, s) for i, (f, s) in enumerate(places) if f == frame]
            self._read_frame(frame, window, wanted, out)
        return out

    def _read_frame(self, frame: int, window: Window, wanted: list[tuple[int, int]], out: np.ndarray) -> None:
        """Fill ``out[..., i]`` with sample s of a frame, for each requested (i, s)."""
        x0, y0, x1, y1 = window
        if self._series.dataoffset is not None:  # uncompressed frames, stored contiguously
            values = self._contiguous(frame, y0, y1)
            for i, s in wanted:
                out[..., i] = values[s, :, x0:x1] if self._planar else values[:, x0:x1, s]
            return
        page = self._series.pages[frame]
        if page is None:
            raise ImageError(f"{self.name}: page {frame} is missing; save the file again")
        key = self._keyframe
        rows, columns = _segment(key, self.size)
        down, across = math.ceil(self.size[0] / rows), math.ceil(self.size[1] / columns)
        planes = sorted({s for _, s in wanted}) if self._planar else [0]
        handle = self._tiff.filehandle
        for plane in planes:
            for ty in range(y0 // rows, (y1 - 1) // rows + 1):
                for tx in range(x0 // columns, (x1 - 1) // columns + 1):
                    index = (plane * down + ty) * across + tx
                    count = page.databytecounts[index]
                    if count == 0:  # sparse file: this segment was never written
                        continue
                    handle.seek(page.dataoffsets[index])
                    data = handle.read(count)
                    if len(data) < count:
                        raise ImageError(f"{self.name} ends early; save or download it again")
                    tables = key.jpegtables
                    segment = key.decode(data, index, **({"jpegtables": tables} if tables else {}))[0]
                    if segment is None:
                        continue
                    left, top = tx * columns, ty * rows
                    part = segment[0, : self.size[0] - top, : self.size[1] - left]
                    low, high = max(y0, top), min(y1, top + part.shape[0])
                    start, end = max(x0, left), min(x1, left + part.shape[1])
                    if low >= high or start >= end:
                        continue
                    cut = part[low - top : high - top, start - left : end - left]
                    for i, s in wanted:
                        if not self._planar or s == plane:
                            out[low - y0 : high - y0, start - x0 : end - x0, i] = cut[..., 0 if self._planar else s]

    def _contiguous(self, frame: int, y0: int, y1: int) -> np.ndarray:
        """Rows of a frame: (rows, W, S), or (S, rows, W) of a planar one."""
        height, width = self.size
        samples = self._samples
        stored = np.dtype(self.dtype).newbyteorder(self._tiff.byteorder)
        start = self._series.dataoffset + frame * height * width * samples * stored.itemsize
        handle = self._tiff.filehandle

        def rows_at(row: int, depth: int) -> np.ndarray:
            handle.seek(start + row * width * depth * stored.itemsize)
            count = (y1 - y0) * width * depth * stored.itemsize
            data = handle.read(count)
            if len(data) < count:
                raise ImageError(f"{self.name} ends early; save or download it again")
            return np.frombuffer(data, stored).reshape(y1 - y0, width, depth)

        if self._planar:
            return np.stack([rows_at(s * height + y0, 1)[..., 0] for s in range(samples)])
        return rows_at(y0, samples)


def _segment(page: Any, size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of a tile or strip."""
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return min(page.rowsperstrip or size[0], size[0]), size[1]


def _number(tag: Any) -> float | None:
    """Parse GDAL's text of a nodata value."""
    try:
        return float(str(tag.value).strip("\0 ")) if tag is not None else None
    except ValueError:
        return None
