"""Base class for readers of formats where one file describes many images, stored in another folder."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import DataError
from ..ops.run_lengths import Rle
from .annotated import AnnotatedImages, annotation_of_rle, problem


@dataclass
class Described:
    """One image's description in the file.

    name: relative path with "/"; size: (H, W), or None if not stated; shapes: raw, parsed on access
    """

    name: str
    size: tuple[int, int] | None
    shapes: list[Any] = field(default_factory=list)


class ImagesElsewhere(AnnotatedImages):
    """Images described by one file; unreadable shapes become a `problem`.

    path: the file; images: folder of the images; default: ``images/`` beside the file, then the file's own folder
    raises: DataError if none of the images exists
    """

    def __init__(self, path: Path, described: Sequence[Described], images: str | Path | None) -> None:
        self.path = path
        places = [Path(images)] if images else [path.parent / "images", path.parent]
        self._described = list(described)
        self._paths = [_found(d.name, places) for d in self._described]
        if not any(map(os.path.isfile, self._paths)):
            where = ", ".join(map(str, places))
            raise DataError(f"none of the images of {path} is in {where}; say where with --images")

    def __len__(self) -> int:
        return len(self._described)

    def image_path(self, index: int) -> Path:
        return self._paths[index]

    def stated_size(self, index: int) -> tuple[int, int] | None:
        return self._described[index].size

    def objects(self, index: int, size: tuple[int, int]) -> list[dict]:
        one = self._described[index]
        if one.size not in (None, size):
            stated = f"{one.size[1]} x {one.size[0]}"
            raise DataError(f"{self.path}: {one.name} is {stated} pixels there, but actually {size[1]} x {size[0]}")
        found = []
        for number, shape in enumerate(one.shapes, start=1):
            try:
                rle, name = self.read_shape(shape, size)
                found.append({**annotation_of_rle(rle), "name": name})
            except DataError as e:
                found.append(problem(f"{self.path}: object {number} of {one.name} is left out: {e}"))
        return found

    def read_shape(self, shape: Any, size: tuple[int, int]) -> tuple[Rle, str]:
        """The mask and class name of one object. raises: DataError"""
        raise NotImplementedError


def _found(name: str, places: Sequence[Path]) -> Path:
    """Find an image by its relative path, unless it contains "..", or by its file name alone."""
    path = PurePosixPath(name)
    whole_name = () if ".." in path.parts else (name.lstrip("/"),)
    tried = [place / part for place in places for part in (*whole_name, path.name)]
    return next(filter(os.path.isfile, tried), tried[0])


def whole(value: Any, error: Callable[[], DataError]) -> int:
    """Convert a value of a file, possibly text, to int. raises: the exception that ``error`` returns"""
    try:
        return int(value)
    except (TypeError, ValueError):
        raise error() from None
