"""Reads photos in the orientation that their annotations use."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from ..ops.images import read_image

BACK = {
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""EXIF orientations that swap width and height -> transposition that restores the stored orientation."""

ORIENTATION = 0x0112


def read_photo(source: Path | bytes, size: tuple[int, int] | None = None) -> np.ndarray:
    """Read a photo as (H, W, 3) uint8 RGB: upright, or as stored if only that matches ``size``.

    Most tools annotate the upright photo, but some annotate the stored one.
    size: (H, W) according to the annotations
    raises: ImageError
    """
    image = read_image(source)
    if size is None or size == image.shape[:2] or size != image.shape[1::-1]:
        return image
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as stored:
        back = BACK.get(stored.getexif().get(ORIENTATION))
    return image if back is None else np.array(Image.fromarray(image).transpose(back))
