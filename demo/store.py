"""Encoded photos under unguessable ids, kept while there is room."""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import numpy as np

from ..inference.upsample import Size, Upsampler
from .limits import Limits, Refusal
from .memory import trim_heap


class Photo:
    """One encoded photo.

    predictor: with the image set
    pixels: (H, W, 3) uint8, upright; metadata is discarded
    model: the offered model's name
    ready: set when prompts are accepted; low_side: side of a mask prompt, known then
    """

    ready: Future
    low_side: int

    def __init__(self, predictor: Any, pixels: np.ndarray, model: str, results: int) -> None:
        self.predictor, self.pixels, self.model = predictor, pixels, model
        self.weigh()
        self.busy = threading.Lock()  # held during everything mode
        self._most, self._results = results, OrderedDict[str, np.ndarray]()
        self._upsamplers: dict[Size, Upsampler] = {}
        self._latest: tuple[bytes, Future] | None = None
        self._lock = threading.Lock()

    @property
    def taken(self) -> int:
        """Bytes of memory."""
        with self._lock:
            results, upsamplers = list(self._results.values()), list(self._upsamplers.values())
        return self._held + sum(r.nbytes for r in results) + sum(u.nbytes for u in upsamplers)

    @property
    def size(self) -> Size:
        """(height, width)"""
        return self.pixels.shape[:2]

    def remember(self, low_res: np.ndarray) -> str:
        """Keep low-res logits (M, h, w) for refinement; returns their id."""
        key = secrets.token_urlsafe(9)
        with self._lock:
            self._results[key] = low_res.astype(np.float16)
            while len(self._results) > self._most:
                self._results.popitem(last=False)
        return key

    def recall(self, key: str) -> np.ndarray | None:
        """The kept logits, (M, h, w) float32, or None if they were dropped."""
        with self._lock:
            found = self._results.get(key)
            if found is not None:
                self._results.move_to_end(key)
        return None if found is None else found.astype(np.float32)

    def weigh(self) -> None:
        """Update the predictor's memory use, which grows when it is used."""
        self._held = held_bytes([self.predictor, self.pixels])

    def once(self, key: bytes, work: Callable[[], Any]) -> Any:
        """The result of ``work``; the latest key's result is cached, and shared while being computed."""
        with self._lock:
            mine = self._latest is None or self._latest[0] != key
            if mine:
                self._latest = key, Future()
            future = self._latest[1]
        if mine:
            try:
                future.set_result(work())
            except BaseException as e:
                future.set_exception(e)
                with self._lock:  # the next request tries again
                    if self._latest[1] is future:
                        self._latest = None
        return future.result()

    def upsampler(self, low_size: Size, size: Size) -> Upsampler:
        """From low-res masks to the photo at ``size``."""
        with self._lock:
            if size not in self._upsamplers:
                frame = replace(self.predictor.mask_frame, original_size=size)
                self._upsamplers[size] = Upsampler(low_size, frame)
            return self._upsamplers[size]


class PhotoStore:
    """A bounded, expiring, least-recently-used store; see `Limits` for its bounds."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits, self._clock = limits, clock
        self._photos: OrderedDict[str, tuple[float, Photo]] = OrderedDict()  # least recently used first
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._photos)

    @property
    def taken(self) -> int:
        """Bytes of all photos."""
        with self._lock:
            return sum(photo.taken for _, photo in self._photos.values())

    def add(self, photo: Photo) -> str:
        """Keep a photo; returns its id. Others may be evicted."""
        key = secrets.token_urlsafe(24)
        with self._lock:
            self._photos[key] = (self._clock(), photo)
            dropped = self._tidy()
        if dropped:
            trim_heap()
        return key

    def get(self, key: Any) -> Photo:
        """The photo of an id; marks it as recently used.

        raises: Refusal (410) if it is unknown or was evicted
        """
        with self._lock:
            self._tidy()
            if not isinstance(key, str) or key not in self._photos:
                raise Refusal("this photo is no longer on the server; open it again", 410)
            photo = self._photos.pop(key)[1]
            self._photos[key] = (self._clock(), photo)
            return photo

    def drop(self, key: Any) -> None:
        """Remove a photo, if it exists."""
        with self._lock:
            if isinstance(key, str):
                self._photos.pop(key, None)

    def _tidy(self) -> bool:
        """Evict expired photos, then least recently used ones until the rest fits; returns whether any were evicted."""
        before = len(self._photos)
        oldest = self._clock() - self.limits.photo_seconds
        taken = sum(photo.taken for _, photo in self._photos.values())
        for key, (used, photo) in list(self._photos.items()):
            crowded = len(self._photos) > self.limits.photos or taken > self.limits.photo_bytes
            if used >= oldest and (not crowded or len(self._photos) == 1):
                break
            del self._photos[key]
            taken -= photo.taken
        return len(self._photos) < before


def held_bytes(owner: Any) -> int:
    """Memory of the arrays and tensors that an object holds, without its model's weights."""
    import torch

    weights: set[int] = set()
    blocks: dict[int, int] = {}
    seen: set[int] = set()
    queue = [owner]
    while queue:
        at = queue.pop()
        if id(at) in seen:
            continue
        seen.add(id(at))
        if isinstance(at, torch.nn.Module):
            tensors = [*at.parameters(), *at.buffers()]
            weights |= {t.untyped_storage().data_ptr() for t in tensors}
        elif isinstance(at, torch.Tensor):
            storage = at.untyped_storage()
            blocks[storage.data_ptr()] = storage.nbytes()
        elif isinstance(at, np.ndarray):
            blocks[at.__array_interface__["data"][0]] = at.nbytes
        elif isinstance(at, dict):
            queue += at.values()
        elif isinstance(at, list | tuple | set):
            queue += at
        elif type(at).__module__.startswith("sam_hub."):
            queue += vars(at).values() if hasattr(at, "__dict__") else ()
    return sum(size for place, size in blocks.items() if place not in weights)
