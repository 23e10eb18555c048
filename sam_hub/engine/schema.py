"""The project's SQLite database. Rows are only added, never deleted, except for photo assignments."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import DataError, OutputError

APPLICATION = 0x53414D48
"""SQLite's ``application_id`` of these files."""

WAIT = 30.0
"""Seconds to wait for another process's write lock."""

TABLES = """
CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE photos (
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,                  -- absolute
    sha256 TEXT NOT NULL, bytes INTEGER NOT NULL, modified INTEGER NOT NULL,
    width INTEGER NOT NULL, height INTEGER NOT NULL,
    held INTEGER NOT NULL CHECK (held IN (0, 1)),
    place INTEGER NOT NULL,                     -- in the queue
    state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'done', 'skipped', 'auto', 'lost')),
    filled INTEGER,                             -- the round whose model pre-filled it
    annotator TEXT NOT NULL DEFAULT '', finished REAL
);
CREATE INDEX queue ON photos (state, place);
CREATE INDEX by_content ON photos (sha256);
CREATE INDEX by_annotator ON photos (annotator, finished, state);

CREATE TABLE masks (                            -- each row is one version of an object; none is ever changed
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    request TEXT NOT NULL UNIQUE,               -- sent again, it is stored once
    photo INTEGER NOT NULL REFERENCES photos (id),
    object TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('proposed', 'accepted', 'removed')),
    counts TEXT NOT NULL,                       -- COCO run lengths, compressed, of the photo's size
    name TEXT NOT NULL DEFAULT '',
    stage TEXT NOT NULL CHECK (stage IN ('assisted', 'semi', 'full', 'import')),
    round INTEGER NOT NULL, model TEXT NOT NULL, annotator TEXT NOT NULL,
    prompts TEXT NOT NULL DEFAULT '{}',         -- JSON
    score REAL,
    clicks INTEGER NOT NULL DEFAULT 0, seconds REAL NOT NULL DEFAULT 0,  -- spent on the object until now
    at REAL NOT NULL
);
CREATE TRIGGER masks_stay BEFORE UPDATE ON masks BEGIN SELECT RAISE(ABORT, 'masks are never changed'); END;
CREATE TRIGGER masks_remain BEFORE DELETE ON masks BEGIN SELECT RAISE(ABORT, 'masks are never deleted'); END;

CREATE TABLE objects (                          -- the newest version of each object
    photo INTEGER NOT NULL, object TEXT NOT NULL, mask INTEGER NOT NULL REFERENCES masks (id),
    state TEXT NOT NULL, stage TEXT NOT NULL, round INTEGER NOT NULL, annotator TEXT NOT NULL,
    clicks INTEGER NOT NULL, seconds REAL NOT NULL,
    proposed INTEGER NOT NULL,                  -- whether a model drew it first
    touched INTEGER NOT NULL DEFAULT 0,         -- whether its mask has changed since
    PRIMARY KEY (photo, object)
) WITHOUT ROWID;
CREATE TRIGGER versions AFTER INSERT ON masks BEGIN
    INSERT INTO objects (photo, object, mask, state, stage, round, annotator, clicks, seconds, proposed)
    VALUES (NEW.photo, NEW.object, NEW.id, NEW.state, NEW.stage, NEW.round, NEW.annotator, NEW.clicks, NEW.seconds,
            NEW.state = 'proposed')
    ON CONFLICT (photo, object) DO UPDATE SET
        touched = touched OR NEW.counts != (SELECT counts FROM masks WHERE id = mask),
        mask = NEW.id, state = NEW.state, stage = NEW.stage, round = NEW.round, annotator = NEW.annotator,
        clicks = NEW.clicks, seconds = NEW.seconds;
END;

CREATE TABLE photo_counts (state TEXT, held INTEGER, photos INTEGER NOT NULL, PRIMARY KEY (state, held)) WITHOUT ROWID;
CREATE TRIGGER photo_added AFTER INSERT ON photos BEGIN
    INSERT INTO photo_counts VALUES (NEW.state, NEW.held, 1) ON CONFLICT DO UPDATE SET photos = photos + 1;
END;
CREATE TRIGGER photo_moved AFTER UPDATE OF state ON photos WHEN OLD.state != NEW.state BEGIN
    UPDATE photo_counts SET photos = photos - 1 WHERE state = OLD.state AND held = OLD.held;
    INSERT INTO photo_counts VALUES (NEW.state, NEW.held, 1) ON CONFLICT DO UPDATE SET photos = photos + 1;
END;

CREATE TABLE mask_counts (
    state TEXT, stage TEXT, round INTEGER, annotator TEXT,
    masks INTEGER NOT NULL, clicks INTEGER NOT NULL, seconds REAL NOT NULL, untouched INTEGER NOT NULL,
    PRIMARY KEY (state, stage, round, annotator)
) WITHOUT ROWID;
CREATE TRIGGER object_added AFTER INSERT ON objects BEGIN
    INSERT INTO mask_counts VALUES (NEW.state, NEW.stage, NEW.round, NEW.annotator, 1, NEW.clicks, NEW.seconds,
                                    NEW.proposed AND NOT NEW.touched)
    ON CONFLICT DO UPDATE SET masks = masks + 1, clicks = clicks + excluded.clicks,
        seconds = seconds + excluded.seconds, untouched = untouched + excluded.untouched;
END;
CREATE TRIGGER object_moved AFTER UPDATE ON objects BEGIN
    UPDATE mask_counts SET masks = masks - 1, clicks = clicks - OLD.clicks, seconds = seconds - OLD.seconds,
        untouched = untouched - (OLD.proposed AND NOT OLD.touched)
    WHERE state = OLD.state AND stage = OLD.stage AND round = OLD.round AND annotator = OLD.annotator;
    INSERT INTO mask_counts VALUES (NEW.state, NEW.stage, NEW.round, NEW.annotator, 1, NEW.clicks, NEW.seconds,
                                    NEW.proposed AND NOT NEW.touched)
    ON CONFLICT DO UPDATE SET masks = masks + 1, clicks = clicks + excluded.clicks,
        seconds = seconds + excluded.seconds, untouched = untouched + excluded.untouched;
END;

CREATE TABLE leases (                           -- who is at which photo, until when
    photo INTEGER PRIMARY KEY REFERENCES photos (id), holder TEXT NOT NULL UNIQUE, annotator TEXT NOT NULL,
    until REAL NOT NULL
);

CREATE TABLE rounds (
    round INTEGER PRIMARY KEY, model TEXT NOT NULL, parent INTEGER, upto INTEGER NOT NULL, began REAL NOT NULL,
    finished REAL, taken INTEGER NOT NULL DEFAULT 0, facts TEXT NOT NULL DEFAULT '{}'
);
"""
"""upto: newest mask used to train the round; facts: settings and scores as JSON."""

