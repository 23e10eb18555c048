"""kill -9 of the server during annotation, of `engine train` and of `engine auto`: is anything lost or duplicated?

python benchmarks/engine_killed.py [--tiny] [KILLS [PHOTOS [STEPS]]]

By default 20 kills in all, on 40 photos; exits with 1 on a fault. With --tiny, a model of random weights replaces
`pocket`, as what is lost does not depend on the masks' content, and the run takes minutes.

The annotator clicks through the page's own protocol (encode, segment, save, finish) and records each mask that the
server acknowledged. After the last kill, each must be in the project exactly once, bit for bit.
"""

import http.client
import json
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
from large_pictures import tiny_model
from PIL import Image

from sam_hub.engine import photos
from sam_hub.engine.status import problems
from sam_hub.engine.store import Project

SIZE = (96, 128)
COMMAND = [sys.executable, "-m", "sam_hub", "engine"]


def make_project(folder: Path, count: int, model: str) -> Path:
    """Write photos of two discs each, and a project of them."""
    source = folder / "photos"
    source.mkdir()
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    for number in range(count):
        rng = np.random.default_rng(number)
        image = rng.normal(90, 6, (*SIZE, 3))
        for cx, cy in centres(number):
            image[(x - cx) ** 2 + (y - cy) ** 2 < 15**2] = rng.uniform(150, 250, 3)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(source / f"{number:03}.png")
    with Project.create(folder / "project", model, 0.3) as project:
        photos.add(project, photos.find([source], project.folder))
    return folder / "project"


def centres(number: int) -> list[tuple[float, float]]:
    rng = np.random.default_rng(1000 + number)
    return [(rng.uniform(20, 45), rng.uniform(20, 75)), (rng.uniform(80, 108), rng.uniform(20, 75))]


class Annotator:
    """A scripted annotator. saved: request -> (photo, object, counts) of everything acknowledged"""

    def __init__(self, port: int) -> None:
        self.base, self.saved, self.finished = f"http://127.0.0.1:{port}/sam/", {}, []

    def post(self, path: str, body: bytes | dict) -> dict:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read().splitlines()[-1])

    def work(self, holder: str) -> None:
        """Label photos until none is left or the server is gone. raises: OSError"""
        while (answer := self.post("project/next", {"holder": holder}))["photo"]:
            photo = answer["photo"]["id"]
            number = int(answer["photo"]["name"][:3])
            with urllib.request.urlopen(f"{self.base}project/photo/{photo}", timeout=60) as file:
                key = self.post("encode", file.read())["id"]
            for index, centre in enumerate(centres(number)):
                found = self.post("segment", {"id": key, "prompt": {"points": [centre], "labels": [1]}})
                rle = found["masks"][found["best"]]["rle"]
                name = f"{photo}-{index}"  # the same request again, as the page retries
                body = {"photo": photo, "holder": holder, "request": name, "object": name, "state": "accepted"}
                self.post("project/save", {**body, "rle": rle, "clicks": 1, "seconds": 1.0})
                self.saved[name] = (photo, name, rle["counts"])
            self.post("project/finish", {"holder": holder, "photo": photo, "state": "done"})
            self.finished.append(photo)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def label(project: Path, kills: int, chance: random.Random, annotator_of=Annotator) -> Annotator:
    """Kill the server during an annotator's work, and restart it."""
    port = free_port()
    annotator = annotator_of(port)
    for number in range(kills + 1):
        server = subprocess.Popen([*COMMAND, "label", str(project), "--port", str(port)], stdout=subprocess.PIPE)
        server.stdout.readline()  # it runs
        if number < kills:
            target = len(annotator.saved) + chance.randint(1, 3)
            killer = subprocess.Popen([sys.executable, "-c", KILLER, str(project), str(target), str(server.pid)])
        while server.poll() is None:  # a slow answer is asked for again
            try:
                annotator.work("me")
                break
            except urllib.error.HTTPError as e:
                raise SystemExit(f"the server refused: {e.read().decode()}") from e
            except (OSError, http.client.HTTPException, ValueError, IndexError):  # away, or in the middle of an answer
                time.sleep(0.1)
        if number < kills:
            killer.wait()
        else:
            server.kill()
        server.wait()
        server.stdout.close()
        with Project.open(project) as opened, opened.writing() as db:
            db.execute("DELETE FROM leases WHERE holder != 'me'")
    return annotator


