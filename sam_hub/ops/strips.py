"""Writes grey PNGs in strips, so that memory does not grow with the picture."""

import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np

STRIP = 1 << 22
"""Pixels of a strip."""


def grey_png(
    size: tuple[int, int], paint: Callable[[np.ndarray, int], None], dtype: type = np.uint8
) -> Iterator[bytes]:
    """Yield the bytes of a PNG in pieces.

    size: (H, W); dtype: uint8 or uint16
    paint: called for each strip, with an array (h, W) of zeros to fill and the picture row where it starts
    """
    height, width = size
    bits = 8 * np.dtype(dtype).itemsize
    yield b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    packer = zlib.compressobj(6)
    rows = max(1, STRIP // max(1, width))
    for top in range(0, height, rows):
        strip = np.zeros((min(rows, height - top), width), dtype)
        paint(strip, top)
        lines = np.zeros((len(strip), 1 + width * bits // 8), np.uint8)  # each row starts with its filter, 0
        lines[:, 1:] = strip.astype(np.dtype(dtype).newbyteorder(">")).view(np.uint8).reshape(len(strip), -1)
        yield _chunk(b"IDAT", packer.compress(lines.tobytes()))
    yield _chunk(b"IDAT", packer.flush()) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
