"""The photo of an annotation, turned as the annotation has it."""

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
"""EXIF orientations that swap width and height, and what undoes them."""

ORIENTATION = 0x0112


def read_photo(source: Path | bytes, size: tuple[int, int] | None = None) -> np.ndarray:
    """(H, W, 3) uint8 RGB, upright as a viewer shows it; or as it is stored, where only that has the stated size.

    Most programs write annotations of the upright photo, some of the stored one.
    size: (H, W) that the annotations state
    raises: ImageError
    """
    image = read_image(source)
    if size is None or size == image.shape[:2] or size != image.shape[1::-1]:
        return image
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as stored:
        back = BACK.get(stored.getexif().get(ORIENTATION))
    return image if back is None else np.array(Image.fromarray(image).transpose(back))
