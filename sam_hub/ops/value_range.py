"""Any numbers -> 8 bits: which values become black and white."""

import math
import re
import warnings
from collections.abc import Sequence

import numpy as np

from ..errors import ImageError, ImageRangeWarning

ValueRange = str | Sequence[float] | None
"""The values that become 0 and 255; values outside are clipped.

None or "auto": the range of the data type (0 ... 255, 0 ... 65535, 0 ... 1), unless the data says otherwise, see
    `to_uint8`; then a warning tells which range was taken
"type": always the range of the data type
(low, high) or "LOW,HIGH": these values
"LOW%,HIGH%": these percentiles of the image, for example "1%,99%"
"""

AUTO, TYPE = "auto", "type"
DIM = 1 / 4
"""If all values stay below this part of the type's range, such as 14 of 16 bits, the data does not use the range."""
STRAY = 1e-5
"""Share of values, such as hot pixels, ignored in that decision."""
PERCENTILES = 0.1, 99.9
"""Percentiles that become black and white when the default stretches."""
SLACK = 1e-6
"""Tolerance for float32 rounding around 0 and 1."""
SAMPLE = 2**18
"""Pixels sampled for the default's percentiles."""

BOUND = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(%?)\s*")

Bounds = tuple[float, float]


class Levels(np.ndarray):
    """Grey levels, (..., 3) uint8, to which a range has been applied, so that a model's own range is not applied again.

    Slices keep the type; results of arithmetic are ordinary arrays.
    """

    def __array_wrap__(self, array: np.ndarray, context: object = None, return_scalar: bool = False) -> object:
        return array[()] if return_scalar else np.asarray(array)


def range_for(image: object, given: ValueRange, own: ValueRange) -> ValueRange:
    """The range for reading an image: the call's, else the one of the model's processor."""
    if given is not None:
        return given
    return None if isinstance(image, Levels) and image.dtype == np.uint8 else own


def check_range(value_range: ValueRange) -> ValueRange:
    """Normalise a range to "auto", "type", "LOW%,HIGH%" or (low, high).

    raises: ImageError for anything else
    """
    if value_range is None or (isinstance(value_range, str) and value_range in (AUTO, TYPE)):
        return value_range or AUTO
    wrong = ImageError(
        f"value_range must be 'auto', 'type', LOW,HIGH (such as 0,4095) or percentiles (1%,99%); got {value_range!r}"
    )
    if isinstance(value_range, str):
        parts = [BOUND.fullmatch(part) for part in value_range.split(",")]
        if len(parts) != 2 or not all(parts) or parts[0][2] != parts[1][2]:
            raise wrong
        percent = parts[0][2]
        low, high = (float(part[1]) for part in parts)
        if percent and not 0 <= low < high <= 100:
            raise wrong
        if percent:
            return f"{low:g}%,{high:g}%"
    else:
        try:
            low, high = map(float, value_range)
        except (TypeError, ValueError):
            raise wrong from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise wrong
    return low, high


def to_uint8(
    array: np.ndarray, value_range: ValueRange = None, name: str = "the image array", valid: np.ndarray | None = None
) -> np.ndarray:
    """Numbers of any real type -> uint8; uint8 and bool are unchanged unless a range is given.

    value_range: see `ValueRange`. By default
        uint16, uint32 and floats in [0, 1]: the range of the type, if more than a few values are in its upper three
            quarters
        whole numbers in 0 ... 255, of any type: unchanged
        whole numbers in 0 ... 65535 of a signed or wider type: as if they were uint16
        all others (12 bits in uint16, Hounsfield units, floats beyond [0, 1]): stretched between the percentiles 0.1
            and 99.9 of the image
    name: for messages
    valid: (H, W) bool, which pixels of (H, W, C) count; the others become black
    raises: ImageError for other types, and for floats that are not finite
    """
    if valid is None or valid.all():
        return scale(array, choose_bounds(array, value_range, name))
    if not valid.any():
        return np.zeros(array.shape, np.uint8)
    bounds = choose_bounds(array[valid][:, None], value_range, name)
    levels = scale(np.where(valid[..., None], array, array.dtype.type(0)), bounds)
    levels[~valid] = 0
    return levels


