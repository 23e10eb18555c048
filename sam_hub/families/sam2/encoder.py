"""Hiera with a feature pyramid, the encoder of SAM 2.

Source: "Hiera" (Ryali et al. 2023, arXiv 2306.00989) as in facebookresearch/sam2,
``sam2/modeling/backbones/hieradet.py`` and ``image_encoder.py``. Weight names are those of ``transformers.Sam2Model``.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from ...models.encoders import EncoderOutput, check_size
from ...models.encoders.vit import window_partition, window_unpartition
from ...models.layers import FeedForward
from .configuration import Sam2VisionConfig

STRIDE = 32
"""Stride of the coarsest map; a window of the position table covers as many pixels."""


def pooled(x: Tensor) -> Tensor:
    """2 x 2 max pooling: (B, h, w, C) -> (B, h / 2, w / 2, C)"""
    return F.max_pool2d(x.permute(0, 3, 1, 2), kernel_size=2, stride=2).permute(0, 2, 3, 1)


class PatchEmbeddings(nn.Module):
    """(B, 3, H, W) -> (B, H / 4, W / 4, C)"""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(channels, width, kernel_size=7, stride=4, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        return self.projection(x).permute(0, 2, 3, 1)


class HieraAttention(nn.Module):
    """Attention within windows or the whole map, optionally with pooled queries."""

    def __init__(self, config: Sam2VisionConfig, cin: int, cout: int, heads: int, pools: bool) -> None:
        super().__init__()
        self.config = config
        self.num_heads = heads
        self.pools = pools
        self.scale = (cout // heads) ** -0.5
        self.qkv = nn.Linear(cin, 3 * cout)
        self.proj = nn.Linear(cout, cout)

    def forward(self, x: Tensor, output_attentions: bool = False) -> tuple[Tensor, Tensor | None]:
        """x: (B, h, w, Cin) -> (B, h or h / 2, w or w / 2, Cout); weights (B, heads, queries, h * w) if requested"""
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        if self.pools:
            q = pooled(q)
        size = q.shape[1:3]
        q, k, v = (t.flatten(1, 2).unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for t in (q, k, v))
        weights = None
        if self.config._attn_implementation == "sdpa" and not output_attentions:
            out = F.scaled_dot_product_attention(q, k, v, scale=self.scale)  # (B, heads, queries, d)
        else:
            weights = (q * self.scale @ k.transpose(-2, -1)).softmax(dim=-1)
            out = weights @ v
        return self.proj(out.transpose(1, 2).flatten(2).unflatten(1, size)), weights


class HieraBlock(GradientCheckpointingLayer):
    """Pre-norm attention and MLP; the first block of each later stage halves the map and changes the width."""

    def __init__(self, config: Sam2VisionConfig, cin: int, cout: int, heads: int, window: int, pools: bool) -> None:
        super().__init__()
        self.window_size = window
        self.pools = pools
        self.layer_norm1 = nn.LayerNorm(cin, eps=config.layer_norm_eps)
        self.attn = HieraAttention(config, cin, cout, heads, pools)
        self.layer_norm2 = nn.LayerNorm(cout, eps=config.layer_norm_eps)
        self.mlp = FeedForward(cout, int(cout * config.mlp_ratio), cout, 2, config.hidden_act)
        self.proj = nn.Linear(cin, cout) if cin != cout else None

    def forward(self, x: Tensor, output_attentions: bool = False) -> tuple[Tensor, Tensor | None]:
        """(B, h, w, Cin) -> (B, h, w, Cout), or half the height and width. Window padding takes part in attention."""
        y = self.layer_norm1(x)
        if self.proj is not None:
            x = self.proj(y)
        if self.pools:
            x = pooled(x)
        if self.window_size:
            y, padded = window_partition(y, self.window_size)
        y, weights = self.attn(y, output_attentions)
        if self.window_size:
            window = self.window_size
            if self.pools:
                window, padded = window // 2, tuple(side + -side % (window // 2) for side in x.shape[1:3])
            y = window_unpartition(y, window, padded, x.shape[1:3])
        x = x + y
        return x + self.mlp(self.layer_norm2(x)), weights


class HieraTrunk(nn.Module):
    def __init__(self, config: Sam2VisionConfig) -> None:
        super().__init__()
        widths, window = config.hidden_sizes, config.window_sizes[0]
        self.image_size = config.image_size
        self.patch_embed = PatchEmbeddings(config.num_channels, widths[0])
        self.pos_embed = nn.Parameter(torch.zeros(1, widths[0], *config.position_grid))
        self.pos_embed_window = nn.Parameter(torch.zeros(1, widths[0], window, window))
        self.blocks = nn.ModuleList()
        self.stage_ends = []
        cin = widths[0]
        for stage, (cout, depth, heads) in enumerate(
            zip(widths, config.depths, config.num_attention_heads, strict=True)
        ):
            for i in range(depth):
                begins = stage > 0 and i == 0
                window = config.window_sizes[stage - begins]
                window = 0 if len(self.blocks) in config.global_attn_indexes else window
                self.blocks.append(HieraBlock(config, cin, cout, heads, window, pools=begins))
                cin = cout
            self.stage_ends.append(len(self.blocks) - 1)

    def positions(self, size: tuple[int, int]) -> Tensor:
        """The resized table plus the window table, tiled: (1, h, w, C)"""
        table = F.interpolate(self.pos_embed.float(), size=size, mode="bicubic", align_corners=False)
        window = self.pos_embed_window
        times = (math.ceil(side / own) for side, own in zip(size, window.shape[-2:], strict=True))
        tiled = window.tile(1, 1, *times)[..., : size[0], : size[1]]
        return (table.to(window.dtype) + tiled).permute(0, 2, 3, 1)

    def forward(
        self, pixel_values: Tensor, output_attentions: bool = False
    ) -> tuple[list[Tensor], list[Tensor | None]]:
        """(B, 3, H, W) -> the patch embedding and each block's output, (B, h, w, C); attention weights"""
        x = self.patch_embed(pixel_values)
        x = x + self.positions(tuple(x.shape[1:3]))
        states, attentions = [x], []
        for block in self.blocks:
            x, weights = block(x, output_attentions)
            states.append(x)
            attentions.append(weights)
        return states, attentions


