"""Common parts of image encoders: their output, and SAM's own ViT."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class EncoderOutput:
    """What an image encoder returns.

    embedding: (B, C, h, w), the decoder's input
    features: further feature maps for the decoder, by name: see `MaskDecoder.feature_maps`
    hidden_states, attentions: per layer, if requested
    """

    embedding: Tensor
    features: dict[str, Tensor] = field(default_factory=dict)
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None

    @property
    def intermediate(self) -> tuple[Tensor, ...]:
        """The maps of ``features`` without their names, for arguments called ``intermediate_embeddings``."""
        return tuple(self.features.values())


def check_size(pixel_values: Tensor, stride: int) -> None:
    """Refuse an input (B, 3, H, W) that the stride does not divide: ValueError."""
    height, width = pixel_values.shape[-2:]
    if height % stride or width % stride:
        raise ValueError(f"this encoder needs an input whose sides are multiples of {stride}; got {height} x {width}")
