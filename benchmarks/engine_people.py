"""Two people label one project at once: is a photo given twice, or a mask stored in the wrong photo?

python benchmarks/engine_people.py [SECONDS [PHOTOS]]     by default 300 seconds, 4000 photos; exits with 1 on a fault

They click through the page's own protocol, with a model of random weights; what the server acknowledged must be in the
project bit for bit, in the right photo.
"""

import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from engine_killed import COMMAND, Annotator, check, free_port, make_project
from large_pictures import tiny_model

PEOPLE = ("ann", "bob")


class Hurried(Annotator):
    """Stops when the time is over, in the middle of a photo or not."""

    end = 0.0

    def post(self, path: str, body: bytes | dict) -> dict:
        if time.monotonic() > self.end:
            raise InterruptedError
        return super().post(path, body)


def main(seconds: int = 300, count: int = 4000) -> int:
    """Exit code."""
    with tempfile.TemporaryDirectory() as folder:
        project = make_project(Path(folder), count, str(tiny_model(Path(folder) / "tiny")))
        port = free_port()
        server = subprocess.Popen([*COMMAND, "label", str(project), "--port", str(port)], stdout=subprocess.PIPE)
        server.stdout.readline()  # it runs
        people = [Hurried(port) for _ in PEOPLE]
        Hurried.end = time.monotonic() + seconds

        def work(person: Hurried, name: str) -> None:
            with suppress(InterruptedError):
                person.work(name)

        threads = [threading.Thread(target=work, args=both) for both in zip(people, PEOPLE, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        server.kill()
        server.wait()
        server.stdout.close()
        given = Counter(photo for person in people for photo in {photo for photo, _, _ in person.saved.values()})
        faults = [f"photo {photo} was given twice" for photo, times in given.items() if times > 1]
        for person in people:
            faults += check(project, person.saved)
            faults += [] if person.finished else ["one of them got no photo"]
    for fault in faults:
        print(f"FAULT {fault}")
    masks = " and ".join(str(len(person.saved)) for person in people)
    print(f"{len(given)} photos, {masks} masks in {seconds} s: " + (f"{len(faults)} faults" if faults else "no fault"))
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
