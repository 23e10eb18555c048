"""Yields images and the RLE of their masks, from any supported data, one at a time, without photos.

Tars and folders in SA-1B's layout are streamed, with one document in memory at a time. A COCO JSON is read completely.
"""

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from ..data.annotated import AnnotatedImages
from ..data.discovery import open_dataset
from ..data.documents import AGAIN
from ..data.sa1b import PROBLEM, read_document
from ..data.tars import MEMBER_BYTES, BoundedTarInfo
from ..errors import DataError
from ..ops.images import picture_file
from ..ops.run_lengths import Rle

PLAN = "everything.json"
"""Files that everything mode writes to its output folder."""


@dataclass
class ImageMasks:
    """One image: its name, (H, W), the masks' run lengths and their ids, and a sentence for each damaged one."""

    name: str
    size: tuple[int, int] | None
    masks: list[Rle]
    ids: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def find_sources(path: Path) -> list[Path]:
    """The parts of a data set that are read independently: each tar of a folder, or the data set itself.

    raises: DataError if it does not exist
    """
    if not path.exists():
        raise DataError(
            f"{path} does not exist; give annotated images: SA-1B, COCO, labelme, or what everything mode wrote"
        )
    return sorted(path.glob("*.tar")) or [path] if path.is_dir() else [path]


def read_images(path: Path) -> Iterator[ImageMasks]:
    """The images of one source. raises: DataError when it cannot be read; damaged documents are images with problems"""
    if path.is_file() and path.suffix == ".tar":
        yield from _tar(path)
    elif path.is_dir() and ((path / PLAN).is_file() or _is_documents(path)):
        yield from _folder(path / "masks" if (path / PLAN).is_file() else path)
    else:
        yield from _dataset(path)


def _tar(path: Path) -> Iterator[ImageMasks]:
    try:
        with tarfile.open(path, "r:", tarinfo=BoundedTarInfo) as tar:
            for member in tar:
                tar.members = []  # otherwise tarfile keeps every entry
                if not member.isreg() or not member.name.endswith(".json"):
                    continue
                name = f"{path}: {member.name}"
                if member.size > MEMBER_BYTES:
                    yield ImageMasks(name, None, [], problems=[f"{name} has more than {MEMBER_BYTES // 2**20} MiB"])
                    continue
                content = tar.extractfile(member)
                yield _document(content.read() if content else b"", name, Path(member.name).stem)
    except (tarfile.TarError, OSError, ValueError, OverflowError, RecursionError) as e:
        if isinstance(e, DataError):
            raise
        raise DataError(f"{path} is not a readable tar file ({e}); {AGAIN}") from e


def _documents(path: Path) -> Iterator[Path]:
    """All .json files below a folder, in whatever order the system gives them: sorting would hold all their names."""
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _documents(Path(entry.path))
            elif entry.name.endswith(".json") and entry.is_file():
                yield Path(entry.path)


def _is_documents(path: Path) -> bool:
    """Whether the first document of a folder is one image's annotations as in SA-1B."""
    first = next(_documents(path), None)
    if first is None:
        return False
    try:
        annotations, _ = read_document(first.read_bytes(), str(first))
    except (DataError, OSError):
        return False
    return (
        bool(annotations) and "image_id" not in annotations[0] and isinstance(annotations[0].get("segmentation"), dict)
    )


def _folder(path: Path) -> Iterator[ImageMasks]:
    for file in _documents(path):
        try:
            content = file.read_bytes()
        except OSError as e:
            yield ImageMasks(str(file), None, [], problems=[f"{file} cannot be read ({e.strerror})"])
            continue
        stem = file.relative_to(path).with_suffix("").as_posix()
        yield _document(content, str(file), stem.removesuffix(".mask"))


def _document(content: bytes, where: str, name: str) -> ImageMasks:
    try:
        annotations, size = read_document(content, where)
    except DataError as e:
        return ImageMasks(name, None, [], problems=[str(e)])
    return _image(name, size, annotations, where)


def _image(name: str, size: tuple[int, int] | None, annotations: list[dict], where: str) -> ImageMasks:
    found = ImageMasks(name, size, [])
    for number, annotation in enumerate(annotations):
        rle = annotation.get("segmentation")
        if annotation.get(PROBLEM) or not isinstance(rle, dict):
            found.problems.append(annotation.get(PROBLEM) or f"{where}: mask {number + 1} is no run lengths")
            continue
        stated = rle.get("size")
        if found.size is None and isinstance(stated, list | tuple) and len(stated) == 2:
            found.size = tuple(stated)
        found.masks.append(rle)
        found.ids.append(str(annotation.get("id", number)))
    return found


def _dataset(path: Path) -> Iterator[ImageMasks]:
    dataset = open_dataset(path)
    for index in range(len(dataset)):
        name = f"{path}: image {index + 1}"
        try:
            if isinstance(dataset, AnnotatedImages):
                photo = dataset.image_path(index)
                name = photo.stem
                size = dataset.stated_size(index) or _size_of(photo)
                annotations = dataset.objects(index, size)
            else:
                sample = dataset[index]
                name, size, annotations = Path(sample.name).stem, sample.image.shape[:2], sample.annotations
        except DataError as e:
            yield ImageMasks(name, None, [], problems=[str(e)])
            continue
        yield _image(name, size, annotations, name)


def _size_of(photo: Path) -> tuple[int, int]:
    try:
        with picture_file(photo) as image:
            return image.height, image.width
    except (OSError, ValueError, Image.DecompressionBombError) as e:
        raise DataError(f"{photo} is not a readable image ({e})") from e
