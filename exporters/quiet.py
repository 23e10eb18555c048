"""Silences libraries while they convert."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout


@contextmanager
def quiet(*names: str, warned: bool = False) -> Iterator[None]:
    """Suppress messages of these loggers below errors and, with ``warned``, Python's warnings."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            if warned:
                warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def silent() -> Iterator[None]:
    """Suppress what libraries print: standard output is for results, and progress is reported by us."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield


@contextmanager
def hushed(*names: str) -> Iterator[None]:
    """`quiet` and `silent` for some libraries, also during their import; usable as a decorator."""
    with quiet(*names, warned=True), silent():
        yield
