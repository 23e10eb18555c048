"""The embeddings of the last images."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any


class EmbeddingCache:
    """A least-recently-used cache of at most ``size`` encoded images; threads may share it."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def __getstate__(self) -> dict[str, Any]:
        return {"size": self.size}  # neither locks nor embeddings are pickled

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["size"])

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The value cached under ``key``; if there is none, the result of ``make``, which is then cached."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
        if found is None:
            found = make()  # outside the lock, so that threads encode images in parallel
            with self._lock:
                self._kept[key] = found
                while len(self._kept) > self.size:
                    self._kept.popitem(last=False)
        return found

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()
