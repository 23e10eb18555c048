"""One server with `pocket` for all tests of the page, in a thread of this process."""

import asyncio
import functools
import http.server
import json
import os
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest

gradio = pytest.importorskip("gradio", reason="the web page needs gradio: install sam-hub[demo]")

from sam_hub.demo import app  # noqa: E402
from sam_hub.demo.limits import Limits  # noqa: E402
from sam_hub.demo.service import SegmentationService, last  # noqa: E402

from sam_hub.errors import OutputError  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))  # the long runs, of which the tests do short ones


def result(events: AsyncIterator[dict]) -> dict:
    """The last event."""
    return asyncio.run(last(events))


def collect(events: AsyncIterator) -> list:
    """All events."""

    async def all_of() -> list:
        return [event async for event in events]

    return asyncio.run(all_of())


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Running:
    """A server; url ends without a slash."""

    def __init__(self, url: str, service: SegmentationService, server: gradio.Server) -> None:
        self.url, self.service, self.server = url.rstrip("/"), service, server

    def post(self, path: str, body: object) -> httpx.Response:
        return httpx.post(f"{self.url}/sam/{path}", json=body, timeout=300)

    def encode(self, data: bytes) -> dict:
        """The last event."""
        return _last(httpx.post(f"{self.url}/sam/encode", content=data, timeout=300))

    def segment(self, key: str, prompt: dict) -> dict:
        """The last event."""
        return _last(self.post("segment", {"id": key, "prompt": prompt}))


def _last(answer: httpx.Response) -> dict:
    return json.loads(answer.text.splitlines()[-1])


def start(**options: object) -> Iterator[Running]:
    limits = options.pop("limits", Limits())
    server, service = app.build(["pocket"], "cpu", limits)
    url = app.launch(server, port=free_port(), block=False, **options)
    yield Running(url, service, server)
    server.get_blocks().close(verbose=False)


@pytest.fixture(scope="session")
def running() -> Iterator[Running]:
    yield from start(mcp=True)


@pytest.fixture
def locked() -> Iterator[Running]:
    """A server that asks for a name and a password."""
    yield from start(auth=("me", "secret"))


class Files(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, as any web server does."""

    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}

    def log_message(self, *_: object) -> None: ...


def serve(folder: Path) -> Iterator[str]:
    """A folder over HTTP on this machine; yields the address, without a slash at the end."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Files, directory=folder))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def static_folder(once: Callable, request: pytest.FixtureRequest) -> Path:
    """The page without a server, with `pocket`; written once, or where SAM_HUB_STATIC says that it lies.

    Its fast search has 64 clicks instead of 256, as each takes WebAssembly a tenth of a second.
    """
    from sam_hub.demo.static_page import write_static

    def write(out: Path) -> None:
        write_static(out, [str(bundle)])
        facts = json.loads((out / "app.json").read_text())
        facts["models"][0]["searches"]["fast"]["points_per_side"] = 8
        (out / "app.json").write_text(json.dumps(facts))

    if there := os.environ.get("SAM_HUB_STATIC"):
        return Path(there)
    bundle = request.getfixturevalue("pocket_bundle")
    try:
        return once("page", write)
    except OutputError as e:
        pytest.skip(f"the page without a server is not tried: {e}")


@pytest.fixture(scope="session")
def alone(static_folder: Path) -> Iterator[str]:
    """The address of that page, below a path."""
    for url in serve(static_folder.parent):
        yield f"{url}/{static_folder.name}/"


@pytest.fixture(scope="session")
def service(running: Running) -> SegmentationService:
    return running.service


@pytest.fixture(scope="session")
def cat(root: Path) -> bytes:
    return (root / "examples" / "cat.jpg").read_bytes()


@pytest.fixture(scope="session")
def coffee(root: Path) -> bytes:
    return (root / "examples" / "coffee.jpg").read_bytes()


@pytest.fixture
def photo(service: SegmentationService, cat: bytes) -> dict:
    """The cat, encoded: id, width, height, ..."""
    return result(service.encode(cat))


@pytest.fixture(scope="module")
def browser() -> Iterator:
    from .person import CHROMIUM, sync_api

    with sync_api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def place(request: pytest.FixtureRequest) -> str:
    """The address of the page: "running", with a server, or "alone"."""
    found = request.getfixturevalue(getattr(request, "param", "running"))
    return found if isinstance(found, str) else found.url


@pytest.fixture
def person(place: str, browser, root: Path) -> Iterator:
    """person(width, height, dark, touch) opens the page for a new user; at the end there must have been no errors."""
    from .person import Person

    shots, people = root / "out" / "demo" / ("alone" if place.endswith("/") else ""), []
    os.makedirs(shots, exist_ok=True)

    def arrive(width: int = 1280, height: int = 800, dark: bool = False, touch: bool = False) -> Person:
        scheme = "dark" if dark else "light"
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, has_touch=touch, is_mobile=touch
        )
        people.append(Person(context.new_page(), place, shots))
        return people[-1]

    yield arrive
    for each in people:
        each.page.context.close()
        assert not each.troubles
