"""kill -9 at any moment: everything acknowledged is stored, bit for bit, and nothing twice."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from sam_hub.engine.status import problems
from sam_hub.engine.store import Project
from sam_hub.ops.masks import mask_to_rle

from .conftest import blob

KILLS = 20
PHOTOS = 200  # the writer is some lines ahead of who reads them, and must not end before the last kill

WRITER = """
import sys
sys.path.insert(0, {root!r})
from sam_hub.engine.queue import Queue
from sam_hub.engine.store import Project
from tests.engine.conftest import version

project, name = Project.open({folder!r}), sys.argv[1]
queue = Queue(project)
while photo := queue.next(name, name):
    for i in range(4):
        request = f"{{photo.id}}-{{i}}"                       # as somebody who saves again after a crash
        project.save(photo, version(request, f"o{{i}}", seed=photo.id * 10 + i, annotator=name))
        print("saved", photo.id, i, flush=True)
    queue.finish(photo.id, name, name, "done")
    print("done", photo.id, flush=True)
"""


def test_a_writer_that_is_killed(make_project, root, tmp_path):
    project = make_project(PHOTOS)
    script = WRITER.format(root=str(root), folder=str(project.folder))
    saved, done, kills, chance = set(), [], 0, random.Random(0)
    while kills < KILLS:
        process = subprocess.Popen([sys.executable, "-c", script, "ann"], stdout=subprocess.PIPE, text=True)
        stop = chance.randint(1, 8)
        for lines, line in enumerate(process.stdout, start=1):
            what, *numbers = line.split()
            (saved if what == "saved" else set()).add(tuple(map(int, numbers)))
            done += numbers if what == "done" else []
            if lines == stop:
                time.sleep(chance.random() * 0.01)
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
        process.wait()
        if process.returncode == 0:
            break
        with project.writing() as db:
            db.execute("DELETE FROM leases")  # as time would
    with Project.open(project.folder) as again:
        assert not problems(again)
        there = {
            (row["photo"], int(row["object"][1:])): row["counts"]
            for id in range(1, PHOTOS + 1)
            for row in again.objects(id)
        }
        counts = again.rows("SELECT count(*) AS n, count(DISTINCT request) AS m FROM masks")[0]
    assert kills == KILLS and len(saved) >= KILLS
    assert saved <= set(there), "acknowledged and not there"
    assert counts["n"] == counts["m"] == len(there), "there twice"
    for (photo, i), text in there.items():
        assert text == mask_to_rle(blob(photo * 10 + i))["counts"]
    assert max(Counter(done).values()) == 1, "done twice"


def test_init_that_is_killed(root, tmp_path):
    from .conftest import write_photos

    folder = write_photos(tmp_path / "photos", 40)
    script = (
        "from sam_hub.engine import photos\nfrom sam_hub.engine.store import Project\n"
        f"p = Project.create({str(tmp_path / 'cells')!r}, 'pocket', 0.2)\n"
        f"photos.add(p, photos.find([__import__('pathlib').Path({str(folder)!r})], p.folder), print, batch=4)\n"
    )
    process = subprocess.Popen([sys.executable, "-u", "-c", script], stdout=subprocess.PIPE, text=True)
    for _ in range(3):
        process.stdout.readline()
    process.kill()
    process.wait()
    process.stdout.close()
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, cwd=Path(root))
    with Project.open(tmp_path / "cells") as project:
        assert project.rows("SELECT count(*) AS n, count(DISTINCT path) AS m FROM photos")[0][:] == (40, 40)
        assert not problems(project)
