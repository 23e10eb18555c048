"""SAM 2's prompt encoder and mask decoder for single images, shared with EdgeTAM and SAM 3's click predictor.

Source: "SAM 2: Segment Anything in Images and Videos" (Ravi et al. 2024, arXiv 2408.00714), facebookresearch/sam2,
``sam2/modeling/sam/prompt_encoder.py``, ``mask_decoder.py`` and ``sam2_image_predictor.py``. Weight names are those of
``transformers.Sam2Model``.
"""

import torch
from torch import Tensor, nn

from ...models.fine_decoder import FineMaskDecoder
from ...models.layers import Attention, FeedForward
from ...models.mask_decoder import TwoWayBlock, best_mask
from ...models.prompt_encoder import PromptEncoder
from .configuration import Sam2MaskDecoderConfig, Sam2PromptEncoderConfig


class Sam2PromptEncoder(PromptEncoder):
    """SAM's prompt encoder, but "not a point" also follows a box, and the four kinds of points are one table."""

    closes_boxes = True
    holds_positions = True

    def __init__(self, config: Sam2PromptEncoderConfig) -> None:
        super().__init__(config)
        self.point_embed = nn.Embedding(config.num_point_embeddings, config.hidden_size)

    def point_table(self) -> Tensor:
        return self.point_embed.weight


class Sam2Attention(Attention):
    """`Attention` whose last projection is called ``o_proj`` on disk."""

    as_known = True

    def __init__(self, config: Sam2MaskDecoderConfig, downsample_rate: int = 1) -> None:
        super().__init__(config, downsample_rate)
        self.o_proj = self._modules.pop("out_proj")

    @property
    def out_proj(self) -> nn.Linear:
        return self.o_proj


class Sam2Mlp(FeedForward):
    """`Mlp` whose layers are called ``proj_in`` and ``proj_out`` on disk."""

    as_known = True

    def __init__(self, dim: int, mlp_dim: int, act: str) -> None:
        super().__init__(dim, mlp_dim, dim, 2, act)


class Sam2TwoWayBlock(TwoWayBlock):
    as_known = True
    attention = Sam2Attention
    feed_forward = Sam2Mlp


class Sam2MaskDecoder(FineMaskDecoder):
    """SAM's decoder with finer features and a token for the object score."""

    as_known = True
    block = Sam2TwoWayBlock
    projects_once = True
    image_layers = ("conv_s1", "conv_s0")
    _no_split_modules = ["Sam2TwoWayBlock"]

    def __init__(self, config: Sam2MaskDecoderConfig) -> None:
        super().__init__(config)
        c = config.hidden_size
        self.obj_score_token = nn.Embedding(1, c)
        self.pred_obj_score_head = FeedForward(c, c, 1, 3, self.head_act)

    def output_tokens(self) -> Tensor:
        return torch.cat([super().output_tokens(), self.obj_score_token.weight])

    def predict_iou(self, tokens: Tensor) -> Tensor:
        return super().predict_iou(tokens).sigmoid()

    def score_objects(self, tokens: Tensor) -> Tensor:
        return self.pred_obj_score_head(tokens[:, :, -1])

    def select_masks(
        self, masks: Tensor, iou: Tensor, multimask_output: bool, count: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """As in `MaskDecoder`, but in evaluation an unstable single mask is replaced by the best of the three."""
        config = self.config
        one = count == 1 if count is not None else not multimask_output
        first, first_iou = super().select_masks(masks, iou, multimask_output, count)
        if not one or self.training or not config.dynamic_multimask_via_stability:
            return first, first_iou
        best, best_iou = best_mask(masks[:, :, 1:], iou[:, :, 1:], iou[:, :, 1:])
        inner = (first > config.dynamic_multimask_stability_delta).sum(dim=(-2, -1))
        outer = (first > -config.dynamic_multimask_stability_delta).sum(dim=(-2, -1))
        stability = torch.where(outer > 0, inner / outer.clamp(min=1), 1.0)  # (B, N, 1)
        stable = stability >= config.dynamic_multimask_stability_thresh
        return torch.where(stable[..., None, None], first, best), torch.where(stable, first_iou, best_iou)
