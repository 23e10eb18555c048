"""EfficientSAM's encoder: a plain ViT whose positions come from its pretraining at 224 pixels.

Source: yformer/EfficientSAM, ``efficient_sam/efficient_sam_encoder.py`` (Xiong et al. 2023, arXiv 2312.00863).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models.encoders.vit import VitEncoder
from .configuration import EfficientSamVisionConfig


class EfficientSamEncoder(VitEncoder):
    """`VitEncoder` without windows or relative positions; the position table has a row for the class token."""

    def __init__(self, config: EfficientSamVisionConfig) -> None:
        super().__init__(config)
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + config.pretrained_grid**2, config.hidden_size))

    def _positions(self, size: tuple[int, int]) -> Tensor:
        side = self.config.pretrained_grid
        table = self.pos_embed[:, 1:].float().unflatten(1, (side, side)).permute(0, 3, 1, 2)
        resized = F.interpolate(table, size=size, mode="bicubic", align_corners=False)
        return resized.permute(0, 2, 3, 1).to(self.pos_embed.dtype)
