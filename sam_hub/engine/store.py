"""A project's photos and masks. When a writing method returns, its data is on disk."""

import json
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from sqlite3 import Connection, Row
from typing import Any

from ..errors import DataError, OutputError
from ..ops.files import make_folder
from ..ops.run_lengths import Rle, compress_rle, rle_counts
from .schema import FILE, connect, create, reading, transaction

STATES = ("open", "done", "skipped", "auto", "lost")
"""States of a photo: to do; done by a person; skipped by a person; done by the model alone; missing or changed."""


@dataclass(frozen=True)
class PhotoRow:
    """A photo: its file when it was added, its upright size in pixels, and its state.

    held: whether it is held out: used for scoring, never for training
    filled: the round whose model pre-filled it, or None
    """

    id: int
    path: str
    sha256: str
    bytes: int
    modified: int
    width: int
    height: int
    held: bool
    state: str
    filled: int | None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)"""
        return self.height, self.width


@dataclass(frozen=True)
class MaskVersion:
    """One version of an object.

    request: unique id from the caller, such as a UUID; a repeated request is stored once
    state: "accepted", "removed", or "proposed" by a model; rle: compressed, of the photo's size
    stage: "assisted", "semi", "full" or "import"; round, model: used to make it
    clicks, seconds: spent on the object so far; score: predicted IoU
    """

    request: str
    object: str
    state: str
    rle: Rle
    stage: str
    round: int
    model: str
    annotator: str
    name: str = ""
    prompts: dict[str, Any] = field(default_factory=dict)
    score: float | None = None
    clicks: int = 0
    seconds: float = 0.0


class Project:
    """An open project. Threads may share it; each process must open its own."""

    def __init__(self, folder: Path, connection: Connection) -> None:
        self.folder, self.connection = folder, connection
        self.file = folder / FILE
        self._lock = threading.RLock()

    @classmethod
    def open(cls, folder: str | Path) -> "Project":
        """raises: DataError if it is not a project, is damaged, or was written by a newer sam-hub"""
        return cls(Path(folder), connect(Path(folder, FILE)))

    @classmethod
    def create(cls, folder: str | Path, model: str, held_share: float, seed: int = 0) -> "Project":
        """Create a project, or open an existing one, which must have the same model and held-out share.

        model: used in round 0; held_share: share of photos held out for scoring
        raises: OutputError if the folder holds other files, or a project with other settings
        """
        folder = Path(folder)
        if folder.is_dir() and any(folder.iterdir()) and not (folder / FILE).is_file():
            raise OutputError(f"{folder} is not empty and not a project; choose another folder")
        make_folder(folder)
        project = cls(folder, create(folder / FILE))
        wanted = {"model": model, "held_share": held_share, "seed": seed}
        try:
            with project.writing() as db:
                for key, value in wanted.items():
                    db.execute("INSERT OR IGNORE INTO settings VALUES (?, ?)", (key, json.dumps(value)))
                db.execute(
                    "INSERT OR IGNORE INTO rounds (round, model, upto, began, finished, taken) "
                    "VALUES (0, ?, 0, ?, ?, 1)",
                    (model, time.time(), time.time()),
                )
                db.execute("INSERT OR IGNORE INTO settings VALUES ('round', '0')")
            there = {key: project.setting(key) for key in wanted}
            if there != wanted:
                told = ", ".join(f"{k} {there[k]!r} and not {wanted[k]!r}" for k in wanted if there[k] != wanted[k])
                raise OutputError(
                    f"{folder} is a project with {told}; use the same to add photos, or choose another folder"
                )
        except BaseException:
            project.close()
            raise
        return project

    def close(self) -> None:
        with self._lock:
            self.connection.close()

    def __enter__(self) -> "Project":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One write transaction. raises: OutputError if the disk is full or another process locks the file"""
        with self._lock, transaction(self.connection, self.file) as db:
            yield db

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Row]:
        with self._lock, reading(self.file):
            return self.connection.execute(statement, values).fetchall()

    def one(self, statement: str, values: Sequence[Any] = ()) -> Row | None:
        found = self.rows(statement, values)
        return found[0] if found else None

    def setting(self, key: str) -> Any:
        row = self.one("SELECT value FROM settings WHERE key = ?", (key,))
        return None if row is None else read_json(row["value"], f"the setting {key} of {self.folder}")

    def photo(self, id: int) -> PhotoRow:
        """raises: DataError"""
        row = self.one("SELECT * FROM photos WHERE id = ?", (id,))
        if row is None:
            raise DataError(f"the project {self.folder} has no photo {id}")
        return photo_of(row)

    def save(self, photo: PhotoRow, version: MaskVersion) -> int:
        """Store a version of an object and return its id; for a repeated request, return the existing id.

        raises: DataError if the mask has another size than the photo, OutputError if it cannot be written
        """
        with self.writing() as db:
            return insert_mask(db, photo, version)

    def propose(
        self, photo: PhotoRow, versions: Iterable[MaskVersion], round: int, state: str = "open", again: bool = False
    ) -> bool:
        """Store all of a model's proposals for a photo at once, replacing earlier proposals.

        Does nothing for photos that are done or held by somebody, or, unless ``again``, already filled by this round.
        state: new state of the photo; returns: whether anything was stored
        """
        versions = list(versions)
        with self.writing() as db:
            now = db.execute("SELECT state, filled FROM photos WHERE id = ?", (photo.id,)).fetchone()
            held = db.execute("SELECT 1 FROM leases WHERE photo = ? AND until > ?", (photo.id, time.time())).fetchone()
            if now["state"] not in ("open", "skipped") or (now["filled"] == round and not again) or held:
                return False
            withdraw(db, photo, round)
            for version in versions:
                insert_mask(db, photo, version)
            db.execute("UPDATE photos SET filled = ?, state = ? WHERE id = ?", (round, state, photo.id))
        return True

    def objects(self, photo: int, upto: int | None = None) -> list[Row]:
        """The newest version of each object, without removed ones, in the order in which they were first drawn.

        upto: ignore masks newer than this id
        """
        limit = 2**62 if upto is None else upto
        found = self.rows(
            "SELECT m.* FROM masks m JOIN (SELECT max(id) AS id, min(id) AS first FROM masks WHERE photo = ? AND "
            "id <= ? GROUP BY object) newest USING (id) WHERE state != 'removed' ORDER BY first",
            (photo, limit),
        )
        for row in found:
            check_types(row, MASK_TYPES, "a mask")
        return found

    def history(self, photo: int, object: str) -> list[Row]:
        """All versions of an object, oldest first."""
        return self.rows("SELECT * FROM masks WHERE photo = ? AND object = ? ORDER BY id", (photo, object))

    def newest_mask(self) -> int:
        return self.rows("SELECT coalesce(max(id), 0) AS id FROM masks")[0]["id"]

    def annotated(self, held: bool, upto: int | None = None, by_people: bool = True) -> list[int]:
        """Photos with accepted objects, sorted by id.

        by_people: exclude the fully automatic stage
        """
        stages = "('assisted', 'semi', 'import')" if by_people else "('assisted', 'semi', 'import', 'full')"
        found = self.rows(
            "SELECT DISTINCT o.photo AS id FROM objects o JOIN photos p ON p.id = o.photo JOIN masks m ON m.photo = "
            f"o.photo AND m.object = o.object WHERE p.held = ? AND p.state != 'lost' AND m.id <= ? AND m.stage IN "
            f"{stages} AND m.state = 'accepted' ORDER BY o.photo",
            (held, 2**62 if upto is None else upto),
        )
        return [row["id"] for row in found]


