"""Reader of YOLO segmentation labels: ``images/``, and beside it ``labels/`` with a text file for each image.

A line is ``class x y x y ...``, one polygon in fractions of width and height (docs.ultralytics.com, "Segment").
"""

import os
from pathlib import Path

from ..errors import DataError
from .annotated import IMAGE_SUFFIXES, AnnotatedImages, annotation_of_polygons, problem

LABEL_BYTES = 64 * 2**20
"""Maximum size of one text file, in bytes."""


class YoloFolder(AnnotatedImages):
    """Images and polygons; lines that are not polygons become a `problem`.

    path: a folder with ``images`` and ``labels``, which may have matching subfolders
    unmatched: images without labels; they are not among the samples
    raises: DataError if no image has labels
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        images = sorted(p for p in (self.path / "images").rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        pairs = [(image, self._labels_of(image)) for image in images if os.path.isfile(image)]
        self._pairs = [(image, labels) for image, labels in pairs if os.path.isfile(labels)]
        self.unmatched = [str(image) for image, labels in pairs if not os.path.isfile(labels)]
        if not self._pairs:
            raise DataError(f"{self.path} holds no image with labels; expected images/a.jpg and labels/a.txt")

    def _labels_of(self, image: Path) -> Path:
        return self.path / "labels" / image.relative_to(self.path / "images").with_suffix(".txt")

    def __len__(self) -> int:
        return len(self._pairs)

    def image_path(self, index: int) -> Path:
        return self._pairs[index][0]

    def objects(self, index: int, size: tuple[int, int]) -> list[dict]:
        file = self._pairs[index][1]
        try:
            if file.stat().st_size > LABEL_BYTES:
                raise DataError(f"{file} has more than {LABEL_BYTES // 2**20} MiB; it is not a text file of labels")
            lines = file.read_text("utf-8").splitlines()
        except (OSError, ValueError) as e:
            if isinstance(e, DataError):
                raise
            raise DataError(f"{file} is not a readable text file of labels ({e})") from e
        return [_object(line, size, f"{file}: line {n}") for n, line in enumerate(lines, start=1) if line.strip()]


def _object(line: str, size: tuple[int, int], where: str) -> dict:
    height, width = size
    try:
        numbers = [float(word) for word in line.split()[1:]]
        if len(numbers) == 4:
            raise DataError("it is a box; an outline needs at least three corners")
        polygon = [v * (height if i % 2 else width) for i, v in enumerate(numbers)]
        return annotation_of_polygons([polygon], size)
    except ValueError as e:
        return problem(f"{where} is left out: {e}")


def is_yolo(folder: Path) -> bool:
    """Whether a folder has images and YOLO labels."""
    labels = folder / "labels"
    return (folder / "images").is_dir() and labels.is_dir() and next(labels.rglob("*.txt"), None) is not None
