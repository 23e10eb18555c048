"""Reader of the SA-1B layout: tar shards or folders with one .jpg and one .json per image.

The JSON holds ``image`` (``image_id, file_name, width, height``) and ``annotations`` whose ``segmentation`` is
COCO RLE. A tar is indexed once, by offsets, and then read at random without unpacking.
"""

import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import DataError
from ..ops.run_lengths import check_rle, rle_to_mask

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass
class Sample:
    """One annotated image.

    name: file name; image: (H, W, 3) uint8 RGB
    annotations: as in the file, ``segmentation`` still compressed
    """

    name: str
    image: np.ndarray
    annotations: list[dict]

    def mask(self, index: int) -> np.ndarray:
        """The mask of one annotation: (H, W) bool."""
        return decode_segmentation(self.annotations[index]["segmentation"], self.image.shape[:2], self.name)


def check_segmentation(segmentation: dict, size: tuple[int, int], name: str) -> dict:
    """The same COCO RLE (compressed or not); DataError when it does not fit an image of ``size``."""
    try:
        return check_rle(segmentation, size)
    except DataError as e:
        raise DataError(f"{name}: {e}") from e


def decode_segmentation(segmentation: dict, size: tuple[int, int], name: str) -> np.ndarray:
    """COCO RLE (compressed or not) -> (H, W) bool; DataError as `check_segmentation`."""
    try:
        return rle_to_mask(segmentation, size)
    except DataError as e:
        raise DataError(f"{name}: {e}") from e


class Sa1bDataset(Sequence):
    """Samples of a tar shard or a folder, in the order of their names.

    path: a ``.tar`` or a directory
    raises: DataError when there is no annotated image, or when a sample that is read is damaged
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if self.path.is_dir():
            self._files = {p.name: p for p in sorted(self.path.iterdir()) if p.is_file()}
        elif self.path.is_file():
            try:
                with tarfile.open(self.path) as tar:
                    members = [m for m in tar if m.isfile()]
            except tarfile.TarError as e:
                raise DataError(f"{self.path} is not a readable tar file ({e})") from e
            self._files = {Path(m.name).name: (m.offset_data, m.size) for m in sorted(members, key=lambda m: m.name)}
        else:
            raise DataError(f"{self.path} does not exist; give a .tar shard or a folder of .jpg and .json pairs")
        stems = {Path(n).stem: n for n in self._files if n.lower().endswith(IMAGE_SUFFIXES)}
        self._pairs = [(image, f"{stem}.json") for stem, image in stems.items() if f"{stem}.json" in self._files]
        if not self._pairs:
            raise DataError(f"{self.path} holds no image with a .json of the same name beside it")

    @property
    def name(self) -> str:
        """The shard's name without folders and suffix."""
        return self.path.stem

    def __len__(self) -> int:
        return len(self._pairs)

    def _read(self, name: str) -> bytes:
        where = self._files[name]
        if isinstance(where, Path):
            return where.read_bytes()
        offset, size = where
        with open(self.path, "rb") as f:
            f.seek(offset)
            return f.read(size)

    def annotations(self, index: int) -> list[dict]:
        """The annotations of one sample, without reading its image."""
        name = self._pairs[index][1]
        try:
            found = json.loads(self._read(name))["annotations"]
        except (ValueError, KeyError, TypeError) as e:
            raise DataError(f"{self.path}: {name} is not a SA-1B annotation ({e})") from e
        if not isinstance(found, list) or not all(isinstance(a, dict) and "segmentation" in a for a in found):
            raise DataError(f"{self.path}: {name} is not a SA-1B annotation (one has no segmentation)")
        return found

    def __getitem__(self, index: int) -> Sample:
        image_name = self._pairs[index][0]
        annotations = self.annotations(index)
        try:
            with Image.open(io.BytesIO(self._read(image_name))) as image:
                pixels = np.asarray(image.convert("RGB"))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as e:
            raise DataError(f"{self.path}: {image_name} is not a readable image ({e})") from e
        return Sample(image_name, pixels, annotations)
