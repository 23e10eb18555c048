"""The models offered by the page, a few of which are in memory."""

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from ..errors import SamHubError
from ..hub.state import weights_state
from ..installing import how_to_install
from ..zoo import ZOO, canonical_name
from .limits import Limits, Refusal

FLOAT = 4
"""Bytes of a parameter: nearly all models are published in float32."""


@dataclass(frozen=True)
class ModelEntry:
    """A model offered to visitors, by name; its source is fixed at server start.

    name: as shown; source: for loading, never shown
    is_local: whether it certainly loads without a network
    """

    name: str
    source: str
    good_for: str = ""
    params: int = 0
    license: str = ""
    is_local: bool = False

    def facts(self) -> dict[str, Any]:
        """The page's facts; here: whether it loads without a download, or None if unknown."""
        here: bool | None = self.is_local or None
        if self.source in ZOO:
            here = weights_state(self.source) in ("included", "downloaded")
        return {
            "name": self.name,
            "good_for": self.good_for,
            "params": self.params,
            "bytes": self.params * FLOAT,
            "license": self.license,
            "here": here,
        }


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory.

    new_predictor: makes a predictor without an image; device: as shown
    """

    name: str
    device: str
    new_predictor: Callable[[], Any]


def entry_of(source: str) -> ModelEntry:
    """The entry of a catalogue name, folder, file, Hub id or exported model."""
    key = canonical_name(source)
    if key:
        v = ZOO[key]
        return ModelEntry(key, key, v.good_for, v.params, v.license, is_local=not (v.repo or v.url))
    path = Path(source)
    is_local = path.exists()
    words = "exported model" if is_exported(path) else ""
    return ModelEntry(path.name if is_local else source, source, words, is_local=is_local)


def is_exported(path: Path) -> bool:
    """Whether a folder holds an exported model, which runs without torch."""
    from ..inference.opening import needs_torch

    return path.is_dir() and not needs_torch(str(path))


class ModelPool:
    """Loads the models that visitors choose and keeps the most recently used.

    Each loads in its own thread, outside all queues and locks, so that users of other models never wait.
    sources: models to offer, the default first
    device: as for `--device`
    """

    def __init__(self, sources: Iterable[str], device: str | None, limits: Limits) -> None:
        self.entries = {e.name: e for e in map(entry_of, sources)}
        if not self.entries:
            raise Refusal("no model is offered; name one with --model")
        self.default = next(iter(self.entries))
        self.device, self.limits = device, limits
        self._loaded: OrderedDict[str, LoadedModel] = OrderedDict()
        self._loading: dict[str, _Loading] = {}
        self._lock = threading.Lock()

    def entry(self, name: Any) -> ModelEntry:
        """The entry of a name; None means the default. raises: Refusal"""
        if name is None or name == "":
            name = self.default
        if not isinstance(name, str) or name not in self.entries:
            raise Refusal(f"this server does not offer that model; choose one of {', '.join(self.entries)}", 404)
        return self.entries[name]

    def load_now(self, name: Any = None) -> LoadedModel:
        """A model by name, loaded if necessary. raises: Refusal, and errors of loading"""
        loading = self._start(self.entry(name))
        return loading if isinstance(loading, LoadedModel) else loading.model.result()

    async def load(self, name: str) -> AsyncIterator[dict[str, Any] | LoadedModel]:
        """Yield events of the stage "loading" if the model is not in memory, and finally the model.

        raises: Refusal (503) if it cannot be loaded, or the Hub does not respond within `Limits.hub_seconds`
        """
        entry = self.entry(name)
        before = 0 if entry.name in self._loaded else await asyncio.to_thread(_arriving)
        loading = self._start(entry)
        if isinstance(loading, LoadedModel):
            yield loading
            return
        yield {"stage": "loading", "model": name, "note": f"Loading {name}"}
        began = time.monotonic()
        done = asyncio.wrap_future(loading.model)  # already running, so no visitor can cancel it
        while not (await asyncio.wait([done], timeout=0.4))[0]:
            arrived = await asyncio.to_thread(_arriving) - before
            unanswered = not loading.reachable.is_set() and arrived <= 0
            if unanswered and time.monotonic() > began + self.limits.hub_seconds:
                raise Refusal(
                    f"the model {name} is not downloaded and the Hub does not answer; choose another model", 503
                )
            if arrived > 0:
                whole = entry.params * FLOAT
                share = {"done": min(arrived, whole), "of": whole} if whole else {}
                yield {"stage": "loading", "model": name, "note": f"Downloading {name}: {arrived >> 20} MB", **share}
        yield done.result()

    def _start(self, entry: ModelEntry) -> "LoadedModel | _Loading":
        """The model if it is in memory, or its loading, which is started if necessary."""
        with self._lock:
            if (loaded := self._loaded.get(entry.name)) is not None:
                self._loaded.move_to_end(entry.name)
                return loaded
            if (loading := self._loading.get(entry.name)) is None:
                if len(self._loading) >= self.limits.models:
                    raise Refusal("other models are being loaded; try again in a minute", 503)
                loading = self._loading[entry.name] = _Loading()
                threading.Thread(target=self._fill, args=(entry, loading), daemon=True).start()
                if entry.is_local:
                    loading.reachable.set()
                else:
                    threading.Thread(target=_probe, args=(loading.reachable,), daemon=True).start()
            return loading

    def _fill(self, entry: ModelEntry, loading: "_Loading") -> None:
        try:
            loaded, failure = _load(entry, self.device), None
        except BaseException as e:
            loaded, failure = None, e
        with self._lock:
            del self._loading[entry.name]
            if loaded is not None:
                self._loaded[entry.name] = loaded
                while len(self._loaded) > self.limits.models:
                    self._loaded.popitem(last=False)
        if failure is None:
            loading.model.set_result(loaded)
        else:
            loading.model.set_exception(failure)


class _Loading:
    """A model being loaded; reachable: set when the Hub responds, or is not needed."""

    def __init__(self) -> None:
        self.model: Future[LoadedModel] = Future()
        self.model.set_running_or_notify_cancel()
        self.reachable = threading.Event()


def _probe(reachable: threading.Event) -> None:
    """Set ``reachable`` if the Hub responds at all."""
    from huggingface_hub.constants import ENDPOINT

    try:
        urlopen(Request(ENDPOINT, method="HEAD"), timeout=30).close()
    except HTTPError:
        pass  # also a response
    except (OSError, HTTPException, ValueError):
        return
    reachable.set()


def _arriving() -> int:
    """Bytes of unfinished downloads in the Hub's cache."""
    from huggingface_hub.constants import HF_HOME

    total = 0
    for path in Path(HF_HOME).rglob("*.incomplete"):
        with suppress(OSError):  # it has arrived meanwhile
            total += path.stat().st_size
    return total


def _load(wanted: ModelEntry, device: str | None) -> LoadedModel:
    """Load a torch model, or a folder of any runnable format. raises: Refusal (503) with the reason"""
    try:
        from ..inference.image_predictor import ImagePredictor
        from ..inference.opening import open_predictor
        from ..models.quiet import quiet_transformers

        quiet_transformers()
        backend = open_predictor(wanted.source, device, cache_size=1).backend
    except ImportError as e:
        advice = f"install it with {how_to_install('onnx')}" if e.name == "onnxruntime" else "install it"
        raise Refusal(f"the model {wanted.name} needs {e.name or 'a package'}; {advice}", 503) from e
    except SamHubError as e:
        raise Refusal(f"the model {wanted.name} cannot be used: {e}", 503) from e
    except (OSError, ValueError) as e:  # transformers' and the Hub's: no network, no such file
        first = (str(e).strip().splitlines() or [type(e).__name__])[0]
        raise Refusal(f"the model {wanted.name} could not be loaded ({first[:200]}); choose another model", 503) from e
    # The model is shared; each photo has its own cache, dropped with it.
    return LoadedModel(wanted.name, str(backend.device), lambda: ImagePredictor(backend, cache_size=1))
