"""The original image encoder: a ViT with windows, a few global layers and decomposed relative positions.

Source: ``segment_anything/modeling/image_encoder.py``; keys as in ``transformers.models.sam``. Any width and
head count (SlimSAM), any input that the patch size divides: at another size than ``config.image_size`` the
absolute positions are resized bicubically, and the relative ones linearly, as the original does.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from ..configuration_parts import SamVisionConfig
from ..layers import LayerNorm2d, Mlp
from . import EncoderOutput, check_size

BIAS_BYTES = 64 * 2**20
"""Bound on the relative-position bias that SDPA materialises at a time, per image and layer."""


class PatchEmbed(nn.Module):
    def __init__(self, config: SamVisionConfig) -> None:
        super().__init__()
        size = config.patch_size
        self.projection = nn.Conv2d(config.num_channels, config.hidden_size, kernel_size=size, stride=size)

    def forward(self, x: Tensor) -> Tensor:
        return self.projection(x).permute(0, 2, 3, 1)  # (B, h, w, C)


class Neck(nn.Module):
    """(B, C, h, w) -> (B, output_channels, h, w)"""

    def __init__(self, channels: int, out: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, kernel_size=1, bias=False)
        self.layer_norm1 = LayerNorm2d(out, eps=eps)
        self.conv2 = nn.Conv2d(out, out, kernel_size=3, padding=1, bias=False)
        self.layer_norm2 = LayerNorm2d(out, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer_norm1(_uncast(self.conv1(x), self.layer_norm1)).contiguous()  # channels-last memory rounds worse
        return self.layer_norm2(_uncast(self.conv2(x), self.layer_norm2)).contiguous()


def _uncast(x: Tensor, norm: nn.Module) -> Tensor:
    """The result of a layer in the type of a norm's weights, where autocast computed it in another."""
    return x if x.dtype == norm.weight.dtype else x.to(norm.weight.dtype)


def relative_positions(table: Tensor, size: int) -> Tensor:
    """Rows of a (2 * L - 1, d) table for each query and key coordinate: (size, size, d)."""
    length = 2 * size - 1
    if table.shape[0] != length:
        table = F.interpolate(table.float().T[None], size=length, mode="linear")[0].T.to(table.dtype)
    at = torch.arange(size, device=table.device)
    return table[at[:, None] - at[None, :] + (size - 1)]


