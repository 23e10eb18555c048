"""Raw HTTP requests, byte by byte."""

import asyncio
import json
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import httpx

from .conftest import Running

SECONDS = 300
"""A timeout, in case a request blocks forever."""


def address(running: Running) -> tuple[str, int]:
    url = httpx.URL(running.url)
    return url.host, url.port


@contextmanager
def sent(running: Running, path: str, body: bytes, announced: int | None = None) -> Iterator[socket.socket]:
    """A request of which nothing has been read; leaving the block cuts its connection."""
    with socket.create_connection(address(running), timeout=SECONDS) as s:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {announced or len(body)}\r\n"
        s.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
        yield s
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, as of a lost phone


def json_body(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def encode(running: Running, data: bytes) -> dict:
    answer = httpx.post(f"{running.url}/sam/encode", content=data, timeout=SECONDS)
    return json.loads(answer.text.splitlines()[-1])


def until(true: object, seconds: float = SECONDS) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "never"
        time.sleep(0.02)


class Endless:
    """Endless work in steps. begun: set by the first step; closed: set once it is cancelled"""

    def __init__(self) -> None:
        self.begun, self.closed = threading.Event(), threading.Event()

    def steps(self, *_: object) -> Iterator[None]:
        self.begun.set()
        try:
            while True:
                time.sleep(0.001)
                yield None
        finally:
            self.closed.set()

    def pieces(self) -> Iterator[bytes]:
        return (bytes(1 << 18) for _ in self.steps())

    async def events(self, *_: object) -> AsyncIterator[dict]:
        self.begun.set()
        try:
            await asyncio.Event().wait()
            yield {}
        finally:
            self.closed.set()
