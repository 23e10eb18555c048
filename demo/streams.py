"""Streams responses while they are generated, and stops generating when the visitor leaves."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from time import perf_counter
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.responses import Response

from .bodies import ByteBudget
from .failures import status_and_message
from .limits import Limits, Refusal
from .workers import Workers

T = TypeVar("T")
PIECE = 256 << 10
"""Bytes sent at a time."""
SLICE = 0.1
"""Seconds of one turn of long work."""


async def until_left(receive: Callable[[], Awaitable[dict]], work: Awaitable[T]) -> T:
    """The result of ``work``, which is cancelled if the visitor leaves. raises: ClientDisconnect"""

    async def left() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(left())
    try:
        await asyncio.wait([task, gone], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        for each in (task, gone):
            each.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


class Stream(Response):
    """Sends what an iterator yields, and closes the iterator however it ends.

    The connection is cut if the visitor reads nothing for `Limits.send_seconds`, or if the response fails midway.
    """

    def __init__(
        self,
        chunks: AsyncIterator[bytes],
        limits: Limits,
        budget: ByteBudget,
        media_type: str,
        headers: dict[str, str],
    ) -> None:
        super().__init__(media_type=media_type, headers=headers)
        del self.headers["content-length"]
        self.chunks, self.limits, self.budget = chunks, limits, budget

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        try:
            await until_left(receive, self._send(send))
        except (TimeoutError, ClientDisconnect):
            pass
        except Exception as e:
            status_and_message(e)  # logs what nobody expected; without its end the visitor knows it is not whole

    async def _send(self, send: Callable) -> None:
        async with aclosing(self.chunks) as chunks:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for chunk in chunks:
                self.budget.take(len(chunk))
                try:
                    for at in range(0, len(chunk), PIECE):
                        message = {"type": "http.response.body", "body": chunk[at : at + PIECE], "more_body": True}
                        await asyncio.wait_for(send(message), self.limits.send_seconds)
                finally:
                    self.budget.release(len(chunk))
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def lines(events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    """Events as lines of JSON; a failure is the last line."""
    async with aclosing(events):
        try:
            async for event in events:
                yield _line(event)
        except Exception as e:
            status, text = status_and_message(e)
            yield _line({"stage": "failed", "error": text, "status": status})


async def after(first: T, rest: AsyncIterator[T]) -> AsyncIterator[T]:
    """``first``, then ``rest``."""
    async with aclosing(rest):
        yield first
        async for item in rest:
            yield item


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode() + b"\n"


class WorkLimit:
    """Limits work that is done in turns. Long work calls `check` regularly.

    seconds: of computing, all turns together
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._spent, self._began = 0.0, perf_counter()
        self._stopped: Callable[[], bool] = lambda: False

    def begin(self, stopped: Callable[[], bool]) -> None:
        """Start a turn; stopped: returns whether nobody needs the result any more"""
        self._began, self._stopped = perf_counter(), stopped

    def end(self) -> None:
        """End the turn."""
        self._spent += self.turn

    @property
    def turn(self) -> float:
        """Seconds of this turn."""
        return perf_counter() - self._began

    def check(self) -> None:
        """raises: Refusal (413) if the time is up, ClientDisconnect if nobody waits"""
        if self._stopped():
            raise ClientDisconnect
        if self._spent + self.turn > self.seconds:
            raise Refusal("this takes too long; choose fewer objects or formats at a time", 413)


async def in_turns(workers: Workers, steps: Iterator[T | None], limit: WorkLimit) -> AsyncIterator[T]:
    """What ``steps`` yields, None apart, computed in turns of `SLICE` seconds between those of other visitors."""
    done = False

    def turn(stopped: Callable[[], bool]) -> list[T]:
        nonlocal done
        found: list[T] = []
        limit.begin(stopped)
        try:
            while not found and limit.turn < SLICE:
                step = next(steps, steps)
                if step is steps:
                    done = True
                    break
                if step is not None:
                    found.append(step)
                limit.check()
        finally:
            limit.end()
        return found

    while not done:
        job = workers.submit(lambda stopped: turn(stopped.is_set), refuse=False)
        try:
            found = await asyncio.wrap_future(job.future)
        finally:
            job.cancel()
        for item in found:
            yield item