class VitAttention(nn.Module):
    def __init__(self, config: SamVisionConfig, window_size: int) -> None:
        super().__init__()
        self.config = config
        self.num_heads = config.num_attention_heads
        self.scale = (config.hidden_size // self.num_heads) ** -0.5
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=config.qkv_bias)
        self.proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.use_rel_pos = config.use_rel_pos
        if self.use_rel_pos:
            side = window_size or config.image_size // config.patch_size
            head_dim = config.hidden_size // self.num_heads
            self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, head_dim))
            self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, head_dim))

    def forward(self, x: Tensor, output_attentions: bool = False) -> tuple[Tensor, Tensor | None]:
        """x: (B, h, w, C) -> the same, and the weights (B, heads, h * w, h * w) if requested"""
        b, h, w, c = x.shape
        q, k, v = self.qkv(x).reshape(b, h * w, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)  # (B, heads, hw, d)
        rows = columns = None
        if self.use_rel_pos:
            grid = q.reshape(b, self.num_heads, h, w, -1)
            rows = grid @ relative_positions(self.rel_pos_h, h).transpose(1, 2)  # (B, heads, h, w, h)
            columns = grid.transpose(2, 3) @ relative_positions(self.rel_pos_w, w).transpose(1, 2)
            columns = columns.transpose(2, 3)  # (B, heads, h, w, w)
        weights = None
        if self.config._attn_implementation == "sdpa" and not output_attentions:
            out = self._sdpa(q, k, v, rows, columns, (h, w))
        else:
            logits = q * self.scale @ k.transpose(-2, -1)
            if rows is not None:
                logits = logits + (rows[..., :, None] + columns[..., None, :]).reshape(logits.shape)
            weights = logits.softmax(dim=-1)
            out = F.dropout(weights, self.config.attention_dropout, self.training) @ v
        return self.proj(out.transpose(1, 2).reshape(b, h, w, c)), weights

    def _sdpa(
        self, q: Tensor, k: Tensor, v: Tensor, rows: Tensor | None, columns: Tensor | None, size: tuple[int, int]
    ) -> Tensor:
        """Fused attention in bands of query rows, so that the full (h * w)^2 bias is never materialised."""
        h, w = size
        dropout = self.config.attention_dropout if self.training else 0.0
        if rows is None:
            return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=self.scale)
        band = max(1, BIAS_BYTES // (self.num_heads * w * h * w * q.element_size()))
        out = []
        for top in range(0, h, band):
            bottom = min(top + band, h)
            bias = rows[:, :, top:bottom, :, :, None] + columns[:, :, top:bottom, :, None, :]
            bias = bias.reshape(*q.shape[:2], (bottom - top) * w, h * w)
            part = q[:, :, top * w : bottom * w]
            out.append(F.scaled_dot_product_attention(part, k, v, bias, dropout, scale=self.scale))
        return out[0] if len(out) == 1 else torch.cat(out, dim=2)


def window_partition(x: Tensor, size: int) -> tuple[Tensor, tuple[int, int]]:
    """(B, h, w, C), padded with zeros at the right and bottom -> (B * windows, size, size, C), padded (h, w)"""
    b, h, w, c = x.shape
    x = F.pad(x, (0, 0, 0, -w % size, 0, -h % size))
    ph, pw = x.shape[1:3]
    x = x.reshape(b, ph // size, size, pw // size, size * c).transpose(2, 3)
    return x.reshape(-1, size, size, c), (ph, pw)


def window_unpartition(x: Tensor, size: int, padded: tuple[int, int], original: tuple[int, int]) -> Tensor:
    """The inverse of `window_partition`, without the padding."""
    ph, pw = padded
    c = x.shape[-1]
    x = x.reshape(-1, ph // size, pw // size, size, size * c).transpose(2, 3)
    return x.reshape(-1, ph, pw, c)[:, : original[0], : original[1]]


class VitLayer(GradientCheckpointingLayer):
    """Pre-norm attention and MLP. Windows are padded after the norm, and tokens attend to the padding too."""

    def __init__(self, config: SamVisionConfig, window_size: int) -> None:
        super().__init__()
        self.window_size = window_size
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attn = VitAttention(config, window_size)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = Mlp(config.hidden_size, config.mlp_dim, config.hidden_act)
        self.drop_path = 0.0  # training sets it: see `VitEncoder.set_drop_path`

    def _drop(self, y: Tensor) -> Tensor:
        """Stochastic depth (Huang et al. 2016): drop a residual branch (B, h, w, C) at random for each image."""
        if not self.training or self.drop_path == 0:
            return y
        keep = 1 - self.drop_path
        return y * (torch.rand(y.shape[0], 1, 1, 1, device=y.device) < keep).to(y.dtype) / keep

    def forward(self, x: Tensor, output_attentions: bool = False) -> tuple[Tensor, Tensor | None]:
        y = self.layer_norm1(x)
        if self.window_size:
            y, padded = window_partition(y, self.window_size)
        y, weights = self.attn(y, output_attentions)
        if self.window_size:
            y = window_unpartition(y, self.window_size, padded, x.shape[1:3])
        x = x + self._drop(y)
        return x + self._drop(self.mlp(self.layer_norm2(x))), weights


class VitEncoder(nn.Module):
    _no_split_modules = ["VitLayer"]  # read by transformers

    def __init__(self, config: SamVisionConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbed(config)
        self.pos_embed = None
        if config.use_abs_pos:
            side = config.image_size // config.patch_size
            self.pos_embed = nn.Parameter(torch.zeros(1, side, side, config.hidden_size))
        layers = range(config.num_hidden_layers)
        windows = [0 if i in config.global_attn_indexes else config.window_size for i in layers]
        self.layers = nn.ModuleList([VitLayer(config, window) for window in windows])
        self.neck = Neck(config.hidden_size, config.output_channels, config.layer_norm_eps)

    def set_drop_path(self, rate: float) -> None:
        """Stochastic depth in training: from 0 at the first layer to ``rate`` at the last (paper, appendix A)."""
        last = max(1, len(self.layers) - 1)
        for i, layer in enumerate(self.layers):
            layer.drop_path = rate * i / last

    def _positions(self, size: tuple[int, int]) -> Tensor:
        """The absolute positions, at the stored size or resized: (1, h, w, C)."""
        if self.pos_embed.shape[1:3] == size:
            return self.pos_embed
        table = self.pos_embed.float().permute(0, 3, 1, 2)
        resized = F.interpolate(table, size=size, mode="bicubic", align_corners=False)
        return resized.permute(0, 2, 3, 1).to(self.pos_embed.dtype)

    def forward(
        self, pixel_values: Tensor, output_hidden_states: bool = False, output_attentions: bool = False
    ) -> EncoderOutput:
        """(B, 3, H, W), normalised and padded -> embedding (B, C, H / 16, W / 16)

        features: with ``config.output_intermediate`` "early", the first global layer's output, (B, h, w, hidden_size)
        """
        check_size(pixel_values, self.config.patch_size)
        x = self.patch_embed(pixel_values)
        if self.pos_embed is not None:
            x = x + self._positions(x.shape[1:3])
        states, attentions, features = [x], [], {}
        for layer in self.layers:
            x, weights = layer(x, output_attentions)
            if self.config.output_intermediate and not features and not layer.window_size:
                features["early"] = x
            if output_hidden_states:
                states.append(x)
            attentions.append(weights)
        return EncoderOutput(
            embedding=self.neck(x.permute(0, 3, 1, 2)),
            features=features,
            hidden_states=tuple(states) if output_hidden_states else None,
            attentions=tuple(attentions) if output_attentions else None,
        )
