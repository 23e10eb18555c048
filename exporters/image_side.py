"""Everything computed once for an image, as one module: the encoder and the decoder's projections of its maps."""

import torch
from torch import Tensor, nn

from ..models.modeling_sam import SamModel
from .rank_four import shared_copy


class ImageSide(nn.Module):
    """(B, 3, H, W) -> embedding (B, C, h, w), then the decoder's ``feature_maps``, in that order.

    encoder: replaces the model's own, see `rank_four.restated`
    """

    def __init__(self, model: SamModel, encoder: nn.Module | None = None) -> None:
        super().__init__()
        self.encoder = model.vision_encoder if encoder is None else encoder
        self.names = model.mask_decoder.feature_maps
        self.maps = None
        if layers := model.mask_decoder.image_layers:
            self.maps = shared_copy(model.mask_decoder)
            for name in [name for name in self.maps._modules if name not in layers]:
                del self.maps._modules[name]
        added = model.no_memory_embedding
        self.register_buffer("added", None if added is None else added.detach().reshape(1, -1, 1, 1).clone())

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        encoded = self.encoder(pixel_values)
        features = encoded.features if self.maps is None else self.maps.encode_features(encoded.features)
        embedding = encoded.embedding if self.added is None else encoded.embedding + self.added
        return (embedding, *(features[name] for name in self.names))


def example_maps(model: SamModel, images: int = 1) -> dict[str, Tensor]:
    """Zeros of the shapes of the decoder's ``feature_maps``, (images, ...), by name."""
    side = model.config.prompt_encoder_config.image_embedding_size
    shapes = model.mask_decoder.feature_shapes((side, side))
    return {name: torch.zeros(images, *shape) for name, shape in shapes.items()}
