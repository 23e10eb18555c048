"""Selects the bands of an image that a model sees."""

import warnings
from collections.abc import Sequence

from ..errors import ImageBandsWarning, ImageError
from ..rasters.raster import check_bands

Bands = Sequence[int] | None
"""One band (grey) or three (red, green, blue), counted from 0; None for the first three."""


def choose_bands(count: int, bands: Bands, name: str) -> tuple[int, ...]:
    """The one or three bands to use, out of ``count``.

    By default the only band, or the first three; more than four give an `ImageBandsWarning` (a fourth may be
    transparency, which is always dropped). Of two bands the first is used, with the warning.
    raises: ImageError for bands that are not there, or neither one nor three
    """
    if bands is not None:
        chosen = check_bands(bands, count, name)
        if len(chosen) not in (1, 3):
            raise ImageError(f"bands are one (grey) or three (red, green, blue); got {len(chosen)}")
        return chosen
    chosen = (0, 1, 2) if count >= 3 else (0,)
    if count > 4 or count == 2:
        which = "bands 0, 1 and 2 were taken" if count > 4 else "band 0 was taken"
        warnings.warn(
            f"{name} has {count} bands, so {which}; choose others with bands= (--bands in the shell)",
            ImageBandsWarning,
            stacklevel=2,
        )
    return chosen
