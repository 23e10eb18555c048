"""Image encoders, by the ``model_type`` of their configuration; each is imported when it is built."""

from dataclasses import dataclass, field
from importlib import import_module

from torch import Tensor, nn
from transformers import PreTrainedConfig

ENCODERS = {
    "sam_vision_model": "vit:VitEncoder",
    "sam_hub_pocket": "pocket:PocketEncoder",
    "sam_hub_tiny_vit": "tiny_vit:TinyVitEncoder",
    "sam_hub_repvit": "repvit:RepVitEncoder",
    "sam_hub_efficient_sam": "efficient_sam:EfficientSamEncoder",
    "sam_hub_efficientvit": "efficientvit:EfficientVitEncoder",
}


@dataclass
class EncoderOutput:
    """What an image encoder returns.

    embedding: (B, C, h, w), what the decoder reads
    features: the further feature maps that the decoder reads, by name: see `MaskDecoder.feature_maps`
    hidden_states, attentions: per layer, where they were asked for
    """

    embedding: Tensor
    features: dict[str, Tensor] = field(default_factory=dict)
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None

    @property
    def intermediate(self) -> tuple[Tensor, ...]:
        """The maps of ``features`` without their names, as arguments called ``intermediate_embeddings`` take them."""
        return tuple(self.features.values())


def check_size(pixel_values: Tensor, stride: int) -> None:
    """Refuse an input (B, 3, H, W) that the stride does not divide: ValueError."""
    height, width = pixel_values.shape[-2:]
    if height % stride or width % stride:
        raise ValueError(f"this encoder needs an input whose sides are multiples of {stride}; got {height} x {width}")


def build_encoder(config: PreTrainedConfig) -> nn.Module:
    """The encoder that ``config.model_type`` names."""
    if config.model_type not in ENCODERS:
        raise ValueError(f"unknown encoder {config.model_type!r}; expected one of {sorted(ENCODERS)}")
    module, name = ENCODERS[config.model_type].split(":")
    return getattr(import_module(f".{module}", __name__), name)(config)
