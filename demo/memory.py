"""Memory that was freed, given back to the system."""

import ctypes
import sys
from collections.abc import Callable
from functools import cache


def trim_heap() -> None:
    """Hand pages without anything on them back, where the C library can (glibc).

    It keeps them otherwise, between blocks that are still in use, and a server that drops photos grows all the same.
    """
    if trim := _malloc_trim():
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
