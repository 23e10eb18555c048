"""Malformed requests to every route of the web page's server, its own and Gradio's.

python benchmarks/demo_fuzz.py [--calls 10000] [--seed 0]

Each answer must be a result or an error message of one sentence. Prints the number of calls, the faults, the routes
that were not called, and the server's memory before and after; fails if there is a fault, if a route was not called, or
if the server is not alive at the end.
"""

import argparse
import json
import random
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from demo_routes import uncalled
from demo_server import PHOTOS, memory, serving

SECRET = ("root:", "Traceback", 'File "/', "site-packages", "/home/", "/work/")
"""Text that no answer may contain: local files and internals of the program."""

ENDPOINTS = ("segment", "everything", "export", "import", "again", "encode", "photo", "words", "project",
             "project_photo", "about", "api/encode", "api/segment",
             "api/everything", "address", "raw", "join", "gradio", "stream", "mcp", "login", "host", "cut")  # fmt: skip
SERVER = """
import json, sys, tempfile, threading
from pathlib import Path
import numpy as np
from PIL import Image
from sam_hub.demo import app
from sam_hub.demo.labelling import Labelling
from sam_hub.engine import photos
from sam_hub.engine.store import Project
folder = Path(tempfile.mkdtemp())
(folder / "photos").mkdir()
for number in range(40):
    noise = np.random.default_rng(number).integers(0, 256, (60, 80, 3), np.uint8)
    Image.fromarray(noise).save(folder / "photos" / f"{number}.png")
project = Project.create(folder / "project", "pocket", 0.2)
photos.add(project, photos.find([folder / "photos"], project.folder))
server, service = app.build()
service.finder = lambda image, text: (np.array([[20.0, 20, 200, 150], [50, 50, 60, 70]]), np.array([0.9, 0.3]))
Labelling(project, service, lambda request: "me").add_to(server)
app.launch(server, port=port, mcp=True, block=False)
sys.path.insert(0, "benchmarks")
from demo_routes import reachable
Path(routes).write_text(json.dumps(reachable(server)))
threading.Event().wait()
"""
"""The page with every optional route: MCP, a project, and text prompts with a mock detector."""

GRADIO = {
    "GET": ("/", "/config", "/gradio_api/info", "/gradio_api/app_id", "/gradio_api/login_check", "/robots.txt",
            "/favicon.ico", "/gradio_api/startup-events", "/gradio_api/mcp", "/gradio_api/mcp/schema",
            "/logout"),
    "POST": ("/gradio_api/cancel", "/gradio_api/reset", "/gradio_api/call/v2/segment", "/gradio_api/call/nothing"),
}  # fmt: skip
STREAMS = (
    "/gradio_api/queue/data?session_hash={}",
    "/gradio_api/call/segment/{}",
    "/gradio_api/call/v2/segment/{}",
    "/gradio_api/heartbeat/{}",
)
ADDRESSES = ("/gradio_api/file={}", "/file={}", "/page/{}", "/sam/photo/{}", "/sam/{}", "/gradio_api/{}", "/{}")
PATHS = (
    "/etc/passwd",
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "....//etc/passwd",
    "app.py",
    "upload",
    "queue/join",
)


GRADIOS = ("address", "raw", "api", "join", "gradio", "mcp", "login")
"""Kinds of calls whose errors may be Gradio's."""


