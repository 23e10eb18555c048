"""Adds photos to a project: finds them one by one, measures them, and stores them in batches."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from sqlite3 import Connection
from typing import NamedTuple

from ..errors import ImageError
from ..ops.files import sha256
from ..ops.images import IMAGE_SUFFIXES, MAX_PIXELS, picture_file
from .store import PhotoRow, Project, photo_of

BATCH = 500
"""Photos per transaction."""

ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)
"""The EXIF orientation tag, and its values that swap width and height."""


class Added(NamedTuple):
    """new, known: numbers of photos; problems: a sentence for each skipped photo"""

    new: int
    known: int
    problems: list[str]


class Facts(NamedTuple):
    path: str
    sha256: str
    bytes: int
    modified: int
    width: int
    height: int


def find(folders: Sequence[Path], project: Path) -> Iterator[Path]:
    """Yield photos in folders, searched recursively, except hidden files and those in the project's folder.

    raises: ImageError for a folder that does not exist
    """
    for start in folders:
        if not os.path.lexists(start):
            raise ImageError(f"{start} does not exist; check the path of the photos")
    return _walk(folders, os.path.realpath(project))


def _walk(folders: Sequence[Path], home: str) -> Iterator[Path]:
    for start in folders:
        if not start.is_dir():
            yield Path(os.path.abspath(start))
            continue
        for folder, folders_in, files in os.walk(os.path.abspath(start)):
            folders_in[:] = sorted(
                f for f in folders_in if not f.startswith(".") and os.path.realpath(Path(folder, f)) != home
            )
            for name in sorted(files):
                if not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
                    yield Path(folder, name)


def add(
    project: Project, paths: Iterable[Path], tell: Callable[[int], None] = lambda done: None, batch: int = BATCH
) -> Added:
    """Add photos to the project, and check known ones again. After an interruption, the same call resumes.

    tell: called with the number of photos checked so far
    """
    new = known = done = 0
    problems: list[str] = []
    share, seed = project.setting("held_share"), project.setting("seed")
    rest = iter(paths)
    while part := list(islice(rest, batch)):
        there = _known(project, part)
        fresh: list[Facts] = []
        for path in part:
            row = there.get(str(path))
            try:
                if row is None:
                    fresh.append(measure(path))
                else:
                    known += 1
                    if why := _look_again(project, row):
                        problems.append(why)
            except (ImageError, UnicodeEncodeError) as e:
                what = f"{path!r}: its name is not UTF-8; rename it" if isinstance(e, UnicodeEncodeError) else str(e)
                problems.append(what)
            done += 1
        with project.writing() as db:
            new += sum(_insert(db, facts, share, seed) for facts in fresh)
        tell(done)
    return Added(new, known, problems)


def measure(path: Path) -> Facts:
    """The stored facts of a photo; only its header is decoded. raises: ImageError, UnicodeEncodeError"""
    str(path).encode()
    try:
        state = path.stat()
        with picture_file(path) as image:
            width, height = image.size
            turned = image.getexif().get(ORIENTATION) in TURNED
        digest = sha256(path)
    except Exception as e:  # Pillow may raise any exception on damaged files
        raise ImageError(f"{path} is not a readable photo ({e}); it is skipped") from e
    if not 0 < width * height <= MAX_PIXELS:
        raise ImageError(f"{path} has {width} x {height} pixels; it is skipped, cut it into tiles first")
    if turned:
        width, height = height, width
    return Facts(str(path), digest, state.st_size, state.st_mtime_ns, width, height)


def is_photo(path: str | Path) -> bool:
    """Whether a file's header is that of a photo."""
    try:
        with picture_file(path):
            return True
    except Exception:  # Pillow may raise any exception
        return False


def what_changed(photo: PhotoRow) -> str | None:
    """Why a photo's masks may no longer fit it, in a sentence, or None if the photo is unchanged."""
    try:
        state = os.stat(photo.path)
        if (state.st_size, state.st_mtime_ns) == (photo.bytes, photo.modified):
            return None
        if state.st_size == photo.bytes and sha256(photo.path) == photo.sha256:
            return None
    except OSError as e:
        return f"{photo.path} cannot be read ({e.strerror}); put it back, and run `sam-hub engine init` again"
    return f"{photo.path} has changed since it was added; put the old file back, or add the new one under another name"


def lose(project: Project, photo: PhotoRow) -> None:
    """Mark a photo as missing or changed: it leaves the queue, but its masks are kept."""
    with project.writing() as db:
        db.execute("UPDATE photos SET state = 'lost' WHERE id = ?", (photo.id,))
        db.execute("DELETE FROM leases WHERE photo = ?", (photo.id,))


def _known(project: Project, paths: Sequence[Path]) -> dict[str, PhotoRow]:
    names = [name for path in paths if (name := str(path)).isprintable() or _is_utf8(name)]
    marks = ", ".join("?" * len(names))
    rows = project.rows(f"SELECT * FROM photos WHERE path IN ({marks})", names)
    return {row["path"]: photo_of(row) for row in rows}


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _look_again(project: Project, photo: PhotoRow) -> str | None:
    """Reopen a lost photo that is back; otherwise return why it is lost."""
    why = what_changed(photo)
    if why and photo.state != "lost":
        lose(project, photo)
    elif not why and photo.state == "lost":
        with project.writing() as db:
            done = "finished IS NOT NULL AND EXISTS (SELECT 1 FROM objects WHERE photo = photos.id)"
            db.execute(
                f"UPDATE photos SET state = CASE WHEN {done} THEN 'done' ELSE 'open' END WHERE id = ?", (photo.id,)
            )
    return why


def _insert(db: Connection, facts: Facts, share: float, seed: int) -> int:
    """Insert a photo; whether it is held out, and its place in the queue, depend only on its content and the seed.

    Held-out photos come twice as early as others, so that models can be scored from the first round on.
    """
    digest = hashlib.sha256(f"{seed} {facts.sha256}".encode()).digest()
    held = int.from_bytes(digest[:6]) < share * 2**48
    place = int.from_bytes(digest[8:15]) >> held
    values = (*facts, held, place)
    found = db.execute(
        "INSERT OR IGNORE INTO photos (path, sha256, bytes, modified, width, height, held, place) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        values,
    )
    return found.rowcount
