"""Plans a run over many photos: their names in the output folder, and which ones an earlier run has finished.

OUT/everything.json     the settings and the photos (the plan)
OUT/masks/NAME.json     one photo's annotations; its existence marks the photo as done
OUT/tiles/NAME/...      finished tiles of a large image
OUT/previews/NAME.jpg   the photo with its masks
OUT/coco.json           all annotations
OUT/summary.json        summary of the last run
"""

import json
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import ImageError, OutputError
from ..ops.files import inside, make_folder, write_atomically
from ..ops.images import IMAGE_SUFFIXES
from ..results import json_bytes

PLAN = "everything.json"
PART = re.compile(r"\.[0-9a-f]{16}\.part")
"""Temporary files that `write_atomically` leaves behind if its process is killed."""


@dataclass(frozen=True)
class Photo:
    """One photo and the name of its results.

    name: path relative to the result folders, without suffix; file_name: path relative to the photos' common folder
    source: absolute path; bytes, modified: size, and mtime in nanoseconds, at planning time; None if missing
    """

    name: str
    file_name: str
    source: str
    bytes: int | None
    modified: int | None


@dataclass(frozen=True)
class Plan:
    """All photos of an output folder, and the pending ones."""

    out: Path
    settings: dict[str, Any]
    photos: tuple[Photo, ...]
    pending: tuple[Photo, ...]

    def done(self) -> Iterable[Photo]:
        """The photos that have results now, in the order of the plan."""
        return (photo for photo in self.photos if masks_path(self.out, photo.name).is_file())


@dataclass(frozen=True)
class Sources:
    """Absolute paths of a run's photos, and the folder that their names are relative to."""

    paths: tuple[Path, ...]
    root: str


def masks_path(out: Path, name: str) -> Path:
    """raises: OutputError if the path is outside ``out``; so does `preview_path`"""
    return inside(inside(out, "masks"), f"{name}.json")


def preview_path(out: Path, name: str) -> Path:
    return inside(inside(out, "previews"), f"{name}.jpg")


def is_done(out: Path, name: str) -> bool:
    """Whether a photo has results and no pending tiles."""
    return masks_path(out, name).is_file() and not tiles_folder(out, name).is_dir()


def tiles_folder(out: Path, name: str) -> Path:
    """Folder of an unfinished large image's tiles; raises: as in `masks_path`"""
    return inside(inside(out, "tiles"), name)


def find_photos(inputs: Sequence[Path], out: Path) -> Sources:
    """Find photos: files as given, folders searched recursively, sorted by name.

    Folders are searched for files with an image suffix, except hidden ones and those in ``out``. A missing file with an
    image suffix only fails later, without stopping the others, unless it is the only input.
    raises: ImageError if a folder does not exist or holds no photos
    """
    missing = [path for path in inputs if not os.path.lexists(path)]
    for path in missing:
        if len(missing) == len(inputs) or path.suffix.lower() not in IMAGE_SUFFIXES:
            raise ImageError(f"{path} does not exist; check the path of the photos")
    out = Path(os.path.realpath(out))
    found: dict[Path, None] = {}
    for path in inputs:
        if not path.is_dir():
            found[Path(os.path.abspath(path))] = None
            continue
        photos = _photos_below(path, out)
        if not photos:
            raise ImageError(f"there are no photos in {path}; give another folder, or the photos themselves")
        found.update(dict.fromkeys(photos))
    return Sources(tuple(found), _common_folder(inputs))


def _photos_below(path: Path, out: Path) -> list[Path]:
    photos = []
    for folder, folders, files in os.walk(os.path.abspath(path)):
        hidden_or_out = (f for f in folders if f.startswith(".") or Path(os.path.realpath(folder), f) == out)
        folders[:] = sorted(set(folders) - set(hidden_or_out))
        photos += [
            Path(folder, file)
            for file in sorted(files)
            if not file.startswith(".") and os.path.splitext(file)[1].lower() in IMAGE_SUFFIXES
        ]
    return photos


