"""Tracks who set a predictor's image, so that threads or tasks do not get masks of each other's images."""

import sys
import threading
import weakref
from typing import Any


class Ownership:
    """Remembers which thread and asyncio task set the image last, and which image each of them had set.

    One thread may set an image and another use it afterwards. But a thread whose image was replaced by another thread
    would get masks of the wrong photo.

    lock: held while the image and its owner are read or changed together
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._mine = threading.local()
        self._tasks: weakref.WeakKeyDictionary[Any, object] = weakref.WeakKeyDictionary()
        self._thread: int | None = None
        self._task: weakref.ref | None = None
        self._token: object | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {}  # a new process starts without owners

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()

    def claim(self) -> None:
        """This thread or task has set an image, or is about to."""
        token, task = object(), _current_task()
        self._mine.token = token
        if task is not None:
            self._tasks[task] = token
        self._thread, self._task, self._token = (
            threading.get_ident(),
            None if task is None else weakref.ref(task),
            token,
        )

    def release(self) -> None:
        """This thread or task no longer needs an image."""
        self._mine.token = None
        if (task := _current_task()) is not None:
            self._tasks.pop(task, None)

    def is_lost(self) -> bool:
        """Whether another thread or task has replaced the image that this one had set."""
        if self._thread != threading.get_ident():
            mine = getattr(self._mine, "token", None)
            return mine is not None and mine is not self._token
        task = _current_task()
        other = None if self._task is None else self._task()
        if task is None or other is None or other is task:
            return False
        return task in self._tasks and self._tasks[task] is not self._token


def _current_task() -> Any:
    """The running asyncio task, if any; asyncio is not imported for it."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None or asyncio._get_running_loop() is None:
        return None
    return asyncio.current_task()
