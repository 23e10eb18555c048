"""Limits request bodies as they arrive: their size, duration and number of values; refuses file references."""

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from ..errors import DataError
from .limits import Limits, Refusal

FILE_KEYS = {"path", "url", "_type"}
"""Keys that make Gradio treat a JSON object as a file, which it then opens or fetches; never in our arguments."""

Receive = Callable[[], Awaitable[dict[str, Any]]]


class ByteBudget:
    """Budget of bytes in transit for all visitors together, in both directions."""

    def __init__(self, limit: int) -> None:
        self.limit, self.taken = limit, 0
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        """raises: Refusal (503) if fewer bytes are left"""
        with self._lock:
            if self.taken + count > self.limit:
                raise Refusal("the server is receiving too much at once; try again in a few seconds", 503)
            self.taken += count

    def release(self, count: int) -> None:
        with self._lock:
            self.taken -= count


@dataclass(frozen=True)
class BodyLimits:
    """Limits of one request.

    values: maximum number in its JSON; None if it is not JSON
    plain: whether file references are refused
    login: whether it is a sign-in attempt
    """

    size: int
    values: int | None
    plain: bool = False
    login: bool = False

    @classmethod
    def of(cls, path: str, limits: Limits) -> "BodyLimits":
        if path.rstrip("/") == "/login":
            return cls(limits.login_bytes, limits.small_values, login=True)
        if path == "/sam/encode":
            return cls(limits.upload_bytes, None)
        if path in ("/sam/import", "/sam/export", "/sam/project/save"):
            return cls(limits.message_bytes, limits.message_values)
        if path.startswith(("/gradio_api/call/", "/gradio_api/queue/join", "/gradio_api/mcp")):
            return cls(limits.upload_bytes * 4 // 3 + 65536, limits.small_values, True)  # a photo in base64
        return cls(limits.small_bytes, limits.small_values)


class Body:
    """Wraps the reception of a request's body; call `release` after the response."""

    def __init__(
        self, receive: Receive, headers: dict[bytes, bytes], most: BodyLimits, limits: Limits, budget: ByteBudget
    ) -> None:
        self._receive, self.most, self.limits, self.budget = receive, most, limits, budget
        self._length = headers.get(b"content-length", b"0")
        self._complete = self._length == b"0" and b"transfer-encoding" not in headers
        self._began, self._taken, self._values = time.monotonic(), 0, 0

    @property
    def unread(self) -> bool:
        """Whether data is left unread, so that the connection cannot be reused after the response."""
        return not self._complete

    def check_announced(self) -> None:
        """Check the announced size. raises: Refusal if it is too large"""
        if not self._length.isdigit() or int(self._length) > self.most.size:
            raise self._too_large()

    async def receive(self) -> dict[str, Any]:
        """The next message. raises: Refusal (408, 413, 503)"""
        if self._complete:
            return await self._receive()
        end = self._began + self.limits.body_seconds + self._taken / self.limits.body_rate
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, end - time.monotonic()))
        except TimeoutError:
            raise Refusal("the request did not arrive in time; try again over a faster connection", 408) from None
        chunk = message.get("body", b"")
        self._complete = not message.get("more_body", False)
        if self._taken + len(chunk) > self.most.size:
            raise self._too_large()
        self.budget.take(len(chunk))
        self._taken += len(chunk)
        if self.most.values is not None:
            self._values += sum(map(chunk.count, (b",", b"[", b"{")))  # an upper bound of the number of values
            if self._values > self.most.values:
                raise Refusal("the request holds too many values; send fewer at a time", 413)
        return message

    async def plain(self) -> Receive:
        """Read the whole body, refuse file references, and return a function that replays it."""
        whole, again = await self.whole()
        if whole:
            await asyncio.to_thread(refuse_files, whole)
        return again

    async def whole(self) -> tuple[bytes, Receive]:
        """The whole body, and a function that replays it; empty if the visitor has left."""
        parts = []
        while not parts or not self._complete:
            message = await self.receive()
            if message["type"] != "http.request":
                return b"", self._receive
            parts.append(message.get("body", b""))
        whole = b"".join(parts)
        given = False

        async def again() -> dict[str, Any]:
            nonlocal given
            if given:
                return await self._receive()
            given = True
            return {"type": "http.request", "body": whole, "more_body": False}

        return whole, again

    def release(self) -> None:
        """Return its bytes to the budget."""
        self.budget.release(self._taken)
        self._taken = 0

    def _too_large(self) -> Refusal:
        what = "the request" if self.most.values is not None else "the photo"
        most = f"{self.most.size >> 20} MB" if self.most.size >> 20 else f"{self.most.size} bytes"
        return Refusal(f"{what} is larger than {most}; send less", 413)


def refuse_files(body: bytes) -> None:
    """Check a JSON body. raises: DataError if it is invalid, repeats a key, or contains a file reference"""

    def check(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise DataError("the request has a duplicate key; send each once")
        if FILE_KEYS & found.keys():
            raise DataError("paths and addresses are not opened; send the content of a photo in base64")
        return found

    try:
        json.loads(body, object_pairs_hook=check)
    except DataError:
        raise
    except (ValueError, RecursionError) as e:
        raise DataError("the request is not JSON") from e
