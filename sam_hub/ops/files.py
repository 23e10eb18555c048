"""Files that are written completely or not at all, and paths that stay inside their folder."""

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

from ..errors import OutputError, SamHubError


def write_atomically(path: str | os.PathLike, data: bytes | Iterable[bytes]) -> None:
    """Write ``data``, whole or in pieces, beside ``path`` and rename it into place: no reader ever sees half a file.

    An existing file is replaced; of a symbolic link, the target. The folder must exist. After any failure, the old file
    is unchanged and nothing else is left behind.
    raises: OutputError
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise OutputError(f"cannot write {path}: it is a folder; give the name of a file in it")
    if target.exists() and not target.is_file():  # a rename would replace /dev/null by a file
        raise OutputError(f"cannot write {path}: it is not a regular file; give the name of a file")
    if not target.parent.is_dir():
        raise OutputError(f"cannot write {path}: the folder {target.parent} does not exist; create it first")
    aside = target.parent / f".{secrets.token_hex(8)}.part"  # short: the target's name may be as long as allowed
    try:
        with open(aside, "xb") as f:
            f.writelines([data] if isinstance(data, bytes) else data)
            f.flush()
            os.fsync(f.fileno())
        os.replace(aside, target)
        _sync_folder(target.parent)
    except OSError as e:
        full = e.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        advice = "free some space or choose another disk" if full else "choose another place"
        raise OutputError(f"cannot write {path}: {e.strerror or e}; {advice}") from e
    finally:
        with suppress(OSError):
            aside.unlink()


def make_folder(path: str | os.PathLike) -> None:
    """Make a folder and its parents, if missing.

    raises: OutputError
    """
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as e:
        raise OutputError(f"cannot make the folder {path}: {e.strerror or e}; choose another place") from e


def prepare_file(path: str | os.PathLike) -> None:
    """Check, before long work, that ``path`` is no folder, and make the folders above it.

    raises: OutputError
    """
    if os.path.isdir(path):
        raise OutputError(f"cannot write {path}: it is a folder; give the name of a file in it")
    make_folder(os.path.dirname(path) or ".")


def check_place(path: str | os.PathLike) -> None:
    """Check, before long work, that ``path`` can be written: a temporary folder is made and removed nearby.

    raises: OutputError
    """
    place = Path(os.path.abspath(path)).parent
    while not place.exists():
        place = place.parent
    try:
        os.rmdir(mkdtemp(prefix=".", suffix=".part", dir=place))
    except OSError as e:
        raise OutputError(f"cannot write {path}: {e.strerror or e}; choose another place") from e


@contextmanager
def whole_folder(path: str | os.PathLike) -> Iterator[Path]:
    """A new folder, renamed to ``path`` if the block succeeds and removed if it fails.

    path: absent or an empty folder; parents are made
    raises: OutputError, also for an OSError raised in the block
    """
    target, aside = Path(os.path.abspath(path)), None
    make_folder(target.parent)
    try:
        aside = Path(mkdtemp(prefix=".", suffix=".part", dir=target.parent))
        yield aside
        aside.chmod(0o755)
        if target.exists():
            target.rmdir()
        aside.rename(target)
    except OSError as e:
        if isinstance(e, OutputError):
            raise
        raise OutputError(f"cannot write {path}: {e.strerror or e}; choose another place") from e
    finally:
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)


def inside(folder: str | os.PathLike, name: str, error: type[SamHubError] = OutputError) -> Path:
    """``folder / name``, for a name read from a file, which must not lead out of the folder.

    For a snapshot in the Hub's cache, the folder is the whole repository, as its files are links to ``blobs/``.
    raises: ``error`` for an absolute name, one with "..", and one that is, or lies behind, a link out of the folder
    """
    parts = name.replace(os.altsep or os.sep, os.sep).split(os.sep)
    absolute = os.path.isabs(name) or os.path.splitdrive(name)[0]
    if not name or "\0" in name or absolute or os.pardir in parts:
        raise error(f"the name {name!r} leads out of {folder}; remove it, or download the folder again")
    home = Path(os.path.realpath(folder))
    path = Path(folder, name)
    if home.parent.name == "snapshots" and (home.parents[1] / "blobs").is_dir():
        home = home.parents[1]
    if not Path(os.path.realpath(path)).is_relative_to(home):
        raise error(f"{path} is a link out of {folder}; put the file itself there")
    return path


def sha256(path: str | os.PathLike) -> str:
    """The hexadecimal SHA-256 of a file. raises: OSError"""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    """Make a rename durable, if the system can (Windows cannot open folders)."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