def photo_of(row: Row) -> PhotoRow:
    """raises: DataError if sam-hub cannot have written a value"""
    check_types(row, PHOTO_TYPES, "a photo")
    fields = {key: row[key] for key in PhotoRow.__dataclass_fields__}
    return PhotoRow(**{**fields, "held": bool(row["held"])})


WHOLE, TEXT = (int,), (str,)
PHOTO_TYPES = {
    **dict.fromkeys(("id", "bytes", "modified", "width", "height", "held"), WHOLE),
    **dict.fromkeys(("path", "sha256", "state"), TEXT),
    "filled": (int, type(None)),
}
MASK_TYPES = {
    **dict.fromkeys(("photo", "round", "clicks"), WHOLE),
    **dict.fromkeys(("object", "state", "counts", "name", "stage", "model", "annotator", "prompts"), TEXT),
    "score": (int, float, type(None)),
    "seconds": (int, float),
}

ROUND_TYPES = {"round": WHOLE, "model": TEXT, "facts": TEXT, "taken": WHOLE, "finished": (int, float, type(None))}


def check_types(row: Row, types: dict[str, tuple[type, ...]], what: str) -> None:
    """Check column types, which SQLite does not enforce. raises: DataError for a wrong type"""
    for key, allowed in types.items():
        if type(row[key]) not in allowed:
            raise DataError(f"{what} of the project has the {key} {row[key]!r:.80}; restore a copy of project.db")


def read_json(text: Any, what: str) -> Any:
    """raises: DataError"""
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError) as e:
        raise DataError(f"{what} cannot be read; restore a copy of project.db") from e


def read_object(text: Any, what: str) -> dict[str, Any]:
    """raises: DataError"""
    found = read_json(text, what)
    if not isinstance(found, dict):
        raise DataError(f"{what} is not a JSON object; restore a copy of project.db")
    return found


def insert_mask(db: Connection, photo: PhotoRow, version: MaskVersion) -> int:
    """See `Project.save`."""
    stored = db.execute("SELECT id FROM masks WHERE request = ?", (version.request,)).fetchone()
    if stored is not None:
        return stored["id"]
    rle_counts(version.rle, photo.size)
    columns = {
        **{k: v for k, v in vars(version).items() if k not in ("rle", "prompts")},
        "photo": photo.id,
        "counts": compress_rle(version.rle)["counts"],
        "prompts": json.dumps(version.prompts),
        "at": time.time(),
    }
    names = ", ".join(columns)
    marks = ", ".join("?" * len(columns))
    return db.execute(f"INSERT INTO masks ({names}) VALUES ({marks})", list(columns.values())).lastrowid


def withdraw(db: Connection, photo: PhotoRow, round: int) -> None:
    """Mark a photo's proposals as removed, unless accepted; the old rows remain."""
    stale = db.execute(
        "SELECT m.* FROM objects o JOIN masks m ON m.id = o.mask WHERE o.photo = ? AND o.state = 'proposed'",
        (photo.id,),
    ).fetchall()
    for row in stale:
        columns = {k: row[k] for k in row.keys() if k != "id"}  # noqa: SIM118 a Row iterates over values
        columns |= {"request": f"withdrawn:{row['id']}:{round}", "state": "removed", "at": time.time()}
        marks = ", ".join("?" * len(columns))
        db.execute(f"INSERT INTO masks ({', '.join(columns)}) VALUES ({marks})", list(columns.values()))


def rle_of(row: Row, size: tuple[int, int]) -> Rle:
    """The mask of a row, for a photo of (H, W)."""
    return {"size": list(size), "counts": row["counts"]}
