"""Image encoders rewritten for phones: same results with tensors of at most four axes and common operations.

The Neural Engine and ONNX Runtime's Core ML provider refuse tensors of more axes, and none of the runtimes has a
bicubic resize. Families declare replacement layers (`Part.rank_four`), which share the weights.
"""

import copy

import torch
from torch import Tensor, nn

from ..families import registry
from ..models.fuse import fold_modules
from ..models.modeling_sam import SamModel


def restated_encoder(model: SamModel) -> nn.Module:
    """`restated` for a format whose decoders only read the embedding: (1, 3, H, W) -> (1, C, h, w)"""
    return Embedding(restated(model), model.no_memory_embedding)


def restated(model: SamModel) -> nn.Module:
    """A copy of the image encoder for export, (1, 3, H, W) -> `EncoderOutput`, at the model's own input size.

    Batch norms are folded; unchanged weights are shared with the model.
    """
    encoder = shared_copy(model.vision_encoder).eval()
    encoder.config._attn_implementation = "eager"  # matrix products and a softmax, which every runtime has
    fold_modules(encoder)
    restated = {}
    for _, declared in registry.parts("encoder"):
        restated |= registry.load(declared.rank_four) if declared.rank_four else {}
    with torch.no_grad():
        for part in encoder.modules():
            if type(part) in restated:
                part.__class__ = restated[type(part)]
                if hasattr(part, "look_up"):
                    part.look_up()
    return encoder


def shared_copy(module: nn.Module) -> nn.Module:
    """A copy with its own layers and configurations, which shares the parameters."""
    return copy.deepcopy(module, memo={id(p): p for p in module.parameters()})


class Embedding(nn.Module):
    """An encoder that only returns the embedding, including the model's added vector (1, 1, C)."""

    def __init__(self, encoder: nn.Module, added: Tensor | None) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("added", None if added is None else added.detach().reshape(1, -1, 1, 1).clone())

    def forward(self, pixel_values: Tensor) -> Tensor:
        embedding = self.encoder(pixel_values).embedding
        return embedding if self.added is None else embedding + self.added
