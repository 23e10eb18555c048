"""Returns freed memory to the system."""

import ctypes
import sys
from collections.abc import Callable
from functools import cache


def trim_heap() -> None:
    """Return unused pages to the system, if the C library supports it (glibc).

    Otherwise it keeps them between blocks still in use, and the server grows even though it drops photos.
    """
    if trim := _malloc_trim():
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
