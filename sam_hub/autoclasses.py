"""Registers our architectures with the Auto classes of transformers when ``sam_hub`` is imported.

transformers keeps its Auto classes in four modules, each with a registry that takes classes, and has no entry point for
plug-ins. Importing those modules here would load torch at ``import sam_hub``; so a finder on ``sys.meta_path`` waits
for each of them, lets it load normally, and then registers our classes through the public ``register``. Modules that
are already loaded are handled at once. The finder removes itself when nothing is left to register.

The registries are keyed by `SamConfig`. One effect reaches further: ``AutoImageProcessor`` resolves the name
"SamImageProcessor", in the files of every SAM repository, to ours, which needs no torchvision and has the same
arguments and outputs.

``from_pretrained`` of these Auto classes, and ``pipeline``, also learn the names of the models inside this package;
transformers alone would ask the Hub for them.
"""

import sys
import warnings
from collections.abc import Callable, Sequence
from functools import wraps
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from itertools import dropwhile
from pathlib import Path
from types import ModuleType
from typing import Any

AUTO = "transformers.models.auto."
PIPELINES = "transformers.pipelines"
MODELS = "sam_hub.models."
ASSETS = Path(__file__).parent / "assets"


def _class(module: str, name: str) -> Any:
    return getattr(import_module(MODELS + module), name)


def _config(auto: ModuleType) -> None:
    config = _class("configuration_sam", "SamConfig")
    auto.AutoConfig.register(config.model_type, config, exist_ok=True)
    _teach_names(auto.AutoConfig)


def _model(auto: ModuleType) -> None:
    config, model = _class("configuration_sam", "SamConfig"), _class("modeling_sam", "SamModel")
    for kind in (auto.AutoModel, auto.AutoModelForMaskGeneration):
        kind.register(config, model, exist_ok=True)
        _teach_names(kind)


def _image_processor(auto: ModuleType) -> None:
    config, processor = _class("configuration_sam", "SamConfig"), _class("image_processing_sam", "SamImageProcessor")
    # The registry's own method, because AutoImageProcessor's mistakes our SamConfig for theirs, of the same name, and
    # keeps their processor on machines with torchvision.
    auto.IMAGE_PROCESSOR_MAPPING.register(config, {"pil": processor, "torchvision": processor}, exist_ok=True)
    _teach_names(auto.AutoImageProcessor)


def _processor(auto: ModuleType) -> None:
    config, processor = _class("configuration_sam", "SamConfig"), _class("processing_sam", "SamHubProcessor")
    auto.AutoProcessor.register(config, processor, exist_ok=True)
    _teach_names(auto.AutoProcessor)


def _embedded(name: Any) -> Any:
    """Replace the name of a model inside this package by its folder; other values are returned unchanged."""
    if isinstance(name, str) and name.isidentifier() and (ASSETS / name / "config.json").is_file():
        return str(ASSETS / name)
    return name


def _teach_names(kind: Any) -> None:
    """Let ``from_pretrained`` of an Auto class accept the names of models inside this package."""
    original = kind.from_pretrained.__func__

    @wraps(original)
    def from_pretrained(cls: Any, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        return original(cls, _embedded(pretrained_model_name_or_path), *args, **kwargs)

    kind.from_pretrained = classmethod(from_pretrained)


def _thresholds(config: Any) -> dict[str, Any]:
    """Arguments of everything mode tuned for a model, replacing the original's."""
    suited = import_module("sam_hub.inference.thresholds").suited
    encoder = getattr(getattr(config, "vision_config", None), "model_type", None)
    return suited(encoder, getattr(config, "generation", None))


def _pipeline(pipelines: Any) -> None:
    """Let ``pipeline`` accept models inside this package, and use each model's own thresholds by default.

    The functions that ``pipeline`` calls are wrapped, because callers may already have imported ``pipeline`` itself.
    """
    get_task, kind = pipelines.get_task, pipelines.MaskGenerationPipeline
    init = kind.__init__

    @wraps(get_task)
    def task_of(model: str, *args: Any, **kwargs: Any) -> str:
        return get_task(model, *args, **kwargs) if _embedded(model) is model else "mask-generation"

    @wraps(init)
    def with_thresholds(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        self._forward_params = {**_thresholds(self.model.config), **self._forward_params}

    pipelines.get_task, kind.__init__ = task_of, with_thresholds
    for name in ("AutoFeatureExtractor", "AutoTokenizer", "AutoVideoProcessor"):  # pipeline tries these too
        _teach_names(getattr(pipelines, name))
    for name in ("find_adapter_config_file", "resolve_revision"):
        setattr(pipelines, name, _of_embedded(getattr(pipelines, name)))


def _of_embedded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function of a model's name so that it also accepts models inside this package."""

    @wraps(function)
    def wrapped(name: Any, *args: Any, **kwargs: Any) -> Any:
        return function(_embedded(name), *args, **kwargs)

    return wrapped


WAITING: dict[str, tuple[str, Callable[[ModuleType], None]]] = {
    AUTO + "configuration_auto": ("configuration_sam", _config),
    AUTO + "modeling_auto": ("modeling_sam", _model),
    AUTO + "image_processing_auto": ("image_processing_sam", _image_processor),
    AUTO + "processing_auto": ("processing_sam", _processor),
    PIPELINES: ("processing_sam", _pipeline),
}
"""Module of transformers -> our module that it then needs, and the function that registers."""


class _Loader(Loader):
    """Loads a module with its own loader, then registers."""

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
    """Delegates to the finders after it, and wraps the loaders of the modules in `WAITING`."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in WAITING:
            return None
        for finder in list(dropwhile(lambda finder: finder is not self, sys.meta_path))[1:]:
            if spec := finder.find_spec(name, path, target):
                if spec.loader:
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


FINDER = _Finder()


def install() -> None:
    """Register with loaded modules now, and with the others when they load. Called by ``import sam_hub``."""
    if FINDER not in sys.meta_path:
        sys.meta_path.insert(0, FINDER)
    register_loaded()


def register_loaded(complete: str = "") -> None:
    """Register with every loaded module of transformers, and remove it from `WAITING`.

    complete: a module that is still being imported but is already complete
    """
    for name, (ours, register) in list(WAITING.items()):
        auto = sys.modules.get(name)
        loading = _is_loading(auto) and name != complete
        if auto is None or loading or _is_loading(sys.modules.get(MODELS + ours)):
            continue  # a module of ours that is still loading; this runs again when one of its public names is used
        del WAITING[name]
        try:
            register(auto)
        except Exception as e:  # our errors must not break an import of transformers
            warnings.warn(f"sam_hub could not register with {name} ({type(e).__name__}: {e})", stacklevel=2)
    if not WAITING and FINDER in sys.meta_path:
        sys.meta_path.remove(FINDER)


def _is_loading(module: ModuleType | None) -> bool:
    """Whether a module is still being executed, according to its spec."""
    return module is not None and module.__spec__ is not None and getattr(module.__spec__, "_initializing", False)
