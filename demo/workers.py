"""Worker threads with a bounded queue of jobs; a job whose visitor has left is cancelled.

A job only occupies its thread while it computes, not while a visitor reads its result or sends its input.
"""

import asyncio
import logging
import threading
import traceback
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Generic, TypeVar

from .limits import Refusal
from .memory import trim_heap

T = TypeVar("T")
Emit = Callable[[Any], None]

logger = logging.getLogger(__name__)


class Job(Generic[T]):
    """Work that waits for a thread or is running.

    stopped: set when nobody needs the result any more; long work checks it regularly
    future: the result
    """

    def __init__(self, work: Callable[[threading.Event], T]) -> None:
        self.work: Callable[[threading.Event], T] | None = work
        self.stopped = threading.Event()
        self.future: Future[T] = Future()

    def cancel(self) -> None:
        """Cancel the job: a waiting one is removed at once, a running one is notified."""
        self.stopped.set()
        self.future.cancel()


class Workers:
    """``threads`` threads that run jobs in the order they came; ``waiting`` more jobs may wait.

    start: called once in each thread
    """

    def __init__(self, name: str, threads: int, waiting: int, start: Callable[[], None] | None = None) -> None:
        self.threads, self.waiting = threads, waiting
        self._jobs: deque[Job] = deque()
        self._running = 0
        self._changed = threading.Condition()
        for i in range(threads):
            threading.Thread(target=self._serve, args=(start,), name=f"{name}-{i}", daemon=True).start()

    @property
    def ahead(self) -> int:
        """Number of jobs that must end before a new one can start."""
        return max(0, self._running + len(self._jobs) - self.threads + 1)

    def submit(self, work: Callable[[threading.Event], T], refuse: bool = True) -> Job[T]:
        """Queue ``work(stopped)``.

        refuse: raise Refusal (429) if too many wait; False for parts of work already accepted
        """
        job = Job(work)
        with self._changed:
            if refuse and self._running + len(self._jobs) >= self.threads + self.waiting:
                raise Refusal("the server is busy; try again in a few seconds", 429)
            self._jobs.append(job)
            self._changed.notify()
        job.future.add_done_callback(lambda future: self._forget(job) if future.cancelled() else None)
        return job

    async def run(self, work: Callable[..., T], *arguments: Any, refuse: bool = True) -> T:
        """The result of ``work(*arguments)``; cancelling the task cancels the job."""
        job = self.submit(lambda stopped: work(*arguments), refuse)
        try:
            return await asyncio.wrap_future(job.future)
        finally:
            job.cancel()

    async def events(self, work: Callable[[Emit, threading.Event], None]) -> AsyncIterator[Any]:
        """Yield what ``work(emit, stopped)`` emits, as it happens; closing the iterator cancels the job."""
        loop, arrived = asyncio.get_running_loop(), asyncio.Queue()
        end = object()

        def emit(event: Any) -> None:
            with suppress(RuntimeError):  # the loop is closed: the server stops
                loop.call_soon_threadsafe(arrived.put_nowait, event)

        job = self.submit(lambda stopped: work(emit, stopped))
        job.future.add_done_callback(lambda _: emit(end))
        try:
            while (event := await arrived.get()) is not end:
                yield event
            job.future.result()
        finally:
            job.cancel()

    def _forget(self, job: Job) -> None:
        with self._changed, suppress(ValueError):  # a thread has just taken it
            self._jobs.remove(job)

    def _serve(self, start: Callable[[], None] | None) -> None:
        if start is not None:
            start()
        while True:
            with self._changed:
                while not self._jobs:
                    self._changed.wait()
                job = self._jobs.popleft()
                self._running += 1
            try:
                _finish(job)
            finally:
                del job  # and its references, as the next job may take long to arrive
                with self._changed:
                    self._running -= 1


def _finish(job: Job) -> None:
    work, job.work = job.work, None
    if not job.future.set_running_or_notify_cancel():
        return
    try:
        result = work(job.stopped)
    except BaseException as e:
        release_frames(e)
        del work
        trim_heap()
        job.future.set_exception(e)
    else:
        job.future.set_result(result)


def release_frames(error: BaseException | None) -> None:
    """Clear the locals of an exception's frames, mainly photos; the traceback remains."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
