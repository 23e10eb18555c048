"""Many simulated users at once: errors, mixed-up photos, times and memory.

python benchmarks/demo_users.py [--users 20] [--seconds 60] [--leavers 0.17]

Some of them are leavers, who cut their connections at random moments: while a photo is sent, encoded or searched. The
others must not be affected: each opens a photo of a unique size and clicks on it, now and then looks closer at a small
box, and sometimes changes the photo. An
answer whose masks have another size, or that differs from the first answer to the same click, is a mix-up.
"""

import argparse
import io
import json
import socket
import threading
import time
from dataclasses import dataclass, field

import httpx
import numpy as np
from demo_server import PHOTOS, memory, serving
from PIL import Image


@dataclass
class Seen:
    """Results of all users. times, looks: of clicks and of closer looks, in seconds; curve: (seconds, megabytes)"""

    times: list[float] = field(default_factory=list)
    looks: list[float] = field(default_factory=list)
    encodes: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    mixed: list[str] = field(default_factory=list)
    curve: list[tuple[float, float]] = field(default_factory=list)


class User(threading.Thread):
    """A user, with pauses between clicks."""

    def __init__(self, number: int, url: str, until: float, think: float, seen: Seen) -> None:
        super().__init__(daemon=True)
        self.number, self.until, self.think, self.seen = number, until, think, seen
        self.http = httpx.Client(base_url=url, timeout=120)
        self.random = np.random.default_rng(number)

    def run(self) -> None:
        while time.monotonic() < self.until:
            try:
                self.visit()
            except Exception as e:
                self.seen.errors.append(f"user {self.number}: {type(e).__name__} {e}")
                return

    def visit(self) -> None:
        """Open a photo and click on it, at least twice even if the time is over."""
        picture = Image.open(PHOTOS[self.number % len(PHOTOS)])
        size = (300 + 7 * self.number, 260 + int(self.random.integers(0, 100)))
        file = io.BytesIO()
        picture.resize(size).save(file, "JPEG")
        start = time.perf_counter()
        answer = self.http.post("/sam/encode", content=file.getvalue())
        done = json.loads(answer.text.splitlines()[-1])
        self.seen.encodes.append(time.perf_counter() - start)
        if done["stage"] != "done":
            self.seen.errors.append(f"encode: {done}")
            return
        first = None
        for i in range(12):
            if i >= 2 and time.monotonic() > self.until:
                return
            point = [size[0] / 2, size[1] / 2] if i % 4 == 0 else self.random.uniform((0, 0), size).tolist()
            prompt, times = {"points": [point]}, self.seen.times
            if i % 4 == 3:
                corner = self.random.uniform((0, 0), (size[0] - 40, size[1] - 40))
                prompt, times = {"box": [*corner, *(corner + 40)], "zoom": True}, self.seen.looks
            start = time.perf_counter()
            answer = self.http.post("/sam/segment", json={"id": done["id"], "prompt": prompt})
            times.append(time.perf_counter() - start)
            if answer.status_code != 200:
                self.seen.errors.append(f"segment: {answer.status_code} {answer.text[:200]}")
                return
            masks = json.loads(answer.text.splitlines()[-1])["masks"]
            if any(m["rle"]["size"] != [size[1], size[0]] for m in masks):
                self.seen.mixed.append(f"user {self.number}: {masks[0]['rle']['size']} for {size}")
            if i % 4 == 0:
                first = first or masks
                if masks != first:
                    self.seen.mixed.append(f"user {self.number}: the same click, another answer")
            time.sleep(self.think * self.random.uniform(0.5, 1.5))


class Leaver(User):
    """A user who starts requests and cuts the connection."""

    def visit(self) -> None:
        data = PHOTOS[self.number % len(PHOTOS)].read_bytes()
        if self.random.random() < 0.5:
            self.cut("/sam/encode", data)
        else:
            done = json.loads(self.http.post("/sam/encode", content=data).text.splitlines()[-1])
            if done["stage"] == "done":
                prompt = {"points": [[50, 50]], "labels": [1]}
                path = self.random.choice(["everything", "segment", "export"])
                body = {"id": done["id"], "preset": "default", "prompt": prompt}
                self.cut(f"/sam/{path}", json.dumps(body).encode())
        time.sleep(self.think * self.random.uniform(0.5, 1.5))

    def cut(self, path: str, body: bytes) -> None:
        """Send a request and leave within half a second, or before it is fully sent."""
        url = self.http.base_url
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        whole = head + body
        with socket.create_connection((url.host, url.port), timeout=20) as s:
            s.sendall(whole[: int(self.random.choice([len(whole), self.random.integers(1, len(whole))]))])
            time.sleep(self.random.uniform(0, 0.5))


def crowd(
    url: str, users: int, seconds: float, think: float = 1.0, pid: int | None = None, leavers: float = 0.0
) -> Seen:
    """Let users click, a share of them leavers; with the server's process id, track its memory."""
    seen, left, began = Seen(), Seen(), time.monotonic()
    leaving = round(users * leavers)
    threads = [User(i, url, began + seconds, think, seen) for i in range(users - leaving)]
    threads += [Leaver(i, url, began + seconds, think, left) for i in range(users - leaving, users)]
    for thread in threads:
        thread.start()
    while any(t.is_alive() for t in threads) and time.monotonic() < began + seconds + 60:
        if pid is not None:
            seen.curve.append((time.monotonic() - began, memory(pid)))
        time.sleep(max(0.2, seconds / 30))
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--think", type=float, default=1.0, help="seconds between the clicks of a user")
    parser.add_argument("--leavers", type=float, default=1 / 6, help="share of users who cut their connections")
    given = parser.parse_args()
    with serving() as (url, pid):
        seen = crowd(url, given.users, given.seconds, given.think, pid, given.leavers)
    p50, p95 = np.percentile(seen.times, [50, 95]) * 1000
    e50, e95 = np.percentile(seen.encodes, [50, 95]) * 1000
    l50, l95 = np.percentile(seen.looks, [50, 95]) * 1000
    print(f"{len(seen.times)} clicks, p50 {p50:.0f} ms, p95 {p95:.0f} ms")
    print(f"{len(seen.looks)} closer looks, p50 {l50:.0f} ms, p95 {l95:.0f} ms")
    print(f"{len(seen.encodes)} photos, p50 {e50:.0f} ms, p95 {e95:.0f} ms")
    print(f"{len(seen.errors)} errors, {len(seen.mixed)} mix-ups")
    print("\n".join((seen.errors + seen.mixed)[:10]))
    most = max(m for _, m in seen.curve)
    for t, m in seen.curve:
        print(f"{t:5.0f} s {m:6.0f} MB {'#' * round(m / most * 50)}")
    raise SystemExit(bool(seen.errors or seen.mixed))


if __name__ == "__main__":
    main()
