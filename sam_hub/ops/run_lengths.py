"""Checked run lengths of masks: all input goes through `rle_counts` before pycocotools sees it.

COCO's run lengths go column by column and start with the number of zeros. ``counts`` is a list of int (uncompressed),
or a str or bytes (compressed): 5 bits per character, and from the fourth on, each count is stored as the difference
from the one two before it (pycocotools, ``maskApi.c``, rleFrString).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from ..errors import DataError
from .images import LIFTED, pixel_limit

Rle = dict[str, Any]
"""``{"size": [h, w], "counts": ...}``: counts are a str (compressed) or a list of int (uncompressed)."""

BLOCK = 1 << 18
"""Characters unpacked at a time; each takes some forty bytes of memory meanwhile."""

COUNT_LENGTH = 7
"""Characters of the longest compressed count: 35 bits hold any difference of two 32-bit counts, and sums of as many
counts as fit in memory stay within 64 bits.
"""


def rle_counts(rle: Rle, size: Sequence[int] | None = None) -> np.ndarray:
    """Run lengths of either form as (K,) int64, zeros first, none negative, with a sum of height x width.

    size: (H, W) that they must have, for callers who know the image; by default any of at most `pixel_limit` pixels
    raises: DataError if they have another size or are damaged, before memory is allocated for the size they claim
    """
    if not isinstance(rle, dict):
        raise DataError("the mask is not run lengths; expected {'size': [h, w], 'counts': ...}")
    known = size is not None and rle.get("size") in (list(size), tuple(size))
    height, width = _size(rle.get("size"), LIFTED if known else pixel_limit())
    if size is not None and (height, width) != tuple(size):
        raise DataError(f"the mask is of an image of {width} x {height} pixels, not {size[1]} x {size[0]}")
    total, counts = height * width, rle.get("counts")
    most = 2 * total + 2  # empty runs between full ones, and at either end
    if isinstance(counts, str | bytes):
        found = _decompressed(counts, most)
    elif isinstance(counts, list | tuple):
        found = _whole_numbers(counts, most)
    else:
        raise _damaged("the counts are neither text nor a list")
    if not len(found):
        raise _damaged("there are no counts")
    if (found < 0).any():
        raise _damaged("some are negative")
    if (found > total).any() or found.sum() != total:
        raise _damaged("they do not cover the image")
    return found


def check_rle(rle: Rle, size: Sequence[int] | None = None) -> Rle:
    """The same run lengths in pycocotools' form; arguments and errors as for `rle_counts`."""
    counts = rle_counts(rle, size)
    height, width = rle["size"]
    text = rle["counts"]
    text = text.decode("ascii") if isinstance(text, bytes) else text
    return {"size": [int(height), int(width)], "counts": text if isinstance(text, str) else counts.tolist()}


def compress_rle(rle: Rle) -> Rle:
    """Counts of either form -> COCO's compressed str. raises: DataError as `rle_counts`"""
    return compressed(check_rle(rle))


def compressed(rle: Rle) -> Rle:
    """As `compress_rle`, for run lengths that were just made or checked."""
    if isinstance(rle["counts"], str):
        return rle
    packed = coco_mask.frPyObjects(rle, *rle["size"])  # a list or an array
    return {"size": list(rle["size"]), "counts": packed["counts"].decode("ascii")}


def rle_to_mask(rle: Rle, size: Sequence[int] | None = None) -> np.ndarray:
    """Run lengths of either form -> (H, W) bool; arguments and errors as for `rle_counts`."""
    counts = rle_counts(rle, size)
    height, width = rle["size"]
    ones = np.arange(len(counts)) % 2 == 1
    return np.repeat(ones, counts).reshape(width, height).T


def rle_area(rle: Rle, size: Sequence[int] | None = None) -> int:
    """Number of pixels in the mask; arguments and errors as for `rle_counts`."""
    return int(rle_counts(rle, size)[1::2].sum())


def _size(size: Any, limit: int) -> tuple[int, int]:
    if not (
        isinstance(size, list | tuple)
        and len(size) == 2
        and all(isinstance(s, int | np.integer) and s >= 0 for s in size)
    ):
        raise _damaged("their size is not [height, width]")
    if size[0] * size[1] > limit or max(size) > limit:
        raise _damaged(f"their size is over {limit // 1_000_000} million pixels")
    return int(size[0]), int(size[1])


def _whole_numbers(counts: Sequence[Any], most: int) -> np.ndarray:
    """Uncompressed counts as int64; whole numbers stored as floats are accepted, as some tools write them."""
    if len(counts) > most:
        raise _damaged("there are more than pixels")
    kinds = set(map(type, counts))
    if not all(issubclass(kind, int | float | np.integer) and kind is not bool for kind in kinds):
        raise _damaged("the counts are not whole numbers")
    try:
        if float in kinds and not all(float(c).is_integer() for c in counts):
            raise _damaged("the counts are not whole numbers")
        return np.array(list(map(int, counts)) if float in kinds else counts, np.int64)
    except OverflowError as e:
        raise _damaged("a count is beyond 64 bits") from e


def _decompressed(text: str | bytes, most: int) -> np.ndarray:
    if len(text) > most * COUNT_LENGTH:
        raise _damaged("there are more than pixels")
    try:
        codes = np.frombuffer(text.encode("ascii") if isinstance(text, str) else text, np.uint8)
    except UnicodeEncodeError as e:
        raise _damaged("a character is not one of run lengths") from e
    if ((codes < 48) | (codes > 111)).any():
        raise _damaged("a character is not one of run lengths")
    if not len(codes):
        return np.empty(0, np.int64)
    counts = np.concatenate([_unpacked(block) for block in _blocks(codes)])
    if len(counts) > most:
        raise _damaged("there are more than pixels")
    for start in (1, 2):
        counts[start::2] = counts[start::2].cumsum()
    return counts


def _blocks(codes: np.ndarray) -> Iterator[np.ndarray]:
    """Characters in parts of about `BLOCK`, cut where a count ends."""
    start = 0
    while start < len(codes):
        end = start + BLOCK
        if end < len(codes):
            end += 1 + int((codes[end : end + COUNT_LENGTH] < 80).argmax())
        yield codes[start:end]
        start = end


def _unpacked(codes: np.ndarray) -> np.ndarray:
    """Decode characters to numbers."""
    codes = codes.astype(np.int64) - 48
    last = codes & 32 == 0  # of the characters of a count
    if not last[-1]:
        raise _damaged("the last count is cut short")
    first = np.flatnonzero(np.r_[True, last[:-1]])
    lengths = np.diff(np.r_[first, len(codes)])
    if lengths.max() > COUNT_LENGTH:
        raise _damaged("a count is too long")
    place = 5 * (np.arange(len(codes)) - np.repeat(first, lengths))
    negative = last & (codes & 16 > 0)
    return np.add.reduceat(((codes & 31) << place) - (negative * 32 << place), first)


def _damaged(why: str) -> DataError:
    return DataError(f"the mask has damaged run lengths ({why}); re-export the annotations")
