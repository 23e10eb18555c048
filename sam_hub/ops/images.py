"""Any image -> uint8 RGB -> the network's input; shared by the processor and the torch-free runtime."""

import io
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import util
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
from PIL import Image, ImageOps

from ..errors import ImageError
from ..installing import how_to_install
from ..rasters.opening import is_tiff
from .bands import Bands, choose_bands
from .geometry import resized_size
from .value_range import Levels, ValueRange, to_uint8

ImageSource = str | os.PathLike | bytes | BinaryIO | Image.Image | np.ndarray
"""Sources that `read_image` accepts."""

MAX_PIXELS = 178_956_970
"""Pixels of the largest image that is decoded: the size at which Pillow, too, refuses files by default. If a program
has raised Pillow's limit, that one applies, see `pixel_limit`.
"""

LIFTED = 2**32 - 1
"""Pixels of the largest image if Pillow's limit is off: the maximum of COCO's run lengths."""

IMAGE_FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "MPO": (".mpo",),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "DIB": (),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif",),
    "JPEG2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "HEIF": (".heic", ".heif"),
}
"""Formats that are decoded: Pillow's name -> suffixes of files. Pillow's other formats run programs (EPS) or do not
hold photos (PDF, HDF5, MPEG).
"""

IMAGE_SUFFIXES = frozenset(suffix for suffixes in IMAGE_FORMATS.values() for suffix in suffixes)
"""Suffixes, in lower case, by which photos are found in folders."""

CHANNELS = re.compile(r'\bchannels=(?!1\b)\d|\bSizeC="(?!1")\d|"axes": "[^"]*C')
"""Patterns in a TIFF's description, as ImageJ, OME or tifffile write it, which mean that pages are channels."""

HELD = 2**28
"""Bytes of the intermediate image of a resize to a square, above which it is done in parts."""

MOST_FIRST = 16
"""The most bands in an array that is channels-first by mistake."""

BACK_TURNS = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}
"""Orientation of a TIFF -> the operation that turns its stored pixels upright."""

BY_WAY_OF = {"P": "RGBA", "PA": "RGBA", "RGBa": "RGBA", "La": "LA"}
"""Modes that need two steps to RGB: Pillow warns about transparent palettes and refuses premultiplied alpha."""


HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1")
"""Brands of HEIC files, in bytes 8 to 12."""


def readable_formats() -> list[str]:
    """The formats of `IMAGE_FORMATS` that this Pillow has; HEIF needs pillow-heif, from the extra ``heic``."""
    Image.init()
    if "HEIF" not in Image.OPEN and util.find_spec("pillow_heif"):
        from pillow_heif import register_heif_opener

        register_heif_opener()
    return [name for name in IMAGE_FORMATS if name in Image.OPEN]  # Pillow raises KeyError for a missing format


def pixel_limit() -> int:
    """Pixels of the largest image that is decoded: `MAX_PIXELS`, or more if ``PIL.Image.MAX_IMAGE_PIXELS`` allows it.

    Pillow refuses images at twice its limit, and none if the limit is None.
    """
    limit = Image.MAX_IMAGE_PIXELS
    return LIFTED if limit is None else max(MAX_PIXELS, 2 * limit)