MIGRATIONS: tuple[str, ...] = (TABLES,)
"""Migration scripts from version n to n + 1; append one for each new version."""

VERSION = len(MIGRATIONS)


def connect(path: Path) -> sqlite3.Connection:
    """Open a project's file and migrate it to this version. Committed data survives a power cut.

    raises: DataError if it does not exist, is damaged, or was written by a newer sam-hub
    """
    if not path.is_file():
        raise DataError(
            f"{path.parent} is not a project; create one with `sam-hub engine init {path.parent} --images DIR`"
        )
    return _opened(path)


def create(path: Path) -> sqlite3.Connection:
    """As `connect`, but creates the file if necessary. raises: OutputError if it cannot be created"""
    return _opened(path)


def _opened(path: Path) -> sqlite3.Connection:
    connection = None
    try:
        connection = sqlite3.connect(path, timeout=WAIT, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.row_factory = sqlite3.Row
        _migrate(connection, path)
        return connection
    except BaseException as e:
        if connection is not None:
            connection.close()
        if isinstance(e, sqlite3.Error):
            raise _named(e, path) from e
        raise


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    if _version(connection) == VERSION and _application(connection) == APPLICATION:
        return
    with transaction(connection, path):  # another process may have been faster
        version, application = _version(connection), _application(connection)
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if tables and application != APPLICATION:
            raise DataError(f"{path} is not a sam-hub project; choose another folder")
        if version > VERSION:
            raise DataError(f"{path} was written by a newer sam-hub (version {version} > {VERSION}); upgrade sam-hub")
        for script in MIGRATIONS[version:]:
            for statement in _statements(script):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {VERSION}")


def _version(connection: sqlite3.Connection) -> int:
    return connection.execute("PRAGMA user_version").fetchone()[0]


def _application(connection: sqlite3.Connection) -> int:
    return connection.execute("PRAGMA application_id").fetchone()[0]


def _statements(script: str) -> Iterator[str]:
    """Split a script into statements, as ``executescript`` would commit."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


@contextmanager
def transaction(connection: sqlite3.Connection, path: Path) -> Iterator[sqlite3.Connection]:
    """Run an atomic transaction. raises: DataError for a damaged file, OutputError if it cannot be written"""
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # after a full disk, SQLite has already rolled back
                connection.execute("ROLLBACK")
            raise
    except sqlite3.Error as e:
        raise _named(e, path) from e


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Translate SQLite's errors. raises: as in `transaction`"""
    try:
        yield
    except sqlite3.Error as e:
        raise _named(e, path) from e


def _named(error: sqlite3.Error, path: Path) -> Exception:
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
        return OutputError(f"{path} cannot be written ({error}); free some space on its disk, nothing saved is lost")
    if name.startswith("SQLITE_BUSY"):
        return OutputError(f"another process has been writing {path} for {WAIT:.0f} s; wait for it, or stop it")
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return OutputError(f"{path} cannot be opened for writing ({error}); check who may write in its folder")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return DataError(f"{path} is damaged ({error}); restore a copy, or rescue its rows with sqlite3's .recover")
    return DataError(f"{path} cannot be used ({error}); check it with `sam-hub engine status {path.parent} --check`")


def check(connection: sqlite3.Connection, path: Path) -> list[str]:
    """A sentence for each defect of the file: corrupt pages, broken references, wrong running totals."""
    with reading(path):
        problems = [f"{path}: {row[0]}" for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
        if problems:
            return problems
        for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check"):
            problems.append(f"{path}: row {row} of {table} belongs to no row of {parent}")
        for what, statement in CHECKS.items():
            if count := connection.execute(f"SELECT count(*) FROM ({statement})").fetchone()[0]:
                problems.append(f"{path}: {count} {what}")
    return problems


CHECKS = {
    "objects do not point at their newest mask": """
        SELECT photo, object FROM objects o WHERE mask !=
            (SELECT max(id) FROM masks m WHERE m.photo = o.photo AND m.object = o.object)""",
    "masks belong to no object": """
        SELECT id FROM masks m WHERE NOT EXISTS
            (SELECT 1 FROM objects o WHERE o.photo = m.photo AND o.object = m.object)""",
    "counts of photos are wrong": """
        SELECT state, held, photos FROM photo_counts WHERE photos > 0
        EXCEPT SELECT state, held, count(*) FROM photos GROUP BY state, held""",
    "counts of masks are wrong": """
        SELECT state, stage, round, annotator, masks, clicks, untouched FROM mask_counts WHERE masks > 0
        EXCEPT SELECT state, stage, round, annotator, count(*), sum(clicks), sum(proposed AND NOT touched)
        FROM objects GROUP BY state, stage, round, annotator""",
}


def is_project(folder: str | os.PathLike) -> bool:
    return Path(folder, FILE).is_file()


FILE = "project.db"
