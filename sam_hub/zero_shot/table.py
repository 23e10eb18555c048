"""What every zero-shot table has in common: its items, what is measured of one, and how they are summed up."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError
from ..ops.files import sha256

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..inference.image_predictor import ImagePredictor


@dataclass(frozen=True)
class TableRequest:
    """A table as it is asked for; it travels to other processes.

    task: of `TASKS`; data: paths of the data sets
    limit: images of each data set, all when None; seed: of the draw
    options: of the task, as JSON
    """

    task: str
    data: tuple[str, ...]
    limit: int | None = None
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)


class Table(ABC):
    """One table of the paper's section 7 on some data.

    TITLE: with the paper's section; COLUMNS: name in the report's rows -> title and what it is
    """

    TITLE: str
    COLUMNS: Mapping[str, tuple[str, str]]
    NEEDS: tuple[str, ...] = ()
    """Packages beyond matplotlib, of the extra ``eval``."""

    @abstractmethod
    def __init__(self, request: TableRequest) -> None:
        """Open the data. raises: DataError, WrongUsage"""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The protocol, and a hash of the data, as JSON."""

    @abstractmethod
    def items(self) -> Sequence[str]:
        """Names of what is measured one by one, each different."""

    @abstractmethod
    def measure(self, predictor: "ImagePredictor", item: str) -> dict[str, Any]:
        """Numbers of one item, as JSON; ``count`` of them is shown as progress.

        raises: DataError, ImageError when the item is damaged: it is left out and named
        """

    @abstractmethod
    def rows(self, parts: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
        """A row for each data set or method, with the columns' names; parts: by item, without those left out."""

    @abstractmethod
    def draw(self, figure: "Figure", report: Mapping[str, Any]) -> None:
        """The report's plot."""

    def extra(self, parts: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        """What else belongs in the report, such as curves."""
        return {}

    def refuse(self, predictor: "ImagePredictor") -> None:  # noqa: B027 most take every model
        """DataError where the model cannot do what the table asks for."""


def data_hash(path: str | Path) -> str:
    """Sixteen hexadecimal digits that change when a data set does.

    Of a file every byte counts; of a folder names and sizes, and every byte of annotations (.json, .mat, .txt).
    raises: DataError when it cannot be read
    """
    path, digest = Path(path), hashlib.sha256()
    try:
        if path.is_file():
            return sha256(path)[:16]
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            digest.update(f"{file.relative_to(path).as_posix()} {file.stat().st_size}\n".encode())
            if file.suffix in (".json", ".mat", ".txt"):
                digest.update(bytes.fromhex(sha256(file)))
    except OSError as e:
        raise DataError(f"{path} cannot be read ({e.strerror or e})") from e
    return digest.hexdigest()[:16]


def titled(names: Sequence[str]) -> list[str]:
    """Names of data sets, numbered where two are the same."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return found
