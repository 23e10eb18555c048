"""What readers of other tools' files share: one file about many images, which lie in a folder somewhere."""

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
    """An image as a file describes it.

    name: with folders, "/" between them; size: (H, W), where it is stated; shapes: of any kind, read when asked for
    """

    name: str
    size: tuple[int, int] | None
    shapes: list[Any] = field(default_factory=list)


class ImagesElsewhere(AnnotatedImages):
    """Images that one file describes; a shape that cannot be read carries its problem.

    path: the file; images: the folder of the images, by default ``images/`` beside the file, or its own folder
    raises: DataError where none of the images is there
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
        """The mask and the name of one object. raises: DataError"""
        raise NotImplementedError


def _found(name: str, places: Sequence[Path]) -> Path:
    """The file of an image: below a place by its whole name, unless that leads out of it, or by its last part."""
    path = PurePosixPath(name)
    whole_name = () if ".." in path.parts else (name.lstrip("/"),)
    tried = [place / part for place in places for part in (*whole_name, path.name)]
    return next(filter(os.path.isfile, tried), tried[0])


def whole(value: Any, error: Callable[[], DataError]) -> int:
    """A whole number of a file, also as text. raises: what ``error`` makes"""
    try:
        return int(value)
    except (TypeError, ValueError):
        raise error() from None
