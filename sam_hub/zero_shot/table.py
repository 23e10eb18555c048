"""Base class of the zero-shot tables: their items, the measurement of an item, and the summary."""

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
    """A requested table; it is sent to other processes.

    task: name in `TASKS`; data: paths of the data sets
    limit: images per data set; None: all; seed: of the draw
    options: of the task, as JSON
    """

    task: str
    data: tuple[str, ...]
    limit: int | None = None
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)


class Table(ABC):
    """One table of the paper's section 7 on some data.

    TITLE: with the paper's section; COLUMNS: name in the report's rows -> title and description
    """

    TITLE: str
    COLUMNS: Mapping[str, tuple[str, str]]
    NEEDS: tuple[str, ...] = ()
    """Required packages besides matplotlib, from the extra ``eval``."""

    @abstractmethod
    def __init__(self, request: TableRequest) -> None:
        """Open the data. raises: DataError, WrongUsage"""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The protocol, and a hash of the data, as JSON."""

    @abstractmethod
    def items(self) -> Sequence[str]:
        """Unique names of the items, which are measured one by one."""

    @abstractmethod
    def measure(self, predictor: "ImagePredictor", item: str) -> dict[str, Any]:
        """Measure one item; returns JSON, whose ``count`` is shown as progress.

        raises: DataError, ImageError if the item is damaged; it is then skipped and named
        """

    @abstractmethod
    def rows(self, parts: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
        """A row for each data set or method, keyed by column; parts: item -> measurement, without skipped items."""

    @abstractmethod
    def draw(self, figure: "Figure", report: Mapping[str, Any]) -> None:
        """Draw the report's plot."""

    def extra(self, parts: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        """Additional content of the report, such as curves."""
        return {}

    def refuse(self, predictor: "ImagePredictor") -> None:  # noqa: B027 most take every model
        """Check that the model supports the table's prompts. raises: DataError"""


def data_hash(path: str | Path) -> str:
    """Sixteen hexadecimal digits that change when a data set does.

    Hashes files completely; for folders, names and sizes, and the content of annotations (.json, .mat, .txt).
    raises: DataError if it cannot be read
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
    """Names of data sets, with numbers added to duplicates."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return found
