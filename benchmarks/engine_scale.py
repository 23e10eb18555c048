"""Cost of a growing project: seconds of `init`, milliseconds of `status`, of the next photo and of saving a mask.

python benchmarks/engine_scale.py [--rows] [PHOTOS ...]      by default 100 1000 10000 100000; the photos are tiny files

--rows: insert photos into the database, with files only for those handed out; everything but `init` is measured.
"""

import hashlib
import sys
import tempfile
import time
import uuid
import zlib
from pathlib import Path

import numpy as np

from sam_hub.engine import photos
from sam_hub.engine.queue import Queue
from sam_hub.engine.status import status
from sam_hub.engine.store import MaskVersion, Project
from sam_hub.ops.masks import mask_to_rle

SIDE = 8
TRIES = 50


def png_of(number: int) -> bytes:
    """A PNG of 8 x 8 grey pixels that differs from all others."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    head = SIDE.to_bytes(4) * 2 + b"\x08\x00\x00\x00\x00"
    rows = number.to_bytes(8) + bytes(SIDE * (SIDE + 1) - 8)
    rows = b"".join(b"\0" + rows[i * SIDE : (i + 1) * SIDE] for i in range(SIDE))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


def write_photos(source: Path, count: int) -> None:
    for number in range(count):
        below = source / f"{number // 1000:03}"
        if number % 1000 == 0:
            below.mkdir(parents=True)
        (below / f"{number:06}.png").write_bytes(png_of(number))


def write_rows(project: Project, source: Path, count: int) -> None:
    """Insert the rows that `init` would; files exist only for the photos that will be handed out."""
    source.mkdir()
    with project.writing() as db:
        for number in range(count):
            digest = hashlib.sha256(str(number).encode()).hexdigest()
            facts = photos.Facts(str(source / f"{number:06}.png"), digest, 0, 0, SIDE, SIDE)
            photos._insert(db, facts, 0.2, 0)
    order = "SELECT id, path FROM photos ORDER BY place LIMIT ? OFFSET ?"
    for row in project.rows(order, (TRIES, count // 10)):
        Path(row["path"]).write_bytes(png_of(row["id"]))
        state = Path(row["path"]).stat()
        with project.writing() as db:
            update = "UPDATE photos SET bytes = ?, modified = ? WHERE id = ?"
            db.execute(update, (state.st_size, state.st_mtime_ns, row["id"]))


def measure(count: int, folder: Path, rows_only: bool) -> dict[str, float]:
    """Measure with ``count`` photos, a tenth of which are done, with ten masks each."""
    source = folder / "photos"
    if not rows_only:
        write_photos(source, count)
    with Project.create(folder / "project", "pocket", 0.2) as project:
        began = time.perf_counter()
        if rows_only:
            write_rows(project, source, count)
        else:
            photos.add(project, photos.find([source], project.folder))
        init = time.perf_counter() - began
        rle = mask_to_rle(np.tri(SIDE, dtype=bool))
        with project.writing() as db:
            ids = [row["id"] for row in db.execute("SELECT id FROM photos ORDER BY place LIMIT ?", (count // 10,))]
            rows = ((f"{id}-{n}", id, f"{id}-{n}", rle["counts"], f"person{id % 5}") for id in ids for n in range(10))
            db.executemany(
                "INSERT INTO masks (request, photo, object, state, counts, stage, round, model, annotator, at) "
                "VALUES (?, ?, ?, 'accepted', ?, 'assisted', 0, 'pocket', ?, 0)",
                rows,
            )
            db.executemany("UPDATE photos SET state = 'done', annotator = 'person' WHERE id = ?", [(id,) for id in ids])
        queue, nexts, saves = Queue(project), [], []
        for number in range(TRIES):
            began = time.perf_counter()
            photo = queue.next("me", "me")
            nexts.append(time.perf_counter() - began)
            version = MaskVersion(uuid.uuid4().hex, f"o{number}", "accepted", rle, "assisted", 0, "pocket", "me")
            began = time.perf_counter()
            project.save(photo, version)
            saves.append(time.perf_counter() - began)
            queue.finish(photo.id, "me", "me", "done")
        told = []
        for _ in range(3):
            began = time.perf_counter()
            status(project)
            told.append(time.perf_counter() - began)
        size = project.file.stat().st_size
    return {
        "init_s": init,
        "init_ms_a_photo": init / count * 1e3,
        "next_ms": float(np.median(nexts)) * 1e3,
        "save_ms": float(np.median(saves)) * 1e3,
        "status_ms": float(np.median(told)) * 1e3,
        "mb": size / 2**20,
    }


def main() -> None:
    rows_only = "--rows" in sys.argv
    counts = [int(text) for text in sys.argv[1:] if text.isdigit()] or [100, 1000, 10_000, 100_000]
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(count, Path(folder), rows_only)
        print(f"{count:7} photos  " + "  ".join(f"{k} {v:.2f}" for k, v in found.items()), flush=True)


if __name__ == "__main__":
    main()
