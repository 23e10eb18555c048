"""Reader of the SA-1B layout: tar shards or folders with one .jpg and one .json per image.

The JSON holds ``image`` (``image_id, file_name, width, height``) and ``annotations`` whose ``segmentation`` is
COCO RLE. A tar is indexed once, by offsets, and then read at random without unpacking. `sam-hub segment` and `sam-hub
everything` write this layout, with the photos elsewhere.
"""

import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, ImageError
from ..ops.run_lengths import check_rle, rle_to_mask
from .documents import AGAIN, parse_json
from .photos import read_photo
from .tars import MEMBER_BYTES, BoundedTarInfo

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
DOCUMENT_SUFFIXES = (".json", ".mask.json")
"""Suffixes of the annotation file beside an image; the second is used by `sam-hub segment`."""

PROBLEM = "problem"
"""Key of a damaged annotation; its value is the reason. The image's other objects remain usable."""

WHAT = "a SA-1B annotation"


@dataclass
class Sample:
    """One annotated image.

    name: file name; image: (H, W, 3) uint8 RGB
    annotations: as in the file; ``segmentation`` is still RLE
    """

    name: str
    image: np.ndarray
    annotations: list[dict]

    def mask(self, index: int) -> np.ndarray:
        """The mask of one annotation: (H, W) bool."""
        return decode_segmentation(self.annotations[index]["segmentation"], self.image.shape[:2], self.name)


def check_segmentation(segmentation: dict, size: tuple[int, int], name: str) -> dict:
    """Check COCO RLE (compressed or not) and return it. raises: DataError if it does not fit an image of ``size``"""
    try:
        return check_rle(segmentation, size)
    except DataError as e:
        raise DataError(f"{name}: {e}") from e


def decode_segmentation(segmentation: dict, size: tuple[int, int], name: str) -> np.ndarray:
    """COCO RLE (compressed or not) -> (H, W) bool. raises: DataError, as in `check_segmentation`"""
    try:
        return rle_to_mask(segmentation, size)
    except DataError as e:
        raise DataError(f"{name}: {e}") from e


def read_document(text: bytes, name: str) -> tuple[list[dict], tuple[int, int] | None]:
    """The annotations of an image, and its (H, W) or None if not stated; invalid ones have the key `PROBLEM`.

    raises: DataError if there is no list of annotations
    """
    document = parse_json(text, name, WHAT)
    found = document.get("annotations") if isinstance(document, dict) else None
    if not isinstance(found, list):
        raise DataError(f"{name} is not {WHAT} (it has no list of annotations); {AGAIN}")
    image = document.get("image")
    stated = (image.get("height"), image.get("width")) if isinstance(image, dict) else (None, None)
    annotations = [_annotation(a, name, number) for number, a in enumerate(found, start=1)]
    return annotations, stated if all(isinstance(side, int) for side in stated) else None


def _annotation(value: Any, name: str, number: int) -> dict:
    if isinstance(value, dict) and "segmentation" in value:
        return value
    return {"segmentation": None, "bbox": [0, 0, 0, 0], PROBLEM: f"{name}: annotation {number} has no segmentation"}


class Sa1bDataset(Sequence):
    """Samples of a tar shard or a folder, sorted by name.

    path: a ``.tar`` or a directory
    images: folder of the images, if they are not beside the JSON files
    raises: DataError if there is no annotated image, or on access to a damaged sample
    """

    def __init__(self, path: str | Path, images: str | Path | None = None) -> None:
        self.path = Path(path)
        if self.path.is_dir():
            self._files = {p.name: p for p in sorted(self.path.iterdir()) if p.is_file()}
        elif self.path.is_file():
            self._files = _members(self.path)
        else:
            raise DataError(f"{self.path} does not exist; give a .tar shard or a folder of .jpg and .json pairs")
        self._pairs = self._beside()
        if not self._pairs and self.path.is_dir():
            self._pairs = self._elsewhere(Path(images or self.path))
        if not self._pairs:
            raise DataError(
                f"{self.path} holds no image with a .json of the same name beside it; "
                "if the images are elsewhere, say where with --images"
            )
        names = [Path(image).name for image, _ in self._pairs]
        self._names = names if len(set(names)) == len(names) else [image for image, _ in self._pairs]

    def _beside(self) -> list[tuple[str, str]]:
        """Pairs of images and their JSON files with the same stem."""
        stems = {os.path.splitext(n)[0]: n for n in self._files if n.lower().endswith(IMAGE_SUFFIXES)}
        documents = ((image, [f"{s}{end}" for end in DOCUMENT_SUFFIXES]) for s, image in stems.items())
        found = ((image, next((d for d in names if d in self._files), None)) for image, names in documents)
        return [(image, document) for image, document in found if document]

    def _elsewhere(self, images: Path) -> list[tuple[str, str]]:
        """As `_beside`, for JSON files in this folder and its subfolders, and the images that they name."""
        pairs = []
        for path in sorted(p for p in self.path.rglob("*.json") if p.is_file()):
            try:
                image = parse_json(path.read_bytes(), str(path), WHAT)["image"]["file_name"]
                found = next(filter(os.path.isfile, (images / image, images / Path(image).name)), None)
            except (DataError, OSError, KeyError, TypeError):
                continue
            if found:
                self._files[str(found)], self._files[str(path)] = found, path
                pairs.append((str(found), str(path)))
        return pairs

    @property
    def name(self) -> str:
        """The shard's name without folders and suffix."""
        return self.path.stem

    def __len__(self) -> int:
        return len(self._pairs)

    def _read(self, name: str) -> bytes:
        where = self._files[name]
        try:
            if isinstance(where, Path):
                return where.read_bytes()
            offset, size = where
            if not 0 <= size <= MEMBER_BYTES:
                raise DataError(f"{self.path}: {name} has more than {MEMBER_BYTES // 2**20} MiB; split the shard again")
            with open(self.path, "rb") as f:
                f.seek(offset)
                return f.read(size)
        except OSError as e:
            raise DataError(
                f"{self.path}: {name} cannot be read ({e.strerror}); check its permissions and the disk"
            ) from e

    def annotations(self, index: int) -> list[dict]:
        """The annotations of one sample, without reading its image."""
        return self._document(index)[0]

    def _document(self, index: int) -> tuple[list[dict], tuple[int, int] | None]:
        name = self._pairs[index][1]
        return read_document(self._read(name), f"{self.path}: {name}")

    def __getitem__(self, index: int) -> Sample:
        annotations, size = self._document(index)
        try:
            pixels = read_photo(self._read(self._pairs[index][0]), size)
        except ImageError as e:
            why = str(e).removeprefix("the image in memory ")
            raise DataError(f"{self.path}: {self._names[index]} is not a readable image ({why})") from e
        return Sample(self._names[index], pixels, annotations)


def _members(path: Path) -> dict[str, tuple[int, int]]:
    """Name -> offset and size of each file in a tar, sorted by name."""
    try:
        with tarfile.open(path, "r:", tarinfo=BoundedTarInfo) as tar:
            members = [m for m in tar if m.isreg() and not m.issparse()]
    except (tarfile.TarError, OSError, ValueError, OverflowError, RecursionError) as e:
        raise DataError(f"{path} is not a readable tar file ({e}); {AGAIN}") from e
    return {m.name: (m.offset_data, m.size) for m in sorted(members, key=lambda m: m.name)}