KILLER = """
import os, random, signal, sqlite3, sys, time
folder, target, pid = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
db = sqlite3.connect(f"file:{folder}/project.db?mode=ro", uri=True, timeout=30)
while db.execute("SELECT count(*) FROM masks").fetchone()[0] < target:
    time.sleep(0.002)
    if db.execute("SELECT count(*) FROM photos WHERE state = 'open'").fetchone()[0] == 0:
        break
time.sleep(random.random() * 0.05)
os.kill(pid, signal.SIGKILL)
"""


def interrupt(arguments: list[str], kills: int, chance: random.Random) -> int:
    """Run a command, killed at lines of its progress and restarted, until it completes; returns the number of kills.

    Each time one more line than before may pass, so that the kills fall into all of its parts.
    """
    done, lines = 0, 0
    while True:
        process = subprocess.Popen(
            [*COMMAND, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, bufsize=1
        )
        said, stop = [], chance.randint(0, lines + 1)
        for line in process.stderr:
            said.append(line)
            if done < kills and len(said) > stop:
                time.sleep(chance.random() * 0.3)
                process.send_signal(signal.SIGKILL)
        process.stderr.close()
        if process.wait() == 0:
            return done
        if process.returncode != -signal.SIGKILL:
            raise SystemExit(f"{arguments}: {''.join(said)[-2000:]}")
        done, lines = done + 1, max(lines, len(said))


def check(project: Path, saved: dict[str, tuple[int, str, str]]) -> list[str]:
    """Faults: masks that are lost, changed or duplicated."""
    faults = []
    with Project.open(project) as opened:
        faults += problems(opened)
        for request, (photo, object, counts) in saved.items():
            rows = opened.rows("SELECT * FROM masks WHERE request = ?", (request,))
            if [(r["photo"], r["object"], r["counts"]) for r in rows] != [(photo, object, counts)]:
                faults.append(f"{request} is not there once, as it was")
        twice = opened.rows(
            "SELECT photo, counts, count(*) AS n FROM masks JOIN objects o USING (photo, object) "
            "WHERE o.mask = masks.id AND o.state = 'accepted' GROUP BY photo, counts HAVING n > 1"
        )
        faults += [f"photo {row['photo']} has the same mask {row['n']} times" for row in twice]
    return faults


def main(kills: int = 20, count: int = 40, steps: int = 12, tiny: bool = False) -> int:
    """Exit code."""
    chance, began = random.Random(0), time.monotonic()
    of_server, of_train = kills * 2 // 5, kills * 3 // 10
    with tempfile.TemporaryDirectory() as folder:
        model = str(tiny_model(Path(folder) / "tiny")) if tiny else "pocket"
        project = make_project(Path(folder), count, model)
        with Project.open(project) as opened, opened.writing() as db:  # a part for people, the rest for the model
            db.execute("UPDATE photos SET state = 'skipped' WHERE id > ?", (count * 3 // 5,))
        annotator = label(project, of_server, chance)
        took = time.monotonic() - began
        print(f"{len(annotator.saved)} masks acknowledged, {of_server} kills of the server, {took:.0f} s", flush=True)
        killed = interrupt(["train", str(project), "--steps", str(steps), "--views", "1"], of_train, chance)
        with Project.open(project) as opened:
            rounds = opened.rows("SELECT * FROM rounds WHERE finished IS NULL OR round > 1")
            with opened.writing() as db:
                db.execute("UPDATE photos SET state = 'open' WHERE state = 'skipped'")
        print(f"trained through {killed} kills, {time.monotonic() - began:.0f} s", flush=True)
        left = kills - of_server - killed
        killed = interrupt(["auto", str(project), "--stage", "semi", "--photos", str(count // 4)], left, chance)
        with Project.open(project) as opened:
            filled = opened.rows("SELECT count(*) AS n, count(DISTINCT photo) AS p FROM masks WHERE stage = 'semi'")[0]
        print(
            f"pre-filled {filled['p']} photos with {filled['n']} masks through {killed} kills, "
            f"{time.monotonic() - began:.0f} s",
            flush=True,
        )
        if killed < left:
            print(f"only {kills - left + killed} kills: all was done before")
        faults = check(project, annotator.saved) + [f"round {row['round']} is there twice or open" for row in rounds]
    for fault in faults:
        print(f"FAULT {fault}")
    print("nothing lost, nothing twice" if not faults else f"{len(faults)} faults")
    return bool(faults)


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:] if word != "--tiny"]
    sys.exit(main(*numbers, tiny="--tiny" in sys.argv))
