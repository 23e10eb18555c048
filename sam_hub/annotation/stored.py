"""Annotation files; for large images they have one line per annotation, to read them one at a time."""

import json
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import DataError

HEAD, END = b'"annotations": [\n', b"]}\n"
"""End of the first line, and the last line."""


def annotation_lines(image: Mapping[str, Any], records: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """A document as made by `sam_hub.results.sa1b_document`, in chunks of text."""
    yield b'{"image": ' + json.dumps(image).encode("ascii") + b", " + HEAD
    for number, record in enumerate(records):
        yield (b",\n" if number else b"") + json.dumps(record).encode("ascii")
    yield b"\n" + END


def read_annotations(path: Path) -> dict[str, Any]:
    """A photo's annotations as written by `Annotator`; those in the format of `annotation_lines` are read on access.

    raises: DataError
    """
    try:
        with open(path, "rb") as file:
            first = file.readline()
            if first.endswith(HEAD):
                document = json.loads(first.decode("ascii") + "]}")
                document["annotations"] = StoredAnnotations(path, file)
            else:
                document = json.loads((first + file.read()).decode("ascii"))
        document["annotations"][:0]
        image = document["image"]
        image["file_name"], image["height"] * image["width"]
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise _damaged(path, e) from e
    return document


class StoredAnnotations(Sequence[dict[str, Any]]):
    """The records of a file with one line per record; only the line offsets are kept in memory.

    file: open, after its first line
    raises: ValueError if the file is truncated; on access, DataError for a damaged record
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path, self._places = path, array("q")
        place, line = file.tell(), b""
        for line in file:
            if line.startswith(b"{"):
                self._places.append(place)
            place += len(line)
        if line != END:
            raise ValueError("it ends early")

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self._read(self._places)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return list(self._read(self._places[index]))
        return next(self._read([self._places[index]]))

    def _read(self, places: Iterable[int]) -> Iterator[dict[str, Any]]:
        try:
            with open(self._path, "rb") as file:
                for place in places:
                    file.seek(place)
                    yield dict(json.loads(file.readline().rstrip(b",\n")))
        except (OSError, ValueError, TypeError) as e:
            raise _damaged(self._path, e) from e


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} is damaged ({error}); delete it and run again with --resume")
