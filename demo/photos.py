"""Decodes an untrusted photo to pixels, and discards everything else."""

import base64
import binascii
import io

import numpy as np
from PIL import Image

from ..errors import ImageError
from ..ops.images import read_image
from .limits import MEGABYTE, Limits, Refusal

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""Formats decoded from untrusted files: fewer than `IMAGE_FORMATS`, only those that cameras and browsers write."""


def read_photo(data: bytes, limits: Limits) -> np.ndarray:
    """The bytes of a file -> (H, W, 3) uint8, turned upright. Metadata such as the location is discarded.

    raises: ImageError, or Refusal (413) for what is larger than the limits
    """
    if len(data) > limits.upload_bytes:
        raise too_many_bytes(limits)
    if not data:
        raise ImageError("the photo is empty (0 bytes); choose another file")
    known = [name for name in FORMATS if name in _openers()]
    try:
        image = Image.open(io.BytesIO(data), formats=known)
    except Exception as e:  # Pillow may raise any exception on damaged files
        raise ImageError("this file is not a photo that can be read; use JPEG, PNG, WebP, GIF, BMP or TIFF") from e
    with image:
        if image.width * image.height > limits.pixels:
            raise Refusal(
                f"the photo has {image.width * image.height / 1e6:.0f} million pixels, more than the "
                f"{limits.pixels / 1e6:.0f} million allowed; scale it down",
                413,
            )
        short, long = sorted(image.size)
        if long > limits.side or long > limits.aspect * short:
            raise Refusal(
                f"the photo is {image.width} x {image.height} pixels; crop it to at most {limits.side} on a side and "
                f"{limits.aspect} times as long as wide",
                413,
            )
        try:
            return read_image(image)
        except ImageError as e:
            raise ImageError(str(e).replace("the PIL image", "the photo")) from e


def decode_base64(text: object, limits: Limits) -> bytes:
    """The content of a file from base64, with or without ``data:image/jpeg;base64,`` before it.

    raises: ImageError, Refusal (413)
    """
    if not isinstance(text, str):
        raise ImageError("image must be the content of a photo file in base64, as a text")
    if len(text) > limits.upload_bytes * 4 // 3 + 100:
        raise too_many_bytes(limits)
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as e:
        raise ImageError(
            "image must be the content of a photo file in base64; paths and addresses are not opened"
        ) from e


def too_many_bytes(limits: Limits) -> Refusal:
    return Refusal(f"the photo is larger than {limits.upload_bytes // MEGABYTE} MB; save it smaller", 413)


def _openers() -> dict:
    Image.init()
    return Image.OPEN
