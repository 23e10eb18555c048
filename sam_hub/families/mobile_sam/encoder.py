"""TinyViT, the encoder of MobileSAM, TinySAM and SAM-HQ Light.

Source: "TinyViT" (Wu et al. 2022, arXiv 2207.10666) as modified by ``mobile_sam/modeling/tiny_vit_sam.py``. The
reference has a fixed input size and expands its attention biases once, before loading weights; here, any multiple of
the stride works, and biases are expanded on use.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ...models.encoders import EncoderOutput, check_size
from ...models.encoders.vit import Neck, window_partition, window_unpartition
from ...models.layers import ConvBatchNorm, Mlp, eager_attention
from .configuration import TinyVitVisionConfig


class PatchEmbed(nn.Module):
    """(B, 3, H, W) -> (B, C, H / 4, W / 4)"""

    def __init__(self, cin: int, cout: int, eps: float) -> None:
        super().__init__()
        self.conv1 = ConvBatchNorm(cin, cout // 2, 3, stride=2, eps=eps)
        self.conv2 = ConvBatchNorm(cout // 2, cout, 3, stride=2, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(F.gelu(self.conv1(x)))


class MbConv(GradientCheckpointingLayer):
    """Expansion, depthwise convolution, projection; the last GELU comes after the residual sum."""

    def __init__(self, dim: int, expansion: int, eps: float) -> None:
        super().__init__()
        wide = dim * expansion
        self.conv1 = ConvBatchNorm(dim, wide, eps=eps)
        self.conv2 = ConvBatchNorm(wide, wide, 3, groups=wide, eps=eps)
        self.conv3 = ConvBatchNorm(wide, dim, eps=eps)

    def forward(self, x: Tensor, output_attentions: bool = False) -> tuple[Tensor, None]:
        y = F.gelu(self.conv2(F.gelu(self.conv1(x))))
        return F.gelu(x + self.conv3(y)), None


class PatchMerging(nn.Module):
    """(B, C, h, w) -> (B, D, h / stride, w / stride)"""

    def __init__(self, cin: int, cout: int, stride: int, eps: float) -> None:
        super().__init__()
        self.conv1 = ConvBatchNorm(cin, cout, eps=eps)
        self.conv2 = ConvBatchNorm(cout, cout, 3, stride=stride, groups=cout, eps=eps)
        self.conv3 = ConvBatchNorm(cout, cout, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))


class WindowAttention(nn.Module):
    """Attention inside a window, with a learnt bias for each distance (|dy|, |dx|) and head."""

    def __init__(self, config: TinyVitVisionConfig, dim: int, num_heads: int, window_size: int) -> None:
        super().__init__()
        self.config = config
        self.num_heads = num_heads
        self.window_size = window_size
        self.scaling = (dim // num_heads) ** -0.5
        self.is_causal = False
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.attention_biases = nn.Parameter(torch.zeros(num_heads, window_size**2))

    def bias(self) -> Tensor:
        """The biases of all pairs of positions: (heads, window^2, window^2)."""
        at = torch.arange(self.window_size, device=self.attention_biases.device)
        distance = (at[:, None] - at[None, :]).abs()
        pair = distance[:, None, :, None] * self.window_size + distance[None, :, None, :]
        return self.attention_biases[:, pair.flatten(2).flatten(0, 1)]

    def forward(self, x: Tensor, output_attentions: bool = False) -> tuple[Tensor, Tensor | None]:
        """x: (windows, window^2, C) -> the same, and the weights (windows, heads, window^2, window^2)"""
        m, length, c = x.shape
        heads = self.qkv(x).reshape(m, length, self.num_heads, -1).transpose(1, 2)
        q, k, v = heads.chunk(3, dim=-1)  # q, k and v are adjacent per head, unlike in SAM
        kind = "eager" if output_attentions else self.config._attn_implementation
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(kind, eager_attention)
        out, weights = attend(
            self,
            q,
            k,
            v,
            attention_mask=self.bias()[None],
            dropout=0.0,
            scaling=self.scaling,
            is_causal=False,
        )
        return self.proj(out.reshape(m, length, c)), weights


class TinyVitBlock(GradientCheckpointingLayer):
    """Window attention, a depthwise convolution without residual connection, and an MLP.

    Windows are padded with zeros before the norm, and the padding takes part in attention.
    """

    def __init__(self, config: TinyVitVisionConfig, dim: int, num_heads: int, window_size: int) -> None:
        super().__init__()
        self.window_size = window_size
        self.layer_norm1 = nn.LayerNorm(dim, eps=config.layer_norm_eps)
        self.attn = WindowAttention(config, dim, num_heads, window_size)
        self.local_conv = ConvBatchNorm(dim, dim, 3, groups=dim, eps=config.batch_norm_eps)
        self.layer_norm2 = nn.LayerNorm(dim, eps=config.layer_norm_eps)
        self.mlp = Mlp(dim, int(dim * config.mlp_ratio), "gelu")

    def forward(self, x: Tensor, output_attentions: bool = False) -> tuple[Tensor, Tensor | None]:
        """x: (B, C, h, w) -> the same, and the attention weights if requested"""
        x = x.permute(0, 2, 3, 1)
        windows, padded = window_partition(x, self.window_size)
        y, weights = self.attn(self.layer_norm1(windows.flatten(1, 2)), output_attentions)
        x = x + window_unpartition(y, self.window_size, padded, x.shape[1:3])
        x = self.local_conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        x = x + self.mlp(self.layer_norm2(x))
        return x.permute(0, 3, 1, 2), weights


class TinyVitStage(nn.Module):
    """Blocks, then the merge into the next stage."""

    def __init__(self, config: TinyVitVisionConfig, index: int) -> None:
        super().__init__()
        dim, eps = config.hidden_sizes[index], config.batch_norm_eps
        if index == 0:
            blocks = [MbConv(dim, config.expansion, eps) for _ in range(config.depths[0])]
        else:
            heads, window = config.num_attention_heads[index - 1], config.window_sizes[index - 1]
            blocks = [TinyVitBlock(config, dim, heads, window) for _ in range(config.depths[index])]
        self.blocks = nn.ModuleList(blocks)
        self.downsample = None
        if index + 1 < len(config.hidden_sizes):
            self.downsample = PatchMerging(dim, config.hidden_sizes[index + 1], config.merge_strides[index], eps)

    def forward(self, x: Tensor, output_attentions: bool = False) -> tuple[Tensor, list[Tensor]]:
        attentions = []
        for block in self.blocks:
            x, weights = block(x, output_attentions)
            if weights is not None:
                attentions.append(weights)
        return x if self.downsample is None else self.downsample(x), attentions


class TinyVitEncoder(nn.Module):
    _no_split_modules = ["TinyVitBlock"]  # read by transformers

    def __init__(self, config: TinyVitVisionConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbed(config.num_channels, config.hidden_sizes[0], config.batch_norm_eps)
        self.layers = nn.ModuleList([TinyVitStage(config, i) for i in range(len(config.hidden_sizes))])
        self.neck = Neck(config.hidden_sizes[-1], config.output_channels, config.neck_layer_norm_eps)

    def forward(
        self, pixel_values: Tensor, output_hidden_states: bool = False, output_attentions: bool = False
    ) -> EncoderOutput:
        """(B, 3, H, W), H and W multiples of 16 -> embedding (B, C, H / 16, W / 16)

        Hidden states are those after the patch embedding and after each stage, (B, C, h, w). With
        ``config.output_intermediate`` the features hold "early", the second stage's output: (B, H / 16, W / 16, 160).
        """
        check_size(pixel_values, self.config.patch_size)
        x = self.patch_embed(pixel_values)
        states, attentions = [x], []
        for stage in self.layers:
            x, weights = stage(x, output_attentions)
            states.append(x)
            attentions += weights
        return EncoderOutput(
            embedding=self.neck(x),
            features={"early": states[2].permute(0, 2, 3, 1)} if self.config.output_intermediate else {},
            hidden_states=tuple(states) if output_hidden_states else None,
            attentions=tuple(attentions) if output_attentions else None,
        )