def read_image(
    source: ImageSource, value_range: ValueRange = None, bands: Bands = None, page: int | None = None
) -> np.ndarray:
    """Any image as (H, W, 3) uint8 RGB, in an array marked as already mapped to grey levels (`Levels`).

    source: one of
        a path or a ``file://`` address, the bytes of a file, or a file object opened for reading bytes
        a PIL image of any mode
        an array (H, W) or (H, W, bands), of integers, floats or bool; of up to four bands RGB or RGBA
    value_range: the values that become black and white, see `sam_hub.ops.value_range.ValueRange`. By default those of
        the data type: 0 ... 255, 0 ... 65535, 0 ... 1; data that does not use its type's range (12 bits in uint16) or
        has none (int16, float 0 ... 4095) is stretched, with an `ImageRangeWarning`
    bands: the one or three to use, counted from 0, for example (3, 2, 1); by default the first three, with an
        `ImageBandsWarning` if there are more than four
    page: of a TIFF, counted from 0; the first by default
    The image is turned by its EXIF orientation (also a PIL image that still has one), so coordinates and sizes are
    those that a viewer shows. Transparency is dropped, not blended, as ``convert("RGB")`` does. Files are read in the
    formats of `IMAGE_FORMATS`; of an animation, the first frame. TIFFs that Pillow does not support, with several bands
    of more than 8 bits, or read by band or page need tifffile or rasterio (the extra ``science`` or ``geo``); their
    no-data pixels, declared in the file or NaN, become black.
    raises: ImageError, with one sentence
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, value_range, bands=bands)
    if isinstance(source, Image.Image):
        return _decode(source, None, "the PIL image", value_range, bands)
    if isinstance(source, bytes | bytearray | memoryview):
        return _open(io.BytesIO(source), "the image in memory", value_range, bands, page)
    if isinstance(source, str | os.PathLike):
        path = _local_path(source)
        name = _shown(path)
        try:
            with _open_file(path, name) as f:
                return _open(f, name, value_range, bands, page, path)
        except ImageError:
            raise
        except FileNotFoundError as e:
            raise ImageError(f"{name} does not exist; check the path of the image") from e
        except IsADirectoryError as e:
            raise ImageError(f"{name} is a folder; give the path of one image") from e
        except (OSError, ValueError) as e:  # ValueError: a NUL byte in the name
            raise ImageError(f"{name} cannot be opened ({getattr(e, 'strerror', None) or e})") from e
    if hasattr(source, "read") and not isinstance(source, io.TextIOBase):
        return _open(source, _shown(getattr(source, "name", "the image file")), value_range, bands, page)
    raise ImageError(
        f"an image cannot be read from a {type(source).__name__}; "
        "give a path, bytes, a binary file, a PIL image or an array"
    )


@contextmanager
def picture_file(path: str | os.PathLike) -> Iterator[Image.Image]:
    """A file of one of `IMAGE_FORMATS` as Pillow opens it: its head is read, its pixels are not yet.

    raises: ImageError for a pipe or a device; else whatever Pillow's readers raise on damaged files
    """
    with _open_file(Path(path), _shown(path)) as file:
        try:
            image = Image.open(file, formats=readable_formats())
        except Image.UnidentifiedImageError as e:  # its sentence names the file object
            raise Image.UnidentifiedImageError("cannot identify its format; convert it to PNG") from e
        with image:
            yield image


def resize_longest_side(image: np.ndarray, longest: int, resample: int = Image.Resampling.BILINEAR) -> np.ndarray:
    """Resize so that the long side is ``longest``: (H, W, 3) uint8 -> (h, w, 3) uint8.

    resample: one of Pillow's filters. The original (``ResizeLongestSide.apply_image``) uses its bilinear filter, which
        averages when shrinking; results of other libraries differ by grey levels.
    """
    height, width = resized_size(image.shape[:2], longest)
    return np.asarray(Image.fromarray(image).resize((width, height), resample))


def stretch(image: np.ndarray, side: int, resample: int = Image.Resampling.BILINEAR) -> np.ndarray:
    """Resize to a square, ignoring the aspect ratio: (H, W, 3) uint8 -> (side, side, 3) uint8, by a Pillow filter."""
    return _stretched(Image.fromarray(image), side, resample)


def stretch_float(image: np.ndarray, side: int) -> np.ndarray:
    """Resize to a square without rounding to grey levels: (H, W, 3) uint8 -> (side, side, 3) float32.

    Bilinear between the nearest pixels, without averaging when shrinking, in the float32 arithmetic of PyTorch's
    ``interpolate``, with which EfficientSAM prepares images.
    """
    (top, bottom, down), (left, right, across) = (_neighbours(length, side) for length in image.shape[:2])
    down, across = down[:, None, None], across[:, None]

    def rows(columns: np.ndarray) -> np.ndarray:
        return image[np.ix_(top, columns)] * (1 - down) + image[np.ix_(bottom, columns)] * down

    return rows(left) * (1 - across) + rows(right) * across


def stretch_smooth(image: np.ndarray, side: int, resample: int = Image.Resampling.BILINEAR) -> np.ndarray:
    """`stretch` without rounding to grey levels: (H, W, 3) uint8 -> (side, side, 3) float32, as SAM 2's authors do it.

    Equals PyTorch's ``interpolate(antialias=True)`` of floats except for rounding.
    """
    channels = (Image.fromarray(np.ascontiguousarray(image[..., i], np.float32)) for i in range(3))
    return np.stack([_stretched(channel, side, resample) for channel in channels], axis=-1)


def _stretched(image: Image.Image, side: int, resample: int) -> np.ndarray:
    """Resize to a square, tall images in parts: Pillow first makes all rows ``side`` wide, then combines them."""
    wide = max(1, HELD // (4 * image.height))
    if wide >= side:
        return np.asarray(image.resize((side, side), resample))
    parts = []
    for left in range(0, side, wide):
        right = min(left + wide, side)
        box = (left * image.width / side, 0, right * image.width / side, image.height)
        parts.append(np.asarray(image.resize((right - left, side), resample, box)))
    return np.concatenate(parts, axis=1)


def _neighbours(length: int, out: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of ``out`` samples: the pixels before and after it, and the weight of the latter (float32)."""
    half = np.float32(0.5)
    at = np.maximum(np.float32(length) / np.float32(out) * (np.arange(out, dtype=np.float32) + half) - half, 0)
    before = np.minimum(at.astype(np.int64), length - 1)
    return before, np.minimum(before + 1, length - 1), at - before.astype(np.float32)


