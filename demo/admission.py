"""Taking turns: a few at once, a few waiting, and the rest is told so."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from .limits import Refusal


class AdmissionQueue:
    """Lets ``places`` callers in at once and ``waiting`` more wait."""

    def __init__(self, places: int, waiting: int) -> None:
        self.places, self.waiting = places, waiting
        self._free = threading.Semaphore(places)
        self._count, self._lock = 0, threading.Lock()

    @property
    def ahead(self) -> int:
        """How many would have to leave before a newcomer gets in."""
        return max(0, self._count - self.places + 1)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for one's turn; Refusal (429) where too many wait already."""
        with self._lock:
            if self._count >= self.places + self.waiting:
                raise Refusal("the server is busy; try again in a few seconds", 429)
            self._count += 1
        try:
            with self._free:
                yield
        finally:
            with self._lock:
                self._count -= 1
