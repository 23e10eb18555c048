"""Suites: named lists of data sets; those found on this machine are evaluated."""

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from ..errors import DataError

PAPER = "paper"
LIST = Path(__file__).with_name("paper.toml")
"""The paper's suite, and a template for others."""


@dataclass(frozen=True)
class SuiteEntry:
    """A data set. path: relative to the root; layout: expected format; images, masks: numbers evaluated in the paper"""

    name: str
    path: str
    domain: str = ""
    masks_are: str = ""
    split: str = ""
    images: int | None = None
    masks: int | None = None
    licence: str = ""
    source: str = ""
    layout: str = ""

    def place(self, root: Path) -> Path | None:
        """Its location: the folder, .tar or .json of that name, or None if missing."""
        tried = (root / self.path, root / f"{self.path}.tar", root / f"{self.path}.json")
        return next((path for path in tried if path.exists()), None)


def read_suite(name: str) -> list[SuiteEntry]:
    """The entries of the suite "paper", or of a TOML file with a table ``[[dataset]]`` for each.

    raises: DataError if it cannot be read
    """
    path = LIST if name == PAPER else Path(name)
    known = {field.name for field in fields(SuiteEntry)}
    try:
        if not path.exists():
            raise DataError(f"there is no suite {name}; give --suite paper, or a TOML file like {LIST}")
        tables = tomllib.loads(path.read_text("utf-8"))["dataset"]
        entries = [SuiteEntry(**{key: value for key, value in table.items() if key in known}) for table in tables]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise DataError(
            f"{path} is not a suite ({e}); give --suite paper, or a TOML file with [[dataset]] tables like {LIST}"
        ) from e
    if not entries or any(not isinstance(e.name, str) or not isinstance(e.path, str) for e in entries):
        raise DataError(f"{path} is not a suite: each [[dataset]] needs a name and a path")
    return entries


def find_suite(name: str, root: Path) -> tuple[list[tuple[SuiteEntry, Path]], list[SuiteEntry]]:
    """The data sets of a suite found below a folder, with their locations, and the missing ones.

    raises: DataError if none is found
    """
    entries = read_suite(name)
    there = [(entry, place) for entry in entries if (place := entry.place(root))]
    if not there:
        paths = ", ".join(entry.path for entry in entries[:3])
        raise DataError(
            f"none of the {len(entries)} data sets of the suite is in {root}; it is searched for {paths}, ...: "
            f"{LIST if name == PAPER else name} says what each should hold, and where to get it"
        )
    found = {entry.path for entry, _ in there}
    return there, [entry for entry in entries if entry.path not in found]