def choose_bounds(array: np.ndarray, value_range: ValueRange = None, name: str = "the image array") -> Bounds | None:
    """The values that become black and white, see `to_uint8`; None if values are unchanged."""
    wanted = check_range(value_range)
    if array.dtype == np.bool_:
        return None
    if array.dtype.kind not in "uif":
        raise ImageError(f"an image array must hold integers, floats or bool; got {array.dtype}")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        count = int(np.count_nonzero(~np.isfinite(array)))
        raise ImageError(
            f"{name} has {count} values that are NaN or infinite; replace them, for example with numpy.nan_to_num"
        )
    if wanted == AUTO:
        if array.dtype == np.uint8:
            return None
        bounds, why = _default(array)
        if why:
            warnings.warn(
                f"{name}: {why}, so {bounds[0]:g} ... {bounds[1]:g} was used as black ... white; "
                "give the right range with value_range= (--range in the shell)",
                ImageRangeWarning,
                stacklevel=2,
            )
    elif wanted == TYPE:
        bounds = type_range(array.dtype)
    elif isinstance(wanted, str):
        bounds = percentiles(array, *(float(part.rstrip("%")) for part in wanted.split(",")))
    else:
        bounds = wanted
    return bounds


def scale(array: np.ndarray, bounds: Bounds | None) -> np.ndarray:
    """Map ``bounds`` to 0 ... 255, rounded and clipped; None as in `choose_bounds`."""
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if bounds is None:
        return array * np.uint8(255) if array.dtype == np.bool_ else array
    return _scale(array, *bounds)


def type_range(dtype: np.dtype) -> Bounds:
    """Black and white of a data type: its extremes; 0 and 1 for floats."""
    return (0.0, 1.0) if dtype.kind == "f" else (float(np.iinfo(dtype).min), float(np.iinfo(dtype).max))


def percentiles(array: np.ndarray, low: float, high: float) -> Bounds:
    """Two percentiles of the values; the extremes if the two are equal."""
    values = array.astype(np.float32) if array.dtype == np.float16 else array
    found = tuple(map(float, np.percentile(values, (low, high))))
    return found if found[0] < found[1] else (float(values.min()), float(values.max()))


def _default(array: np.ndarray) -> tuple[Bounds, str]:
    """Default black and white, and the reason if they are not the type's."""
    low, high, own = float(array.min()), float(array.max()), type_range(array.dtype)
    slack = SLACK if array.dtype.kind == "f" else 0
    if array.dtype.kind != "i" and low >= -slack and high <= own[1] * (1 + slack):
        if low == high or _uses(array, own[1]):
            return own, ""
        why = f"{array.dtype} values use less than a quarter of their range"
    else:
        why = f"{array.dtype} values do not say what is white"
    if low >= 0 and 1 < high <= 65535 and (array.dtype.kind != "f" or bool((array == np.rint(array)).all())):
        if high <= 255:
            return (0.0, 255.0), why
        if _uses(array, 65535):
            return (0.0, 65535.0), why
    step = max(1, math.ceil(math.sqrt(array.shape[0] * array.shape[1] / SAMPLE)))
    return percentiles(array[::step, ::step], *PERCENTILES), why


def _uses(array: np.ndarray, white: float) -> bool:
    """Whether more than stray values lie above the lowest quarter of 0 ... ``white``."""
    return np.count_nonzero(array > white * DIM) > STRAY * array.size


def _scale(array: np.ndarray, low: float, high: float) -> np.ndarray:
    """Map ``low`` ... ``high`` to 0 ... 255, rounded and clipped."""
    if array.dtype == np.uint8 and (low, high) == (0, 255):
        return array
    if high <= low:
        return np.zeros(array.shape, np.uint8)
    if array.dtype.kind in "ui" and array.dtype.itemsize <= 2:  # by a lookup table
        extremes = np.iinfo(array.dtype)
        levels = _linear(np.arange(extremes.min, extremes.max + 1, dtype=np.float64), low, high)
        return levels[array.astype(np.int32) - extremes.min]
    return _linear(array.astype(np.float64), low, high)


def _linear(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Computed in float64, in place, as float32 would lose differences of large numbers."""
    values -= low
    values *= 255
    values /= high - low
    np.rint(values, out=values)
    return np.clip(values, 0, 255, out=values).astype(np.uint8)
