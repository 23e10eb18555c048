"""Assigns each photo to one annotator at a time, and releases it when they go silent."""

import time
from collections.abc import Callable
from sqlite3 import Connection

from ..errors import SamHubError
from .photos import lose, what_changed
from .store import PhotoRow, Project, photo_of

LEASE = 180.0
"""Seconds after the last request of its holder until a photo returns to the queue."""


class NotYours(SamHubError):
    """Somebody else holds the photo."""


class Queue:
    """The photos still to be annotated.

    lease: seconds; clock: like `time.time`
    """

    def __init__(self, project: Project, lease: float = LEASE, clock: Callable[[], float] = time.time) -> None:
        self.project, self.lease, self.clock = project, lease, clock

    def next(self, holder: str, annotator: str) -> PhotoRow | None:
        """The photo that the holder already has, or else the next one; None if nothing is left.

        holder: one browser window of one person
        Photos that are missing or changed are marked as lost and skipped.
        """
        while True:
            with self.project.writing() as db:
                now = self.clock()
                row = (
                    db.execute(
                        "SELECT p.* FROM leases l JOIN photos p ON p.id = l.photo WHERE l.holder = ? AND l.until > ?",
                        (holder, now),
                    ).fetchone()
                    or db.execute(NEXT, (now,)).fetchone()
                )
                if row is None:
                    return None
                photo = photo_of(row)
                self._hold(db, photo.id, holder, annotator)
            if what_changed(photo) is None:
                return photo
            lose(self.project, photo)

    def take(self, photo: int, holder: str, annotator: str) -> PhotoRow:
        """Hold a given photo, even one already done, instead of the current one. raises: NotYours"""
        with self.project.writing() as db:
            self._require(db, photo, holder)
            self._hold(db, photo, holder, annotator)
        return self.project.photo(photo)

    def keep(self, photo: int, holder: str, annotator: str) -> None:
        """Renew the lease; a late call, after the holder moved on, has no effect.

        raises: NotYours if somebody else holds it now
        """
        with self.project.writing() as db:
            self._require(db, photo, holder)
            held = db.execute("SELECT photo FROM leases WHERE holder = ?", (holder,)).fetchone()
            if held is None:
                held = db.execute("SELECT id AS photo FROM photos WHERE id = ? AND state = 'open'", (photo,)).fetchone()
            if held is not None and held["photo"] == photo:
                self._hold(db, photo, holder, annotator)

    def finish(self, photo: int, holder: str, annotator: str, state: str) -> None:
        """Release a photo as "done", "skipped", or "open" again. raises: NotYours"""
        with self.project.writing() as db:
            self._require(db, photo, holder)
            db.execute(
                "UPDATE photos SET state = ?, annotator = ?, finished = ? WHERE id = ?",
                (state, annotator, self.clock(), photo),
            )
            db.execute("DELETE FROM leases WHERE photo = ?", (photo,))

    def before(self, annotator: str, photo: int | None) -> int | None:
        """The photo that a person finished before a given one, or their last one."""
        row = self.project.one("SELECT finished FROM photos WHERE id = ? AND annotator = ?", (photo, annotator))
        limit = row["finished"] if row is not None and row["finished"] is not None else 1e300
        found = self.project.one(
            "SELECT id FROM photos WHERE annotator = ? AND finished < ? AND state IN ('done', 'skipped') AND id != ? "
            "ORDER BY finished DESC LIMIT 1",
            (annotator, limit, photo or 0),
        )
        return None if found is None else found["id"]

    def check(self, db: Connection, photo: int, holder: str) -> None:
        """Check the holder, within a transaction. raises: NotYours"""
        self._require(db, photo, holder)

    def _require(self, db: Connection, photo: int, holder: str) -> None:
        row = db.execute(
            "SELECT annotator FROM leases WHERE photo = ? AND holder != ? AND until > ?", (photo, holder, self.clock())
        ).fetchone()
        if row is not None:
            raise NotYours(f"{row['annotator'] or 'somebody else'} has this photo open; go on to the next one")

    def _hold(self, db: Connection, photo: int, holder: str, annotator: str) -> None:
        db.execute("DELETE FROM leases WHERE holder = ? OR photo = ?", (holder, photo))
        db.execute("INSERT INTO leases VALUES (?, ?, ?, ?)", (photo, holder, annotator, self.clock() + self.lease))


NEXT = """
SELECT * FROM photos p WHERE state = 'open' AND NOT EXISTS
    (SELECT 1 FROM leases l WHERE l.photo = p.id AND l.until > ?)
ORDER BY place LIMIT 1
"""