def make_plan(sources: Sources, out: Path, settings: dict[str, Any], resume: bool) -> Plan:
    """Choose names and write the plan to ``out``; with ``resume``, continue the existing plan.

    settings: JSON of all settings that affect the results
    raises: OutputError if the folder is not empty, or its results were made with other settings
    """
    earlier = read_plan(out)
    if earlier is None or not resume:
        check_unused(out, resume, earlier is not None)
        earlier = {"settings": settings, "images": []}
    check_same(out, earlier["settings"], settings)
    known = {photo["source"]: Photo(**photo) for photo in earlier["images"]}
    taken = {photo.name for photo in known.values()}
    current = []
    for source in sources.paths:
        photo = _describe(source, sources.root, taken, known.get(str(source)))
        if photo != known.get(photo.source):  # new or changed; delete results of the older version first
            for path in (masks_path(out, photo.name), preview_path(out, photo.name)):
                with suppress(FileNotFoundError, NotADirectoryError):
                    path.unlink()
            shutil.rmtree(tiles_folder(out, photo.name), ignore_errors=True)
        known[photo.source] = photo
        current.append(photo)
    photos = tuple(known.values())
    make_folder(out)
    _sweep(out)
    plan = {"settings": settings, "images": [asdict(photo) for photo in photos]}
    write_atomically(out / PLAN, json_bytes(plan))
    pending = tuple(photo for photo in current if not is_done(out, photo.name))
    return Plan(out, settings, photos, pending)


def read_plan(out: Path) -> dict[str, Any] | None:
    """Read the plan of an earlier run. raises: OutputError if it is damaged or names files outside ``out``"""
    try:
        text = (out / PLAN).read_text("ascii")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as e:
        raise OutputError(f"{out / PLAN} cannot be read ({e}); choose another folder with --out") from e
    try:
        plan = json.loads(text)
        photos = [Photo(**image) for image in plan["images"]]
        for photo in photos:
            if not all(isinstance(text, str) for text in (photo.name, photo.file_name, photo.source)):
                raise TypeError("a name is not text")
            masks_path(out, photo.name), preview_path(out, photo.name)
        return {"settings": dict(plan["settings"]), "images": [asdict(photo) for photo in photos]}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise OutputError(f"{out / PLAN} is not the plan of an earlier run; choose another folder with --out") from e


def check_unused(out: Path, resume: bool, planned: bool) -> None:
    """raises: OutputError if the folder is not empty, unless ``planned``: an earlier run is resumed"""
    if not os.path.lexists(out):
        return
    if not out.is_dir():
        raise OutputError(f"{out} is not a folder; choose another place with --out")
    if not any(out.iterdir()):
        return
    if planned and not resume:
        raise OutputError(f"{out} has results of an earlier run; add --resume to continue it, or choose another --out")
    raise OutputError(f"{out} is not empty; choose another folder with --out")


def check_same(out: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """raises: OutputError if an earlier run's settings differ from this one's"""
    differs = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if differs:
        parts = ", ".join(f"{key} {before.get(key)!r} and not {now.get(key)!r}" for key in differs)
        raise OutputError(
            f"the results in {out} were made with {parts}; give the same options to continue, or choose another --out"
        )


def _common_folder(inputs: Sequence[Path]) -> str:
    folders = [os.path.abspath(path if path.is_dir() else path.parent) for path in inputs]
    try:
        return os.path.commonpath(folders)
    except ValueError:  # on different drives
        return os.sep


def _describe(source: Path, root: str, taken: set[str], known: Photo | None) -> Photo:
    """Describe the photo's current file, under its known name or an unused one."""
    try:
        state = source.stat()
        size, modified = state.st_size, state.st_mtime_ns
    except OSError:
        size = modified = None
    if known is not None:
        return Photo(known.name, known.file_name, known.source, size, modified)
    try:
        below = source.relative_to(root)
    except ValueError:
        below = Path(*source.parts[1:])
    stem = name = below.with_suffix("").as_posix()
    number = 1
    while name in taken:
        number += 1
        name = f"{stem}-{number}"
    taken.add(name)
    return Photo(name, below.as_posix(), str(source), size, modified)


def _sweep(out: Path) -> None:
    """Remove temporary files of an earlier run that was killed."""
    for folder, _, files in os.walk(out):
        for file in files:
            if PART.fullmatch(file):
                with suppress(FileNotFoundError):
                    os.unlink(os.path.join(folder, file))
