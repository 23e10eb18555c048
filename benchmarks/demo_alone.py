"""The page without a server compared with the page with one, and with onnxruntime in Python, in the same run.

python benchmarks/demo_alone.py [--folder DIR] [--rounds 12] [--photos 50]

first load  bytes over the wire, with gzip, until the page can be used and a photo is ready
encode      one photo in the worker on one thread, relative to onnxruntime in Python on one thread
click       from the pointer event to the painted mask, after the pointer rested; relative to the page with a server
memory      of the page's browser process after every ten photos

Fails if a figure exceeds its `BUDGET`.
"""

import argparse
import functools
import gzip
import http.server
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from demo_latency import REST, seen, until
from demo_server import PHOTOS, serving
from PIL import Image

BUDGET = {"megabytes": 14.0, "encode": 3.0, "click": 1.5, "memory": 1.1}
"""Megabytes; ratio; ratio; memory after all photos divided by that after the first ten."""


class Compressed(http.server.SimpleHTTPRequestHandler):
    """Serves a folder with gzip, and counts the bytes sent."""

    sent = 0
    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        path = path / "index.html" if path.is_dir() else path
        if not path.is_file():
            return self.send_error(404)
        content = _gzipped(path)
        self.send_response(200)
        self.send_header("content-type", self.guess_type(str(path)))
        self.send_header("content-encoding", "gzip")
        self.send_header("content-length", str(len(content)))
        self.send_header("cache-control", "max-age=600")
        self.end_headers()
        self.wfile.write(content)
        type(self).sent += len(content)
        return None


@functools.cache
def _gzipped(path: Path) -> bytes:
    return gzip.compress(path.read_bytes(), 6)


@contextmanager
def compressed(folder: Path) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Compressed, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


def open_photo(page: Any, photo: Path) -> float:
    """Milliseconds of encoding, as the page reports them."""
    before = page.evaluate("() => samHub.photo?.id ?? ''")
    page.set_input_files("#photo-file", photo)
    until(page, f"samHub.photo?.id && samHub.photo.id !== '{before}'", 300)
    return float(page.inner_text("#facts").split("photo ")[1].split(" ms")[0])


def clicks(page: Any, rounds: int, seed: int) -> list[float]:
    """Milliseconds from the pointer event to the painted mask."""
    place = page.evaluate("() => document.getElementById('canvas').getBoundingClientRect().toJSON()")
    view = page.evaluate("() => ({...samHub.view, w: samHub.photo.width, h: samHub.photo.height})")
    rng = np.random.default_rng(seed)
    page.evaluate("() => performance.clearMeasures()")
    for i in range(rounds):
        x, y = rng.uniform(0.1, 0.9, 2) * [view["w"], view["h"]] * view["scale"]
        page.mouse.move(place["left"] + view["x"] + x, place["top"] + view["y"] + y)
        page.wait_for_timeout(REST)
        page.mouse.down()
        page.mouse.up()
        seen(page, "sam:click", i + 1)
        until(page, "samHub.history.present.objects.every((o) => o.answer)")
        page.keyboard.press("Delete")
    return page.evaluate("() => performance.getEntriesByName('sam:click').map((m) => m.duration)")


def python_encode(folder: Path, pixels: np.ndarray) -> float:
    """Milliseconds of the same file in onnxruntime, on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(str(next(folder.glob("models/*/vision_encoder*.onnx"))), options)
    taken = []
    for _ in range(4):
        start = time.perf_counter()
        session.run(None, {session.get_inputs()[0].name: pixels})
        taken.append((time.perf_counter() - start) * 1000)
    return float(np.median(taken[1:]))


def resident(browser: Any) -> int:
    """Resident bytes of the browser's largest renderer process."""
    processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    sizes = [Path(f"/proc/{p['id']}/statm").read_text().split()[1] for p in processes if p["type"] == "renderer"]
    return max(map(int, sizes)) * 4096


def main() -> None:
    from playwright.sync_api import sync_playwright
    from sam_hub.demo.static_page import write_static

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="written by `sam-hub demo --static`; by default it is written")
    parser.add_argument("--rounds", type=int, default=12, help="clicks on each of three photos")
    parser.add_argument("--photos", type=int, default=50, help="photos to open one after another; 0 skips this")
    given = parser.parse_args()
    over: list[str] = []

    def tell(name: str, value: float, words: str) -> None:
        print(f"{words} (at most {BUDGET[name]:g})", flush=True)
        if not value <= BUDGET[name]:
            over.append(name)

    with TemporaryDirectory() as scratch, sync_playwright() as p:
        folder = given.folder or Path(scratch) / "page"
        if given.folder is None:
            write_static(folder, ["pocket"])
        browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        size = {"width": 1280, "height": 800}
        with compressed(folder) as alone, serving() as (served, _):
            page = browser.new_context(viewport=size).new_page()  # one thread: the first visit is not isolated
            page.goto(alone)
            until(page, "window.samHub?.ready", 120)
            open_photo(page, PHOTOS[0])
            until(page, "navigator.serviceWorker.controller", 120)
            megabytes = Compressed.sent / 1e6
            tell("megabytes", megabytes, f"first load: {megabytes:.1f} MB with gzip")
            other = browser.new_context(viewport=size).new_page()
            other.goto(served)
            until(other, "window.samHub?.ready")
            encodes, python, times = [], [], {"alone": [], "served": []}
            pixels = np.zeros((1, 3, 512, 512), np.float32)
            for i, photo in enumerate(PHOTOS):
                open_photo(other, photo)
                encodes.append(open_photo(page, photo))
                python.append(python_encode(folder, pixels))
                for kind, each in (("served", other), ("alone", page)):
                    each.bring_to_front()
                    times[kind] += clicks(each, given.rounds, i)
            here, there = float(np.median(encodes)), float(np.median(python))
            tell("encode", here / there, f"encode: {here:.0f} ms, {here / there:.1f} times Python's {there:.0f} ms")
            here, there = (float(np.median(times[kind])) for kind in ("alone", "served"))
            tell("click", here / there, f"click: {here:.0f} ms, {here / there:.2f} times the server's {there:.0f} ms")
            other.context.close()
            sizes = []
            for i in range(given.photos):
                photo = Path(scratch) / f"{i}.jpg"
                Image.open(PHOTOS[i % 3]).resize((900 + i, 700)).save(photo)
                open_photo(page, photo)
                if i % 10 == 9:
                    sizes.append(resident(browser))
            if len(sizes) > 1:
                words = ", ".join(f"{size / 2**20:.0f}" for size in sizes)
                tell("memory", sizes[-1] / sizes[0], f"memory after each ten photos: {words} MiB")
        browser.close()
    if over:
        raise SystemExit(f"above the budget: {', '.join(over)}")


if __name__ == "__main__":
    main()
