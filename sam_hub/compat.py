"""Code written for ``segment_anything`` with the import changed, or unchanged after `install`."""

import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from .zoo import ZOO, canonical_name, nearest_names

ORIGINAL_KEYS = {"default": "sam-vit-h", "vit_h": "sam-vit-h", "vit_l": "sam-vit-l", "vit_b": "sam-vit-b"}


class ModelRegistry(Mapping[str, Callable[..., Any]]):
    """Functions that build a model: the original's keys, and every name that `SamModel.from_pretrained` knows.

    Each takes ``checkpoint``, a file or anything else that `SamModel.from_pretrained` takes. Without one, the keys of
    the original give random weights, as there, and names of the catalogue their own.
    """

    def __getitem__(self, key: str) -> Callable[..., Any]:
        name = ORIGINAL_KEYS.get(key) or (canonical_name(key) if isinstance(key, str) else None)
        if name is None:
            near = " or ".join(nearest_names(str(key))) or "a name of `sam-hub zoo`"
            raise KeyError(f"no model is called {key}; expected {', '.join(ORIGINAL_KEYS)}; did you mean {near}?")

        def build(checkpoint: str | Path | None = None) -> Any:
            from .models.configuration_sam import SamConfig
            from .models.modeling_sam import SamModel

            if checkpoint is None and key in ORIGINAL_KEYS:
                return SamModel(SamConfig(**ZOO[name].config)).eval()
            return SamModel.from_pretrained(str(checkpoint or name)).eval()

        return build

    def __iter__(self) -> Iterator[str]:
        return iter([*ORIGINAL_KEYS, *ZOO])

    def __len__(self) -> int:
        return len(ORIGINAL_KEYS) + len(ZOO)


sam_model_registry = ModelRegistry()


def install() -> None:
    """Make ``import segment_anything`` return this package, in this process.

    Covers ``SamPredictor``, ``SamAutomaticMaskGenerator``, ``sam_model_registry``, ``build_sam*``,
    ``utils.transforms.ResizeLongestSide``, ``utils.amg``, and the classes of ``modeling`` for ``isinstance``. Names
    without a counterpart raise an explanatory error on import or use.
    """
    from .inference import original_amg
    from .inference.amg import SamAutomaticMaskGenerator
    from .inference.predictor import SamPredictor
    from .inference.transforms import ResizeLongestSide
    from .models.encoders.vit import VitEncoder
    from .models.layers import LayerNorm2d
    from .models.mask_decoder import MaskDecoder, TwoWayTransformer
    from .models.modeling_sam import SamModel
    from .models.prompt_encoder import PromptEncoder

    builders = {"sam_model_registry": sam_model_registry, "build_sam": sam_model_registry["default"]}
    builders |= {f"build_sam_{key}": sam_model_registry[key] for key in ("vit_h", "vit_l", "vit_b")}
    amg = {name: getattr(original_amg, name) for name in original_amg.__all__}
    public = {"SamPredictor": SamPredictor, "SamAutomaticMaskGenerator": SamAutomaticMaskGenerator, **builders}
    parts = {"Sam": SamModel, "ImageEncoderViT": VitEncoder, "MaskDecoder": MaskDecoder, "PromptEncoder": PromptEncoder}
    parts["TwoWayTransformer"] = TwoWayTransformer
    contents: dict[str, dict[str, Any]] = {
        "": public,
        ".predictor": {"SamPredictor": SamPredictor},
        ".automatic_mask_generator": {"SamAutomaticMaskGenerator": SamAutomaticMaskGenerator},
        ".build_sam": builders,
        ".modeling": parts,
        ".modeling.sam": {"Sam": SamModel},
        ".modeling.common": {"LayerNorm2d": LayerNorm2d},
        ".modeling.image_encoder": {"ImageEncoderViT": VitEncoder},
        ".modeling.mask_decoder": {"MaskDecoder": MaskDecoder},
        ".modeling.prompt_encoder": {"PromptEncoder": PromptEncoder},
        ".modeling.transformer": {"TwoWayTransformer": TwoWayTransformer},
        ".utils": {},
        ".utils.transforms": {"ResizeLongestSide": ResizeLongestSide},
        ".utils.amg": amg,
        ".utils.onnx": {"SamOnnxModel": _no_onnx_model},
    }
    for suffix, names in contents.items():
        name = f"segment_anything{suffix}"
        is_package = any(other.startswith(f"{suffix}.") for other in contents)
        module = ModuleType(name, install.__doc__)
        module.__dict__.update(names, __getattr__=_missing_in(name))
        module.__spec__ = ModuleSpec(name, None, origin=__file__, is_package=is_package)
        if is_package:
            module.__path__ = []
        sys.modules[name] = module
        if parent := name.rpartition(".")[0]:
            setattr(sys.modules[parent], name.rpartition(".")[2], module)


def _missing_in(module: str) -> Callable[[str], Any]:
    """What a module answers when it is asked for a name that it lacks."""

    def answer(name: str) -> Any:
        raise AttributeError(f"sam_hub replaces {module} here and has no {name}; import it from the original")

    return answer


def _no_onnx_model(*arguments: Any, **named: Any) -> None:
    """Replaces ``SamOnnxModel``, whose graphs consist of the original's modules."""
    raise NotImplementedError("sam_hub writes the same ONNX file with `sam-hub export MODEL --layout meta --out DIR`")