def normalize_and_pad(
    image: np.ndarray,
    mean: Sequence[float],
    std: Sequence[float],
    padded_size: tuple[int, int] | None = None,
    scale: float = 1 / 255,
) -> np.ndarray:
    """(image * scale - mean) / std, and then zeros at the right and the bottom.

    image: (h, w, 3) grey levels, uint8 or float32
    mean, std: per channel, in units of ``scale`` grey levels, as in preprocessor_config.json
    padded_size: (H, W) of the network's input; None: no padding
    returns: (3, H, W) float32
    raises: ImageError if the image is larger than ``padded_size``

    Bit-identical to the original, by the same order of operations (``Sam.preprocess``: on grey levels, in float32).
    """
    height, width = image.shape[:2]
    out_h, out_w = padded_size or (height, width)
    if height > out_h or width > out_w:
        raise ImageError(f"an image of {width} x {height} pixels does not fit an input of {out_w} x {out_h}; resize it")
    levels = [np.asarray(np.asarray(v, np.float64) / scale, np.float32) for v in (mean, std)]
    out = np.zeros((3, out_h, out_w), np.float32)
    out[:, :height, :width] = ((image.astype(np.float32) - levels[0]) / levels[1]).transpose(2, 0, 1)
    return out


def _local_path(source: str | os.PathLike) -> Path:
    """The path in a string: the string itself, or the path of a file:// address."""
    if isinstance(source, str) and "://" in source:
        url = urlsplit(source)
        if url.scheme == "file" and url.netloc in ("", "localhost"):
            return Path(url2pathname(url.path))
        raise ImageError(f"{_shown(source)} is not on this machine; download it first and give the path of the file")
    return Path(os.fsdecode(source))


def _shown(path: object) -> str:
    """A path or name for a one-line message: unchanged, or quoted with escapes if it is not printable."""
    text = str(path)
    return text if text.isprintable() else repr(text)


def _open_file(path: Path, name: str) -> BinaryIO:
    """Open a file; ImageError for a pipe or a device, which might never end."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    kind = os.fstat(handle).st_mode
    if stat.S_ISREG(kind):
        return os.fdopen(handle, "rb")
    os.close(handle)
    if stat.S_ISDIR(kind):
        raise IsADirectoryError
    raise ImageError(f"{name} is not a regular file; save the image to one and give its path")


def _open(
    file: BinaryIO,
    name: str,
    value_range: ValueRange,
    bands: Bands = None,
    page: int | None = None,
    path: Path | None = None,
) -> np.ndarray:
    """Decode an open file; ``name`` is for messages, ``path`` for libraries that open files themselves."""
    tiff = is_tiff(file)
    if tiff and (bands is not None or page is not None):
        return _from_tiff(path or file, name, value_range, bands, page)
    if page:
        raise ImageError(f"{name} has one page; omit the page")
    try:
        image = Image.open(file, formats=readable_formats())
    except Exception as e:  # Pillow's readers raise any exception on damaged files
        if tiff and isinstance(e, Image.UnidentifiedImageError):
            return _from_tiff(path or file, name, value_range, bands, page)
        raise ImageError(_why(e, file, name)) from e
    with image:
        if tiff and _loses(image):
            return _from_tiff(path or file, name, value_range, bands, page)
        return _decode(image, file, name, value_range, bands)


def _loses(image: Image.Image) -> bool:
    """Whether Pillow would lose bit depth or bands of a TIFF and tifffile is installed to keep them."""
    if util.find_spec("tifffile") is None:
        return False
    tags = getattr(image, "tag_v2", {})
    bits, text = tags.get(258, (1,)), str(tags.get(270, ""))
    deep = isinstance(bits, tuple) and len(bits) > 1 and max(bits) > 8
    return deep or bool(CHANNELS.search(text))


def _from_tiff(file: Path | BinaryIO, name: str, value_range: ValueRange, bands: Bands, page: int | None) -> np.ndarray:
    """Read a page of a TIFF with all its bands."""
    if not isinstance(file, Path):
        file.seek(0)  # Pillow may have read a part
    from ..rasters.opening import open_tiff

    with open_tiff(file, name, page, bands=1 + max(bands) if bands else 0) as raster:
        if raster.size[0] * raster.size[1] > pixel_limit():
            raise ImageError(_too_large(name))
        values = raster.read(bands=choose_bands(raster.bands, bands, name))
        levels = to_uint8(values, value_range, name, raster.valid(values))
        if getattr(raster, "inverted", False):
            levels = 255 - levels
        turn = BACK_TURNS.get(getattr(raster, "orientation", 1))
    levels = turn(levels) if turn else levels
    return np.array(np.broadcast_to(levels, (*levels.shape[:2], 3)), order="C")


def _decode(
    image: Image.Image, file: BinaryIO | None, name: str, value_range: ValueRange, bands: Bands = None
) -> np.ndarray:
    """A PIL image of any mode, perhaps not loaded yet, as (H, W, 3) uint8."""
    if image.width * image.height > pixel_limit():
        raise ImageError(_too_large(name))
    if image.width * image.height == 0:
        raise ImageError(f"{name} has no pixels ({image.width} x {image.height}); give another image")
    try:
        image.load()
        image = _upright(image)
        if not image.mode.startswith(("I", "F")):
            image = image.convert(BY_WAY_OF.get(image.mode, "RGB")) if bands is None else _plain(image)
            levels = np.array(image.convert("RGB")) if bands is None else np.array(image)
        else:
            levels = np.asarray(image)
    except Exception as e:  # as in `_open`
        raise ImageError(_why(e, file, name)) from e
    if image.mode == "I" and levels.min() >= 0 and levels.max() <= 65535:  # 16-bit grey of some formats
        levels = levels.astype(np.uint16)
    return _from_array(levels, value_range, name, bands)


def _plain(image: Image.Image) -> Image.Image:
    """Convert palettes and 1-bit images to real bands."""
    return image.convert({"P": "RGB", "PA": "RGBA", "1": "L", "RGBa": "RGBA", "La": "LA"}.get(image.mode, image.mode))


def _upright(image: Image.Image) -> Image.Image:
    """Turn an image by its EXIF orientation; unreadable metadata is ignored."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # Pillow's parsers raise any exception here, too
        return image


