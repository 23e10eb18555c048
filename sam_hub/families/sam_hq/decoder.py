"""SAM-HQ's decoder: an additional output token, which uses early and final encoder features.

Source: "Segment Anything in High Quality" (Ke et al. 2023, arXiv 2306.01567), SysCV/sam-hq,
``segment_anything/modeling/mask_decoder_hq.py``. Weight names are those of ``transformers.SamHQModel``, whose
computation differs from the original: it upscales the embedding from before the transformer.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models.layers import FeedForward, LayerNorm2d
from ...models.mask_decoder import MaskDecoder, best_mask
from .configuration import HqMaskDecoderConfig


class HqMaskDecoder(MaskDecoder):
    """SAM's masks, followed by the HQ token's correction; `select_masks` adds both."""

    feature_maps = ("early",)

    def __init__(self, config: HqMaskDecoderConfig) -> None:
        super().__init__(config)
        c = config.hidden_size
        self.hq_token = nn.Embedding(1, c)
        self.hq_mask_mlp = FeedForward(c, c, c // 8, 3)
        self.compress_vit_conv1 = nn.ConvTranspose2d(config.vit_dim, c, kernel_size=2, stride=2)
        self.compress_vit_norm = LayerNorm2d(c)
        self.compress_vit_conv2 = nn.ConvTranspose2d(c, c // 8, kernel_size=2, stride=2)
        self.encoder_conv1 = nn.ConvTranspose2d(c, c // 4, kernel_size=2, stride=2)
        self.encoder_norm = LayerNorm2d(c // 4)
        self.encoder_conv2 = nn.ConvTranspose2d(c // 4, c // 8, kernel_size=2, stride=2)
        self.mask_conv1 = nn.Conv2d(c // 8, c // 4, kernel_size=3, padding=1)
        self.mask_norm = LayerNorm2d(c // 4)
        self.mask_conv2 = nn.Conv2d(c // 4, c // 8, kernel_size=3, padding=1)

    def feature_shapes(self, grid: tuple[int, int]) -> dict[str, tuple[int, ...]]:
        return {"early": (*grid, self.config.vit_dim)}

    def output_tokens(self) -> Tensor:
        return torch.cat([super().output_tokens(), self.hq_token.weight])

    def image_features(self, image_embeddings: Tensor, early: Tensor) -> Tensor:
        """Features shared by all prompts of an image: (B, C, h, w) and (B, h, w, vit_dim) -> (B, C / 8, 4h, 4w)."""
        late = self.encoder_conv2(F.gelu(self.encoder_norm(self.encoder_conv1(image_embeddings))))
        early = self.compress_vit_norm(self.compress_vit_conv1(early.permute(0, 3, 1, 2)))
        return late + self.compress_vit_conv2(F.gelu(early))

    def draw_masks(
        self, tokens: Tensor, upscaled: Tensor, image_embeddings: Tensor, features: Mapping[str, Tensor]
    ) -> Tensor:
        """As in `MaskDecoder`, with the HQ token's mask last: (B, N, 1 + M + 1, 4h, 4w)."""
        masks = super().draw_masks(tokens, upscaled, image_embeddings, features)
        b, n = upscaled.shape[:2]
        fine = self.mask_conv2(F.gelu(self.mask_norm(self.mask_conv1(upscaled.flatten(0, 1))))).unflatten(0, (b, n))
        fine = fine + self.image_features(image_embeddings, features["early"])[:, None]
        hyper = self.hq_mask_mlp(tokens[:, :, -1:])  # (B, N, 1, C / 8)
        return torch.cat([masks, (hyper @ fine.flatten(3)).unflatten(-1, fine.shape[-2:])], dim=2)

    def select_masks(
        self, masks: Tensor, iou: Tensor, multimask_output: bool, hq_token_only: bool = False
    ) -> tuple[Tensor, Tensor]:
        """One mask in every mode, as in the original: (B, N, 1, 4h, 4w) and its (B, N, 1) predicted IoU.

        The sum of SAM's mask and the HQ token's logits. With ``multimask_output``, SAM's mask is the best of three by
        predicted IoU, otherwise that of the first token; ``hq_token_only`` omits SAM's mask, but keeps its IoU.
        """
        sam, correction = masks[:, :, : self.num_mask_tokens], masks[:, :, self.num_mask_tokens :]
        sam, iou = super().select_masks(sam, iou, multimask_output)
        sam, iou = best_mask(sam, iou, iou)
        return correction if hq_token_only else sam + correction, iou
