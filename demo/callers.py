"""Cancels calls of the named endpoints whose caller has left; Gradio's queue would let them run on."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from gradio.context import LocalContext

from .limits import Limits, Refusal

T = TypeVar("T")
LOOK = 0.25
"""Seconds between two checks."""

GONE = "nobody waits for this call any more"


HEADER = "x-sam-hub-connection"


class Connections:
    """The open connections of tool calls (MCP).

    Gradio runs such a call by calling itself over HTTP with the same headers, so a header identifies the connection.
    """

    def __init__(self) -> None:
        self._open: set[str] = set()

    @contextmanager
    def opened(self, scope: dict) -> Iterator[dict]:
        """The request, with the header added; the connection counts as closed when the block ends."""
        name = secrets.token_urlsafe(16)
        headers = [(key, value) for key, value in scope["headers"] if key != HEADER.encode()]
        self._open.add(name)
        try:
            yield {**scope, "headers": [*headers, (HEADER.encode(), name.encode())]}
        finally:
            self._open.discard(name)

    def __contains__(self, name: str) -> bool:
        return name in self._open


class Callers:
    """Tells whether a call's caller is still waiting.

    queue: returns Gradio's queue, in which every call is an event with a list of messages for its caller
    connections: of MCP callers
    """

    def __init__(
        self,
        queue: Callable[[], Any],
        limits: Limits,
        connections: Connections,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue, self.limits, self.connections, self._clock = queue, limits, connections, clock

    async def wait(self, work: Awaitable[T]) -> T:
        """The result of ``work``, which is cancelled if nobody waits for it any more. raises: Refusal (408)"""
        event = self._event(LocalContext.event_id.get(None))
        request = LocalContext.request.get(None)
        connection = request.headers.get(HEADER) if request is not None else None
        task, heard = asyncio.ensure_future(work), self._clock()
        try:
            while not (await asyncio.wait([task], timeout=LOOK))[0]:
                if connection is not None and connection not in self.connections:
                    raise Refusal(GONE, 408)
                if event is None:
                    continue
                unread = self._unread(event)
                if unread == 0:
                    heard = self._clock()
                if unread is None or not event.alive or self._clock() - heard > self.limits.call_seconds:
                    raise Refusal(GONE, 408)
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _event(self, id: str | None) -> Any:
        """The running event; None if the call did not come through the queue."""
        jobs = self._queue().active_jobs
        return next((event for job in jobs if job for event in job if event._id == id), None)

    def _unread(self, event: Any) -> int | None:
        """Number of messages that the caller has not fetched; None if the caller closed the stream."""
        messages = self._queue().pending_messages_per_session.get(event.session_hash)
        return None if messages is None else messages.qsize()
