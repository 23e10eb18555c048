"""One server with `pocket` for all tests of the page, in a thread of this process."""

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

gradio = pytest.importorskip("gradio", reason="the web page needs gradio: install sam-hub[demo]")

from sam_hub.demo import app  # noqa: E402
from sam_hub.demo.limits import Limits  # noqa: E402
from sam_hub.demo.service import SegmentationService, last  # noqa: E402

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
        return httpx.post(f"{self.url}/sam/{path}", json=body, timeout=60)

    def encode(self, data: bytes) -> dict:
        """The last event."""
        return _last(httpx.post(f"{self.url}/sam/encode", content=data, timeout=60))

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
