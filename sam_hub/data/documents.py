"""Reads JSON files from other tools; errors name the file and say what to do."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import DataError

AGAIN = "export or download it again"
"""What to do about a damaged file."""

REPORT_KEYS = {"sam_hub", "protocol", "shards"}
REPORT_BYTES = 16 * 2**20


def read_json(path: Path, what: str) -> Any:
    """Read a JSON file; error messages say that ``what`` was expected.

    raises: DataError if it is not a regular file, cannot be read, or is not JSON
    """
    if not os.path.exists(path):
        raise DataError(f"{path} does not exist; check the path")
    if not os.path.isfile(path):  # reading a pipe would block
        raise DataError(f"{path} is not {what}, but a folder or a special file; check the path")
    try:
        return parse_json(path.read_bytes(), str(path), what)
    except OSError as e:
        raise DataError(f"{path} cannot be read ({e.strerror}); check its permissions and the disk") from e


def parse_json(text: bytes, name: str, what: str) -> Any:
    """As `read_json`, for the content of a file."""
    try:
        return json.loads(text)
    except RecursionError as e:
        raise DataError(f"{name} is not {what} (its lists are nested too deeply); {AGAIN}") from e
    except MemoryError as e:
        raise DataError(f"{name} needs more memory than is available; split it") from e
    except ValueError as e:
        raise DataError(f"{name} is not {what} ({e}); {AGAIN}") from e


def is_report(path: Path) -> bool:
    """Whether a file is a report of ``sam-hub eval --out``, which may lie among the data."""
    with suppress(OSError, ValueError, RecursionError):
        if path.stat().st_size <= REPORT_BYTES:
            document = json.loads(path.read_bytes())
            return isinstance(document, dict) and document.keys() >= REPORT_KEYS
    return False
