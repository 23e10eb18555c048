"""GeoTIFFs, read with rasterio, including their georeference."""

import os
import warnings
from collections.abc import Sequence

import numpy as np

from ..errors import ImageError
from .raster import Georeference, Raster, Window, check_layout, quietly


class GeoTiffRaster(Raster):
    """The first page of a TIFF. raises: ImageError"""

    def __init__(self, path: str | os.PathLike, name: str) -> None:
        import rasterio
        from rasterio.errors import NotGeoreferencedWarning

        self.name = name
        try:
            with warnings.catch_warnings(), quietly("rasterio._env"):
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                self._data = rasterio.open(path, driver="GTiff")
        except Exception as e:  # of several kinds
            raise ImageError(f"{name} is damaged or not a TIFF ({e}); save or download it again") from e
        data = self._data
        self.size, self.bands, self.pages = (data.height, data.width), data.count, max(1, len(data.subdatasets))
        self.dtype, self.nodata = np.dtype(data.dtypes[0]), data.nodata
        rows, columns = data.block_shapes[0] if data.count else (0, 0)
        together = data.count if data.interleaving is not None and data.interleaving.name == "pixel" else 1
        try:
            check_layout(name, rows * columns * together * self.dtype.itemsize, data.count, self.pages)
        except ImageError:
            data.close()
            raise
        if data.crs is not None and not data.transform.is_identity:
            self.georeference = Georeference(data.crs.to_wkt(), tuple(data.transform)[:6], data.crs.to_authority())

    def close(self) -> None:
        self._data.close()

    def _read(self, window: Window, bands: Sequence[int]) -> np.ndarray:
        from rasterio.windows import Window as Part

        x0, y0, x1, y1 = window
        values = self._data.read([b + 1 for b in bands], window=Part(x0, y0, x1 - x0, y1 - y0))
        return np.ascontiguousarray(values.transpose(1, 2, 0))