class Fuzzer:
    """Random calls, determined by the seed except for photo ids."""

    def __init__(self, url: str, seed: int) -> None:
        self.random = random.Random(seed)
        self.calls: set[tuple[str, str]] = set()
        self.http = httpx.Client(base_url=url, timeout=60, event_hooks={"request": [self.note]})
        self.counts: Counter[tuple[str, int]] = Counter()
        self.faults: list[str] = []
        data = PHOTOS[0].read_bytes()
        answer = self.http.post("/sam/encode", content=data)
        self.id = json.loads(answer.text.splitlines()[-1])["id"]
        self.jpeg = data
        there = "error" in self.http.get("/sam/project/photo/0").json()  # of a project: no such photo
        self.kinds = [kind for kind in ENDPOINTS if there or not kind.startswith("project")]

    def note(self, request: httpx.Request) -> None:
        """Record the method and path of a call."""
        self.calls.add((request.method, request.url.path))

    def scalar(self) -> Any:
        r = self.random
        return r.choice(
            [None, True, False, 0, 1, -1, r.randint(-(10**6), 10**6), r.uniform(-500, 500), 1e308, 10**30, "", "x",
             "/etc/passwd", "pocket", "fast", "masks", self.id, "💥\0", "A" * r.randint(0, 3000)]
        )  # fmt: skip

    def value(self, depth: int = 0) -> Any:
        r = self.random
        if depth > 3 or r.random() < 0.4:
            return self.scalar()
        if r.random() < 0.5:
            return [self.value(depth + 1) for _ in range(r.randint(0, 5))]
        names = ("points", "labels", "box", "path", "meta", "url", "size", "counts", "result", "mask", "rle", "x")
        return {r.choice(names): self.value(depth + 1) for _ in range(r.randint(0, 4))}

    def maybe(self, good: Any, wrong: float = 0.25) -> Any:
        """Mostly a valid value, so that malformed calls get past the first check."""
        return self.value() if self.random.random() < wrong else good

    def xy(self) -> list:
        return [self.maybe(self.random.uniform(-20, 480), 0.08), self.maybe(self.random.uniform(-20, 320), 0.08)]

    def prompt(self) -> Any:
        r = self.random
        points = [self.xy() for _ in range(r.choice([0, 1, 1, 2, 5]))]
        stroke = {"points": [self.xy() for _ in range(3)], "radius": self.maybe(r.uniform(0, 90))}
        parts = {
            "points": self.maybe(points, 0.1),
            "labels": self.maybe([r.choice([0, 1, 1, 2]) for _ in points], 0.15),
            "box": self.maybe([*self.xy(), *self.xy()]),
            "strokes": self.maybe([stroke]),
            "refine": {"result": self.maybe("r"), "mask": self.maybe(0)},
            "zoom": self.maybe(True),
        }
        kept = {k: v for k, v in parts.items() if k in ("points", "labels") or r.random() < 0.2}
        return self.maybe(kept, 0.1)

    def rle(self) -> Any:
        r = self.random
        zeros = r.randint(0, 300 * 451)
        whole = {"size": [300, 451], "counts": self.maybe([zeros, 300 * 451 - zeros], 0.3)}
        return self.maybe({**whole, "size": self.maybe([300, 451], 0.1)}, 0.1)

    def call(self, kind: str | None = None) -> None:
        """Make a call of the given kind, or of a random one."""
        kind = kind or self.random.choice(self.kinds)
        self.counted(kind, getattr(self, "call_" + kind.replace("/", "_")))

    def everywhere(self) -> None:
        """One call of each kind, and one to each of Gradio's routes."""
        for kind in self.kinds:
            self.call(kind)
        for method, paths in GRADIO.items():
            for path in paths:
                self.counted("gradio", lambda _, method=method, path=path: self.to_gradio(method, path))
        for address in STREAMS:
            self.counted("stream", lambda kind, address=address: self.to_stream(kind, address))
        self.counted("address", lambda _: self.http.get(ADDRESSES[2].format(PATHS[0])))

    def counted(self, kind: str, call: Callable[[str], httpx.Response | None]) -> None:
        try:
            answer = call(kind)
        except httpx.HTTPError as e:
            self.faults.append(f"{kind}: {type(e).__name__} {e}")
            return
        if answer is None:
            self.counts[kind, 0] += 1
        else:
            self.check(kind, answer)

    def check(self, kind: str, answer: httpx.Response) -> None:
        self.counts[kind, answer.status_code] += 1
        text = answer.text if len(answer.content) < 10**6 else ""
        if found := [s for s in SECRET if s in text]:
            self.faults.append(f"{kind}: {answer.status_code} holds {found}: {text[:200]}")
        if answer.status_code >= 400 and kind.split("/")[0] not in GRADIOS:
            sentence = json.loads(text).get("error", "")
            if len(sentence) < 15:
                self.faults.append(f"{kind}: {answer.status_code} without a sentence: {text[:200]}")
        if answer.status_code >= 500 and answer.status_code != 503:
            self.faults.append(f"{kind}: {answer.status_code} {text[:200]}")
        if '"status": 500' in text or "went wrong" in text:
            self.faults.append(f"{kind}: a failure within: {text[:200]}")

    def post(self, path: str, body: Any) -> httpx.Response:
        return self.http.post(path, content=json.dumps(body), headers={"content-type": "application/json"})

    def call_segment(self, kind: str) -> httpx.Response:
        body = {"id": self.maybe(self.id, 0.05), "prompt": self.prompt(), "preview": self.maybe(True)}
        return self.post("/sam/segment", self.maybe(body, 0.03))

    def call_everything(self, kind: str) -> httpx.Response:
        return self.post("/sam/everything", {"id": self.maybe("gone", 0.5), "preset": self.maybe("faster", 0.5)})

    def call_export(self, kind: str) -> httpx.Response:
        one = {"name": self.maybe("cat"), "rle": self.rle(), "score": self.maybe(0.5)}
        one |= {"points": self.maybe([self.xy()]), "labels": self.maybe([1]), "box": self.maybe(None)}
        objects = [self.maybe(one, 0.1) for _ in range(self.random.randint(0, 2))]
        formats = [self.random.choice(["masks", "cutouts", "coco", "sa1b", "svg", "yolo"])]
        body = {
            "id": self.maybe(self.id, 0.05),
            "objects": self.maybe(objects, 0.1),
            "formats": self.maybe(formats, 0.1),
        }
        return self.post("/sam/export", {**body, "file_name": self.maybe("../../x.jpg")})

    def call_import(self, kind: str) -> httpx.Response:
        record = {"segmentation": self.maybe(self.rle(), 0.2), "name": self.maybe("cat"), "category_id": self.maybe(1)}
        record |= {"point_coords": self.maybe([self.xy()]), "input_box": self.maybe([1, 2, 3, 4])}
        image = {"id": self.maybe(1), "width": self.maybe(451, 0.1), "height": 300}
        document = {
            "images": self.maybe([image], 0.2),
            "annotations": self.maybe([record], 0.1),
            "categories": self.value(),
        }
        whole = self.maybe(document, 0.1)
        text = json.dumps(whole) if self.random.random() < 0.5 else whole
        return self.post("/sam/import", {"id": self.maybe(self.id, 0.05), "document": text})

    def call_again(self, kind: str) -> httpx.Response:
        return self.post("/sam/again", {"id": self.maybe("gone", 0.5), "model": self.maybe("sam", 0.5)})

    def call_encode(self, kind: str) -> httpx.Response:
        r = self.random
        damaged = bytearray(self.jpeg[: r.randint(0, 3000)])
        for _ in range(r.randint(0, 20)):
            if damaged:
                damaged[r.randrange(len(damaged))] = r.randrange(256)
        return self.http.post("/sam/encode", params={"model": r.choice(["", "pocket", "x"])}, content=bytes(damaged))

    def call_about(self, kind: str) -> httpx.Response:
        return self.http.get("/sam/about", params={"x": str(self.scalar())[:80]})

    def call_words(self, kind: str) -> httpx.Response:
        body = {"id": self.maybe(self.id, 0.2), "text": self.maybe("a cat")}
        return self.post("/sam/words", self.maybe(body, 0.05))

    def call_project(self, kind: str) -> httpx.Response:
        """Request photos, save masks and finish photos, from three windows."""
        r = self.random
        zeros = r.randint(0, 60 * 80)
        body = {
            "holder": self.maybe(r.choice(["a", "b", "c"]), 0.1),
            "photo": self.maybe(r.randint(0, 45), 0.2),
            "request": self.maybe(f"r{r.randint(0, 10**9)}", 0.1),
            "object": self.maybe(f"o{r.randint(0, 5)}", 0.1),
            "state": self.maybe(r.choice(["accepted", "proposed", "removed", "done", "skipped"]), 0.1),
            "rle": self.maybe({"size": [60, 80], "counts": [zeros, 60 * 80 - zeros]}, 0.2),
            "name": self.maybe("cat"),
            "prompts": self.maybe({"points": self.maybe([self.xy()]), "labels": self.maybe([1])}),
            "score": self.maybe(0.5),
            "clicks": self.maybe(1),
            "seconds": self.maybe(1.5),
            "semi": self.maybe(False),
        }
        path = r.choice(["next", "before", "save", "save", "save", "finish", "keep"])
        text = json.dumps(self.maybe({k: v for k, v in body.items() if r.random() < 0.95}, 0.03))
        if r.random() < 0.1:  # valid JSON that Python does not write
            text = text.replace("1.5", r.choice(["1e999", "-1e999", "NaN", '"\\ud800"', "[" * 2000 + "]" * 2000]))
        return self.http.post(f"/sam/project/{path}", content=text)

    def call_project_photo(self, kind: str) -> httpx.Response:
        word = self.random.choice(["1", "2", "77", "-1", "x", "9" * 40, "1e9", "..%2f1", "%00", "%ef%bc%91"])
        return self.http.get(f"/sam/project/photo/{word}")

    def call_photo(self, kind: str) -> httpx.Response:
        return self.http.get(f"/sam/photo/{self.random.choice(['x', 'a' * 32, '%00', '%2e%2e', '..%5c..'])}")

    def call_api(self, name: str, data: list) -> httpx.Response:
        """A named endpoint through Gradio's queue: join, then read the answer."""
        joined = self.post(f"/gradio_api/call/{name}", self.maybe({"data": data}, 0.1))
        if joined.status_code != 200 or "event_id" not in joined.text:
            return joined
        return self.http.get(f"/gradio_api/call/{name}/{joined.json()['event_id']}")

    def call_api_encode(self, kind: str) -> httpx.Response:
        file = {"path": self.random.choice(PATHS), "meta": {"_type": "gradio.FileData"}}
        return self.call_api(
            "encode", [self.maybe(self.random.choice(["/etc/passwd", "aGk=", file]), 0.4), self.maybe("")]
        )

    def call_api_segment(self, kind: str) -> httpx.Response:
        data = [self.maybe(self.id, 0.3), self.maybe([self.xy()]), self.maybe([1]), self.maybe(None)]
        return self.call_api("segment", data)

    def call_api_everything(self, kind: str) -> httpx.Response:
        return self.call_api("everything", [self.maybe("gone", 0.5), self.value()])

    def call_address(self, kind: str) -> httpx.Response:
        r = self.random
        path = r.choice(ADDRESSES).format(r.choice(PATHS))
        return self.http.request(r.choice(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"]), path)

    def call_raw(self, kind: str) -> httpx.Response:
        r = self.random
        path = "/sam/" + r.choice(["segment", "everything", "export", "import", "again", "words", "project/save"])
        return self.http.post(path, content=r.randbytes(r.randint(0, 400)))

    def call_join(self, kind: str) -> httpx.Response:
        """Join Gradio's queue as its own page does."""
        body = {
            "data": self.maybe([self.maybe("gone"), self.maybe([self.xy()]), self.maybe([1])]),
            "fn_index": self.maybe(self.random.randint(0, 3)),
            "session_hash": self.maybe(f"s{self.random.randint(0, 50)}"),
            "event_data": self.maybe(None),
            "trigger_id": self.maybe(None),
        }
        return self.post("/gradio_api/queue/join", self.maybe(body, 0.05))

    def call_gradio(self, kind: str) -> httpx.Response:
        method = self.random.choice(["GET", "POST"])
        return self.to_gradio(method, self.random.choice(GRADIO[method]))

    def to_gradio(self, method: str, path: str) -> httpx.Response:
        if method == "GET":
            if path == "/gradio_api/mcp":
                return self.http.request("DELETE", path)
            return self.http.get(path, params={"x": str(self.scalar())[:80]}, follow_redirects=False)
        names = ("session_hash", "event_id", "fn_index", "data", "id", "points", "x")
        return self.post(path, {name: self.value() for name in names if self.random.random() < 0.6})

    def call_stream(self, kind: str) -> httpx.Response | None:
        return self.to_stream(kind, self.random.choice(STREAMS))

    def to_stream(self, kind: str, address: str) -> None:
        """Open one of Gradio's endless streams and leave after a moment."""
        word = self.random.choice(["gone", "s1", "a" * 200, "%00", "..%2f..%2fetc%2fpasswd"])
        with suppress(httpx.ReadTimeout), self.http.stream("GET", address.format(word), timeout=0.3) as answer:
            if answer.status_code >= 500 and answer.status_code != 503:
                self.faults.append(f"{kind}: {answer.status_code}")
            next(answer.iter_raw(), b"")

    def call_mcp(self, kind: str) -> httpx.Response:
        name = self.random.choice(["encode", "segment", "everything", "x"])
        call = {"name": self.maybe(name), "arguments": self.maybe({"id": self.maybe("gone"), "points": self.value()})}
        method = self.random.choice(["tools/call", "tools/list", "initialize", "resources/read", "x"])
        body = {"jsonrpc": "2.0", "id": self.maybe(1), "method": self.maybe(method), "params": self.maybe(call)}
        accept = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
        return self.http.post("/gradio_api/mcp/", content=json.dumps(body), headers=accept)

    def call_login(self, kind: str) -> httpx.Response:
        if self.random.random() < 0.3:
            kinds = ["application/json", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", ""]
            headers = {"content-type": self.random.choice(kinds)}
            return self.http.post("/login", content=self.random.randbytes(self.random.randint(0, 300)), headers=headers)
        form = {"username": str(self.scalar())[:100], "password": str(self.scalar())[:100]}
        return self.http.post("/login", data=form)

    def call_host(self, kind: str) -> httpx.Response:
        word = self.random.choice(["evil.example", "", "localhost", "[::1]:7", "[", "a" * 300, "127.0.0.1:x"])
        return self.http.get("/sam/about", headers={"host": word})

    def call_cut(self, kind: str) -> None:
        """Send a request and cut the connection at a random point."""
        r, url = self.random, self.http.base_url
        path = r.choice(["/sam/encode", "/sam/export", "/sam/import", "/sam/segment", "/gradio_api/call/encode"])
        body = self.jpeg if path == "/sam/encode" else json.dumps({"id": self.id, "data": [self.value()]}).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        with socket.create_connection((url.host, url.port), timeout=20) as s:
            s.sendall((head + body)[: r.randint(1, len(head) + len(body))])
            time.sleep(r.uniform(0, 0.02))


def fuzz(url: str, calls: int, seed: int = 0) -> Fuzzer:
    """Make the calls, every kind first, and collect ``faults``."""
    fuzzer = Fuzzer(url, seed)
    fuzzer.everywhere()
    for _ in range(calls):
        fuzzer.call()
    return fuzzer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        routes = Path(folder, "routes.json")
        with serving(code=f"routes = {str(routes)!r}\n{SERVER}") as (url, pid):
            warm = fuzz(url, min(500, given.calls // 10), given.seed + 1)  # warm-up: caches and threads
            before, began = memory(pid), time.monotonic()
            done = fuzz(url, given.calls, given.seed)
            seconds, after = time.monotonic() - began, memory(pid)
            httpx.get(f"{url}/sam/about", timeout=20).raise_for_status()
        known = json.loads(routes.read_text())
    missing = uncalled(known, warm.calls | done.calls)
    for (kind, status), count in sorted(done.counts.items()):
        print(f"{kind:16} {status} {count:6}")
    print(f"{sum(done.counts.values())} answers in {seconds:.0f} s, {len(done.faults)} faults, the server is alive")
    print(f"memory of the server: {before:.0f} MB before, {after:.0f} MB after")
    print(f"{len(known)} routes are reachable; not called: {', '.join(missing) or 'none'}")
    print("\n".join(done.faults[:20]))
    raise SystemExit(bool(done.faults or missing))


if __name__ == "__main__":
    main()
