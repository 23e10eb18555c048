"""Calls of the named endpoints whose caller is gone: Gradio's queue lets them run on, this gives them up."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from gradio.context import LocalContext

from .limits import Limits, Refusal

T = TypeVar("T")
LOOK = 0.25
"""Seconds between two looks."""


class Callers:
    """Who still waits for the answer of a call.

    queue: gives Gradio's queue, in which every call is an event with a list of messages for its caller
    """

    def __init__(self, queue: Callable[[], Any], limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._queue, self.limits, self._clock = queue, limits, clock

    async def wait(self, work: Awaitable[T]) -> T:
        """What ``work`` gives; it is cancelled where nobody waits for it any more. raises: Refusal (408)"""
        event = self._event(LocalContext.event_id.get(None))
        task, heard = asyncio.ensure_future(work), self._clock()
        try:
            while not (await asyncio.wait([task], timeout=LOOK))[0]:
                if event is None:
                    continue
                unread = self._unread(event)
                if unread == 0:
                    heard = self._clock()
                if unread is None or not event.alive or self._clock() - heard > self.limits.call_seconds:
                    raise Refusal("nobody waits for this call any more", 408)
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _event(self, id: str | None) -> Any:
        """The running event; None for a call that did not come through the queue."""
        jobs = self._queue().active_jobs
        return next((event for job in jobs if job for event in job if event._id == id), None)

    def _unread(self, event: Any) -> int | None:
        """Messages that the caller has not fetched; None where the caller has closed the stream of them."""
        messages = self._queue().pending_messages_per_session.get(event.session_hash)
        return None if messages is None else messages.qsize()
