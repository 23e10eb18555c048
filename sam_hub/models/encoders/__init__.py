"""What image encoders share: what they return, and SAM's own ViT."""

from dataclasses import dataclass, field

from torch import Tensor


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
