"""Configurations of SAM: one class for each part, as in ``transformers.models.sam``.

If ``transformers`` has the model, a folder is written as it would (``model_type: "sam"``, ...), so that either library
loads it; every other model has ``model_type: "sam_hub"``.
"""

from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from ..errors import CheckpointError, ModelNotFoundError
from ..families import registry
from ..families.family import PROMPT_KINDS, ModelCapabilities
from ..hub.download import Repository
from ..hub.places import locate
from ..ops.bounds import buildable, check_settings, trusting_size
from ..ops.prompts import PAD_LABEL
from ..zoo import Variant
from .configuration_parts import (
    PAD_COORDINATE,
    SamMaskDecoderConfig,
    SamPromptEncoderConfig,
    SamVisionConfig,
)

__all__ = [
    "PAD_COORDINATE",
    "PAD_LABEL",
    "PROMPT_KINDS",
    "SamConfig",
    "SamMaskDecoderConfig",
    "SamPromptEncoderConfig",
    "SamVisionConfig",
]


def __getattr__(name: str) -> Any:
    """Configuration classes of other families, by their names."""
    for kind in registry.KINDS:
        for _, part in registry.parts(kind):
            if part.config.endswith(f":{name}"):
                return registry.load(part.config)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _typed(kind: str, settings: dict[str, Any], default: str) -> PreTrainedConfig:
    """The configuration class that ``settings["model_type"]`` names; missing or empty means ``default``."""
    model_type = settings.get("model_type") or default
    return registry.load(registry.part(kind, model_type).config)(**{**settings, "model_type": model_type})


