"""Registers our architectures with the Auto classes of transformers when ``sam_hub`` is imported.

transformers keeps its Auto classes in four modules, each with a registry that takes classes, and has no entry point for
plug-ins. Importing those modules here would load torch at ``import sam_hub``; so a finder on ``sys.meta_path`` waits
for each of them, lets it load normally, and then registers our classes through the public ``register``. Modules that
are loaded already are handled at once. The finder removes itself when nothing is left to register.

The registries are keyed by `SamConfig`. One effect reaches further: ``AutoImageProcessor`` resolves the name
"SamImageProcessor", in the files of every SAM repository, to ours, which needs no torchvision and has the same
arguments and outputs.
"""

import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

AUTO = "transformers.models.auto."
MODELS = "sam_hub.models."


def _class(module: str, name: str) -> Any:
    return getattr(import_module(MODELS + module), name)


def _config(auto: ModuleType) -> None:
    config = _class("configuration_sam", "SamConfig")
    auto.AutoConfig.register(config.model_type, config, exist_ok=True)


def _model(auto: ModuleType) -> None:
    config, model = _class("configuration_sam", "SamConfig"), _class("modeling_sam", "SamModel")
    auto.AutoModel.register(config, model, exist_ok=True)
    auto.AutoModelForMaskGeneration.register(config, model, exist_ok=True)


def _image_processor(auto: ModuleType) -> None:
    config, processor = _class("configuration_sam", "SamConfig"), _class("image_processing_sam", "SamImageProcessor")
    # The registry's own method: that of AutoImageProcessor takes our SamConfig for theirs, which has the same name, and
    # keeps their processor for machines with torchvision.
    auto.IMAGE_PROCESSOR_MAPPING.register(config, {"pil": processor, "torchvision": processor}, exist_ok=True)


def _processor(auto: ModuleType) -> None:
    config, processor = _class("configuration_sam", "SamConfig"), _class("processing_sam", "SamHubProcessor")
    auto.AutoProcessor.register(config, processor, exist_ok=True)


WAITING: dict[str, tuple[str, Callable[[ModuleType], None]]] = {
    AUTO + "configuration_auto": ("configuration_sam", _config),
    AUTO + "modeling_auto": ("modeling_sam", _model),
    AUTO + "image_processing_auto": ("image_processing_sam", _image_processor),
    AUTO + "processing_auto": ("processing_sam", _processor),
}
"""Module of transformers that is waited for -> our module that is then needed, and what to do."""


class _Loader(Loader):
    """Loads a module with the loader that it has, then registers."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        register_loaded(module.__name__)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)


class _Finder(MetaPathFinder):
    """Finds nothing itself: it asks the finders after it, and wraps the loader of what is waited for."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in WAITING:
            return None
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(name, path, target)):
                if spec.loader:
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


FINDER = _Finder()


def install() -> None:
    """Register now what is loaded, and the rest as it comes. Called by ``import sam_hub``."""
    if FINDER not in sys.meta_path:
        sys.meta_path.insert(0, FINDER)
    register_loaded()


def register_loaded(complete: str = "") -> None:
    """Register with every module of transformers that is loaded, and take it off the list.

    complete: one whose import is not over, but for which everything is there
    """
    for name, (ours, register) in list(WAITING.items()):
        auto = sys.modules.get(name)
        loading = _is_loading(auto) and name != complete
        if auto is None or loading or _is_loading(sys.modules.get(MODELS + ours)):
            continue  # of ours, one that is loading comes back here when a public name of it has been asked for
        del WAITING[name]
        try:
            register(auto)
        except Exception as e:  # a fault of ours must not break an import of transformers
            warnings.warn(f"sam_hub could not register with {name} ({type(e).__name__}: {e})", stacklevel=2)
    if not WAITING and FINDER in sys.meta_path:
        sys.meta_path.remove(FINDER)


def _is_loading(module: ModuleType | None) -> bool:
    """Whether a module is still being executed; a spec says so until its loader returns."""
    return module is not None and module.__spec__ is not None and getattr(module.__spec__, "_initializing", False)
