"""The Segment Anything Model and its relatives: load, prompt, fine-tune, evaluate and export.

Public names are imported on first use (PEP 562): ``import sam_hub`` loads neither torch nor transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import autoclasses

if TYPE_CHECKING:
    from .compat import sam_model_registry
    from .families.registry import register_family
    from .inference.amg import SamAutomaticMaskGenerator
    from .inference.concepts import ConceptFinder
    from .inference.predictor import SamPredictor
    from .models.configuration_sam import SamConfig
    from .models.image_processing_sam import SamImageProcessor
    from .models.modeling_sam import SamModel
    from .models.processing_sam import SamProcessor
    from .zoo import list_models

__version__ = "0.1.0"

__all__ = [
    "ConceptFinder",
    "SamAutomaticMaskGenerator",
    "SamConfig",
    "SamImageProcessor",
    "SamModel",
    "SamPredictor",
    "SamProcessor",
    "__version__",
    "list_models",
    "register_family",
    "sam_model_registry",
]

_HOMES = {
    "ConceptFinder": ".inference.concepts",
    "SamAutomaticMaskGenerator": ".inference.amg",
    "SamConfig": ".models.configuration_sam",
    "SamImageProcessor": ".models.image_processing_sam",
    "SamModel": ".models.modeling_sam",
    "SamPredictor": ".inference.predictor",
    "SamProcessor": ".models.processing_sam",
    "list_models": ".zoo",
    "register_family": ".families.registry",
    "sam_model_registry": ".compat",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name], __name__), name)
    autoclasses.register_loaded()
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


autoclasses.install()