class SamConfig(PreTrainedConfig):
    """Configuration of `SamModel`: ``vision_config``, ``prompt_encoder_config`` and ``mask_decoder_config``.

    The ``model_type`` of each part chooses its class; missing or empty (as in the SlimSAM repositories) means
    SAM's own: the ViT, the prompt encoder, the mask decoder. Reads ``transformers`` configurations
    (``model_type: "sam"`` and ``"sam_hq"``) too. Those state 1e-6 for the norms of the two-way transformer, while
    every published SAM was trained with 1e-5: 1e-6 read from a ``"sam"`` configuration becomes 1e-5, which is what
    is written back, so that both libraries then agree with the original.

    ``preprocessing`` has settings of `SamImageProcessor`, if images were not prepared as the encoder implies.
    ``text_embedding_size`` is the width of CLIP's embeddings in a model that takes text prompts (paper, appendix D.5),
    else 0.
    ``original_layout``, if given, names the older layout of its authors' files in which it is written back.
    ``generation`` (arguments of `SamAutomaticMaskGenerator`), ``tidy`` (share of a mask's area below which the command
    line and the page drop specks and fill holes) and ``zoom`` (whether `sam-hub segment` looks again at the window
    around each object), if given, replace the defaults for the image encoder.
    """

    model_type = "sam_hub"
    sub_configs_defaults = {
        "vision_config": SubConfigSpec(SamVisionConfig),
        "prompt_encoder_config": SubConfigSpec(SamPromptEncoderConfig),
        "mask_decoder_config": SubConfigSpec(SamMaskDecoderConfig),
    }

    vision_config: dict | PreTrainedConfig | None = None
    prompt_encoder_config: dict | PreTrainedConfig | None = None
    mask_decoder_config: dict | PreTrainedConfig | None = None
    preprocessing: dict | None = None
    text_embedding_size: int = 0
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        if isinstance(self.vision_config, dict):
            self.vision_config = _typed("encoder", self.vision_config, SamVisionConfig.model_type)
        if isinstance(self.prompt_encoder_config, dict):
            settings = {k: v for k, v in self.prompt_encoder_config.items() if k != "image_embedding_size"}  # derived
            self.prompt_encoder_config = _typed("prompt encoder", settings, SamPromptEncoderConfig.model_type)
        if isinstance(self.mask_decoder_config, dict):
            self.mask_decoder_config = _typed("mask decoder", self.mask_decoder_config, SamMaskDecoderConfig.model_type)
        super().__post_init__(**kwargs)

    @property
    def is_transformers_native(self) -> bool:
        """Whether ``transformers`` has a model that gives the same results from the same weights."""
        return self._to_transformers is not None

    @property
    def _to_transformers(self) -> Any:
        """The function that writes the configuration of ``transformers``, or None if it has no such model."""
        parts = self.vision_config, self.prompt_encoder_config, self.mask_decoder_config
        types = tuple(part.model_type for part in parts if isinstance(part, PreTrainedConfig))
        return None if self.text_embedding_size else registry.to_transformers(types)

    @property
    def capabilities(self) -> ModelCapabilities:
        """What the model can do."""
        fields = {**self.prompt_encoder_config.capabilities, **self.mask_decoder_config.capabilities}
        concepts = getattr(self.vision_config, "output_trunk", False)
        return ModelCapabilities(**fields, text=bool(self.text_embedding_size) or concepts, concepts=concepts)

    def take_from(self, variant: Variant) -> None:
        """Settings from the catalogue that are neither in the weights nor in published configurations.

        These concern not the encoder but how images were prepared, and which prompts and masks were trained.
        """
        for name, value in variant.config.items():
            part = getattr(self, name, None)
            if not isinstance(part, PreTrainedConfig):
                setattr(self, name, value)
            elif name != "vision_config":
                part.update({key: v for key, v in value.items() if key != "model_type"})

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> Any:
        """Load from a catalogue name, a folder, a ``.json`` file or a Hub repository, without downloading weights.

        trust_size: lift the limits on numbers in the file
        raises: ModelNotFoundError, HubError, CheckpointError
        """
        with buildable():
            config = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        if Path(pretrained_model_name_or_path).suffix != ".json" and isinstance(config, cls):
            variant = locate(pretrained_model_name_or_path, kwargs.get("subfolder") or "").variant
            if variant:
                config.take_from(variant)
        return config

    @classmethod
    def get_config_dict(
        cls, pretrained_model_name_or_path: str | Path, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        trust_size = kwargs.pop("trust_size", False)
        source = str(pretrained_model_name_or_path)
        if Path(source).suffix != ".json":
            place = locate(source, kwargs.get("subfolder") or "")
            if place.original:
                return cls(**place.variant.config).to_dict(), kwargs
            if place.file:
                raise ModelNotFoundError(
                    f"{source} holds only weights; SamModel.from_pretrained derives the settings from them"
                )
            if place.repo:
                repository = Repository.of(place.repo, kwargs, place.variant.revision if place.variant else "")
                kwargs["revision"] = repository.fetch_model(weights=False)
            source = place.repo or str(place.folder)
        config_dict, kwargs = super().get_config_dict(source, **kwargs)
        kind = config_dict.get("model_type")
        if kind and kind != cls.model_type and registry.from_transformers(kind) is None:
            raise CheckpointError(
                f"{source} is of the type {kind!r}, which this version of sam-hub does not know: update it, or take "
                "another model (`sam-hub zoo`)"
            )
        with trusting_size(trust_size):
            check_settings(config_dict, source)
            settings = cls._from_transformers(config_dict)
            check_settings(settings, source)
        return settings, kwargs

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        return super().from_dict(cls._from_transformers(config_dict), **kwargs)

    @classmethod
    def _from_transformers(cls, config_dict: dict[str, Any]) -> dict[str, Any]:
        """Convert the settings of a ``transformers`` configuration to ours; ours are returned unchanged."""
        convert = registry.from_transformers(config_dict.get("model_type"))
        return {**convert(config_dict), "model_type": cls.model_type} if convert else config_dict

    def to_dict(self) -> dict[str, Any]:
        output = super().to_dict()
        write = self._to_transformers
        return {**output, **write(output)} if write else output