class PyramidNeck(nn.Module):
    """Projects maps at strides 4, 8, 16 and 32 to one width, and adds the one at stride 32 to that at stride 16.

    ``convs`` starts with the coarsest.
    """

    def __init__(self, widths: Sequence[int], out: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(width, out, kernel_size=1) for width in reversed(widths)])

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """(B, Cin, h, w), finest first -> strides 4, 8 and 16, (B, C, h, w)"""
        *finer, coarse = (conv(x) for conv, x in zip(reversed(self.convs), maps, strict=True))
        finer[-1] = finer[-1] + F.interpolate(coarse, scale_factor=2.0, mode="nearest")
        return finer


class Sam2Encoder(nn.Module):
    _no_split_modules = ["HieraBlock"]  # read by transformers

    def __init__(self, config: Sam2VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = HieraTrunk(config)
        self.neck = PyramidNeck(config.hidden_sizes, config.output_channels)

    def forward(
        self, pixel_values: Tensor, output_hidden_states: bool = False, output_attentions: bool = False
    ) -> EncoderOutput:
        """(B, 3, H, W), H and W multiples of 32 -> embedding (B, C, H / 16, W / 16), without the no-memory embedding.

        features: "stride_8" (B, C, H / 8, W / 8) and "stride_4" (B, C, H / 4, W / 4)
        Hidden states are the patch embedding and each block's output, (B, h, w, c).
        """
        check_size(pixel_values, STRIDE)
        states, attentions = self.backbone(pixel_values, output_attentions)
        stride_4, stride_8, embedding = self.neck([states[i + 1].permute(0, 3, 1, 2) for i in self.backbone.stage_ends])
        return EncoderOutput(
            embedding,
            {"stride_8": stride_8, "stride_4": stride_4},
            tuple(states) if output_hidden_states else None,
            tuple(attentions) if output_attentions else None,
        )
