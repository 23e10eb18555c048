"""The models that the page offers, and the few of them that are in memory."""

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import SamHubError
from ..installing import how_to_install
from ..zoo import ZOO, canonical_name
from .limits import Limits, Refusal


@dataclass(frozen=True)
class ModelEntry:
    """A model to choose. A visitor names it; what is loaded for the name was settled when the server started.

    name: as shown; source: for loading, never shown
    """

    name: str
    source: str
    good_for: str = ""
    params: int = 0
    license: str = ""

    def facts(self) -> dict[str, Any]:
        """For the page."""
        return {"name": self.name, "good_for": self.good_for, "params": self.params, "license": self.license}


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory.

    new_predictor: makes a predictor without an image; device: as shown
    """

    name: str
    device: str
    new_predictor: Callable[[], Any]


def offer(source: str) -> ModelEntry:
    """What a name of the catalogue, a folder, a file, a Hub id or an exported bundle is offered as."""
    key = canonical_name(source)
    if key:
        variant = ZOO[key]
        return ModelEntry(key, key, variant.good_for, variant.params, variant.license)
    path = Path(source)
    return ModelEntry(path.name if path.exists() else source, source, "exported bundle" if is_bundle(path) else "")


def is_bundle(path: Path) -> bool:
    """Whether a folder holds an exported ONNX model."""
    from ..inference.runtime import is_onnx_folder

    return path.is_dir() and is_onnx_folder(path)


class ModelPool:
    """Loads what is asked for and keeps the models that were used last.

    sources: what is offered, the default first
    device: as of `--device`
    """

    def __init__(self, sources: Iterable[str], device: str | None, limits: Limits) -> None:
        self.entries = {o.name: o for o in map(offer, sources)}
        if not self.entries:
            raise Refusal("there is no model to offer; name one with --model")
        self.default = next(iter(self.entries))
        self.device, self.limits = device, limits
        self._loaded: OrderedDict[str, LoadedModel] = OrderedDict()
        self._lock = threading.Lock()

    def chosen(self, name: Any) -> ModelEntry:
        """The offer of a name; None means the default. raises: Refusal"""
        if name is None or name == "":
            name = self.default
        if not isinstance(name, str) or name not in self.entries:
            raise Refusal(f"this server does not offer that model; choose one of {', '.join(self.entries)}", 404)
        return self.entries[name]

    def is_loaded(self, name: str) -> bool:
        return name in self._loaded

    def prepare(self, name: str) -> Iterator[dict[str, Any]]:
        """Load a model where it is not, and tell meanwhile what happens: events of the stage "loading"."""
        if self.is_loaded(name):
            return
        yield {"stage": "loading", "model": name, "note": f"Loading {name}"}
        failed: list[Exception] = []
        before = _arriving()
        thread = threading.Thread(target=self._try_to_get, args=(name, failed), daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(0.4)
            if (arrived := _arriving() - before) > 0:
                whole = self.entries[name].params * 4  # in float32, as nearly all are published
                share = {"done": min(arrived, whole), "of": whole} if whole else {}
                yield {"stage": "loading", "model": name, "note": f"Downloading {name}: {arrived >> 20} MB", **share}
        if failed:
            raise failed[0]

    def _try_to_get(self, name: str, failed: list[Exception]) -> None:
        try:
            self.get(name)
        except Exception as e:
            failed.append(e)

    def get(self, name: Any = None) -> LoadedModel:
        """The model of a name, loaded where it is not. raises: Refusal, and what loading raises"""
        wanted = self.chosen(name)
        with self._lock:
            if wanted.name not in self._loaded:
                self._loaded[wanted.name] = _load(wanted, self.device)
                while len(self._loaded) > self.limits.models:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(wanted.name)
            return self._loaded[wanted.name]


def _arriving() -> int:
    """Bytes of downloads that are on their way into the Hub's cache."""
    from huggingface_hub.constants import HF_HOME

    total = 0
    for path in Path(HF_HOME).rglob("*.incomplete"):
        with suppress(OSError):  # it has arrived meanwhile
            total += path.stat().st_size
    return total


def _load(wanted: ModelEntry, device: str | None) -> LoadedModel:
    """raises: Refusal (503) with the reason"""
    try:
        if is_bundle(Path(wanted.source)):
            return _load_bundle(wanted)
        from transformers.utils import logging

        from ..inference.opening import open_model
        from ..inference.predictor import SamPredictor

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        model = open_model(wanted.source, device)
    except SamHubError as e:
        raise Refusal(f"the model {wanted.name} cannot be used: {e}", 503) from e
    except (OSError, ValueError) as e:  # transformers' and the Hub's: no network, no such file
        first = (str(e).strip().splitlines() or [type(e).__name__])[0]
        raise Refusal(f"the model {wanted.name} could not be loaded ({first[:200]}); choose another model", 503) from e
    return LoadedModel(wanted.name, str(model.device), lambda: SamPredictor(model, cache_size=1))


def _load_bundle(wanted: ModelEntry) -> LoadedModel:
    try:
        from ..inference.runtime import OnnxPredictor
    except ImportError as e:
        advice = f"install it with {how_to_install('onnx')}"
        raise Refusal(f"the model {wanted.name} needs onnxruntime; {advice}", 503) from e
    opened = OnnxPredictor(wanted.source, cache_size=1)

    def new_predictor() -> OnnxPredictor:
        predictor = copy.copy(opened)  # shares the session, which is what takes time and memory
        predictor.reset_image()
        return predictor

    return LoadedModel(wanted.name, opened.model.runtime, new_predictor)