def _why(error: Exception, file: BinaryIO | None, name: str) -> str:
    """The reason why an image cannot be decoded, for a message."""
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return _too_large(name)
    try:
        empty = file is not None and file.seek(0, os.SEEK_END) == 0
    except (OSError, ValueError, AttributeError):  # not seekable, or closed
        empty = False
    if empty:
        return f"{name} is empty (0 bytes); save or download the image again"
    if isinstance(error, Image.UnidentifiedImageError):
        if file is not None and _is_heic(file) and "HEIF" not in Image.OPEN:
            return f"{name} is a HEIC photo, which needs pillow-heif: install it with {how_to_install('heic')}"
        return f"{name} is not an image in a format that is read here; convert it to PNG or JPEG"
    return f"{name} is damaged or cut short ({error}); save or download the image again"


def _is_heic(file: BinaryIO) -> bool:
    try:
        file.seek(0)
        head = file.read(12)
    except (OSError, ValueError):  # not seekable, or closed
        return False
    return head[4:8] == b"ftyp" and head[8:12] in HEIC_BRANDS


def _too_large(name: str) -> str:
    return (
        f"{name} has more than {pixel_limit() // 1_000_000} million pixels; scale it down, or read it in parts "
        "(everything --tile, segment --window)"
    )


def _from_array(
    array: np.ndarray, value_range: ValueRange, name: str = "the image array", bands: Bands = None
) -> np.ndarray:
    """Check shape and values, then convert to a new (H, W, 3) uint8 array."""
    shape = array.shape
    if array.ndim == 2:
        array = array[..., None]
    count = array.shape[2] if array.ndim == 3 else 0
    first = array.ndim == 3 and count not in (1, 3, 4) and shape[0] <= MOST_FIRST and shape[0] < min(shape[1:])
    if array.ndim != 3 or first or (count == 2 and bands is None):
        hint = "; move the bands (channels) to the end" if first else ""
        hint = "; choose one with bands=" if count == 2 and not first else hint
        raise ImageError(f"an image array must be (H, W) or (H, W, bands), three of them RGB; got {shape}{hint}")
    if array.size == 0:
        raise ImageError(f"the image array has no pixels: its shape is {shape}")
    chosen = choose_bands(count, bands, name)
    picked = array[..., : len(chosen)] if chosen in ((0,), (0, 1, 2)) else array[..., chosen]
    levels = to_uint8(picked, value_range, name)
    return np.array(np.broadcast_to(levels, (*shape[:2], 3)), order="C").view(Levels)
