"""Reader of BSDS500: photos, each with a MATLAB file of boundaries drawn by several people."""

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DataError
from ..ops.packages import require

LAYOUT = "a folder with images/NAME.jpg and groundTruth/NAME.mat, in BSDS500 also below data/ and with test/ in both"
UNPACKED = 256 * 2**20
"""Maximum uncompressed size of a file, in bytes; BSDS500's have 3 MB."""

PACKED, HEADER, PIECE = 15, 128, 1 << 20
"""MATLAB level 5: type of a compressed element, and size of the file header; bytes decompressed at a time."""

PARTS = ("test", "val", "train")


@dataclass(frozen=True)
class AnnotatedPhoto:
    """The files of a photo and its annotations."""

    name: str
    image: Path
    truth: Path


def find_photos(folder: Path) -> list[AnnotatedPhoto]:
    """Photos with annotations, sorted by name; for a complete BSDS500, those of the test split.

    raises: DataError if there are none
    """
    homes = [(root / "images", root / "groundTruth") for root in (folder, folder / "data")]
    homes = [(a / part, b / part) for a, b in homes for part in PARTS] + homes
    for images, truths in homes:
        photos = {p.stem: p for p in sorted(images.glob("*.jpg"))} if images.is_dir() else {}
        found = [AnnotatedPhoto(n, photos[n], truths / f"{n}.mat") for n in photos if (truths / f"{n}.mat").is_file()]
        if found:
            return found
    if not folder.exists():
        raise DataError(f"{folder} does not exist; --task edges takes {LAYOUT}")
    raise DataError(f"{folder} holds no photo with annotators' boundaries; --task edges takes {LAYOUT}")


def read_boundaries(path: Path, size: tuple[int, int] | None = None) -> list[np.ndarray]:
    """Each annotator's boundaries, (H, W) bool.

    size: their required (H, W)
    raises: DataError for a damaged file, or another kind of file
    """
    require("reading .mat files", ["scipy"], "eval", DataError)
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    if not path.is_file():
        raise DataError(f"{path} does not exist; {LAYOUT} is expected")
    try:
        if unpacked_bytes(path) > UNPACKED:
            raise DataError(f"{path} unpacks to more than {UNPACKED >> 20} MB, too much for boundaries")
        cells = loadmat(path, variable_names=["groundTruth"])["groundTruth"]
        maps = [np.asarray(cell["Boundaries"][0, 0]) for cell in cells.ravel()]
    except (KeyError, IndexError, TypeError) as e:
        raise DataError(f"{path} is not an annotation of BSDS500: it has no groundTruth with Boundaries") from e
    except DataError:
        raise
    except (OSError, ValueError, MatReadError, NotImplementedError, EOFError, zlib.error, MemoryError) as e:
        raise DataError(f"{path} is not a readable .mat file ({e}); download it again") from e
    good = all(m.ndim == 2 and m.dtype.kind in "bui" and m.shape == maps[0].shape for m in maps)
    if not maps or not good:
        raise DataError(f"{path} is not an annotation of BSDS500: its Boundaries are not maps of one size")
    if size is not None and maps[0].shape != tuple(size):
        have, want = maps[0].shape, size
        raise DataError(f"{path} is of an image of {have[1]} x {have[0]} pixels, not {want[1]} x {want[0]}")
    return [m > 0 for m in maps]


def unpacked_bytes(path: Path) -> int:
    """Uncompressed size of a MATLAB file's compressed elements; stops above `UNPACKED`. raises: OSError, zlib.error"""
    total = 0
    with open(path, "rb") as file:
        order = "little" if file.read(HEADER)[-2:] == b"IM" else "big"
        while len(tag := file.read(8)) == 8 and total <= UNPACKED:
            kind, size = (int.from_bytes(part, order) for part in (tag[:4], tag[4:]))
            if kind != PACKED:
                file.seek(size, 1)
                continue
            unpacker, left = zlib.decompressobj(), size
            while left > 0 and total <= UNPACKED and (data := file.read(min(left, PIECE))):
                left -= len(data)
                while data and total <= UNPACKED:
                    total += len(unpacker.decompress(data, PIECE))
                    data = unpacker.unconsumed_tail
    return total
