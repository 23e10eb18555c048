"""SAM 3's image encoder: a ViT with rotary positions, windows and a few global layers, and a neck of three levels.

Sources: ``sam3/model/vitdet.py`` and ``sam3/model/necks.py``; keys as in ``transformers.models.sam3``. In addition, any
multiple of the patch size works as input: the position table is tiled, not resized, and rotary positions of global
layers are scaled so that a side always spans one window.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ...models.encoders import EncoderOutput, check_size
from ...models.encoders.vit import window_partition, window_unpartition
from ...models.layers import eager_attention
from .configuration import LEVELS, Sam3VisionConfig


class PatchEmbeddings(nn.Module):
    def __init__(self, config: Sam3VisionConfig) -> None:
        super().__init__()
        size = config.patch_size
        self.projection = nn.Conv2d(config.num_channels, config.hidden_size, size, stride=size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.projection(x).permute(0, 2, 3, 1)  # (B, h, w, C)


class Embeddings(nn.Module):
    """Patch embeddings plus absolute positions, whose table is smaller than the grid and tiled."""

    def __init__(self, config: Sam3VisionConfig) -> None:
        super().__init__()
        self.side = config.pretrain_image_size // config.patch_size
        self.grid = config.image_size // config.patch_size
        self.patch_embeddings = PatchEmbeddings(config)
        self.position_embeddings = nn.Parameter(torch.zeros(1, self.side**2, config.hidden_size))

    def positions(self, size: tuple[int, int]) -> Tensor:
        """The tiled table: (1, h, w, C)"""
        height, width = size
        table = self.position_embeddings.unflatten(1, (self.side, self.side))
        return table.repeat(1, -(-height // self.side), -(-width // self.side), 1)[:, :height, :width]

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embeddings(x)
        return x + self.positions(tuple(x.shape[1:3]))


def rotary_angles(size: tuple[int, int], window: int, head_dim: int, theta: float, device: torch.device) -> Tensor:
    """The rotary angle for each position and channel pair: (h * w, head_dim / 2) float32; x first, then y.

    Positions of any grid are scaled to span ``window`` positions.
    """
    height, width = size
    quarter = head_dim // 4
    frequency = theta ** (-torch.arange(quarter, device=device, dtype=torch.float32) / quarter)
    y = torch.arange(height, device=device, dtype=torch.float32) * (window / height)
    x = torch.arange(width, device=device, dtype=torch.float32) * (window / width)
    angles = torch.cat(
        [
            (x[:, None] * frequency).expand(height, width, quarter),
            (y[:, None] * frequency)[:, None].expand(height, width, quarter),
        ],
        dim=-1,
    )
    return angles.flatten(0, 1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate each pair of adjacent channels: x (B, heads, L, d), cos and sin (L, d / 2) -> (B, heads, L, d)."""
    a, b = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1).flatten(-2).to(x.dtype)


class RotaryAttention(nn.Module):
    def __init__(self, config: Sam3VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.num_heads = config.num_attention_heads
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.is_causal = False
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor, output_attentions: bool = False) -> tuple[Tensor, Tensor | None]:
        """x: (B, h, w, C) -> the same, and the weights (B, heads, h * w, h * w) if the implementation returns them"""
        b, h, w, c = x.shape
        angles = rotary_angles((h, w), self.config.window_size, self.head_dim, self.config.rope_theta, x.device)
        cos, sin = angles.cos(), angles.sin()
        q, k, v = (
            proj(x).reshape(b, h * w, self.num_heads, -1).transpose(1, 2)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        kind = "eager" if output_attentions else self.config._attn_implementation
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(kind, eager_attention)
        out, weights = attend(
            self,
            rotate(q, cos, sin),
            rotate(k, cos, sin),
            v,
            attention_mask=None,
            dropout=self.config.attention_dropout if self.training else 0.0,
            scaling=self.scaling,
            is_causal=False,
        )
        return self.o_proj(out.reshape(b, h, w, c)), weights


class Mlp(nn.Module):
    def __init__(self, config: Sam3VisionConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.mlp_dim)
        self.fc2 = nn.Linear(config.mlp_dim, config.hidden_size)
        self.act = ACT2FN[config.hidden_act]

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class Layer(GradientCheckpointingLayer):
    """Pre-norm attention, in windows or over the whole grid, and an MLP."""

    def __init__(self, config: Sam3VisionConfig, window_size: int) -> None:
        super().__init__()
        self.window_size = window_size
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = RotaryAttention(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = Mlp(config)

    def forward(self, x: Tensor, output_attentions: bool = False) -> tuple[Tensor, Tensor | None]:
        y = self.layer_norm1(x)
        if self.window_size:
            y, padded = window_partition(y, self.window_size)
        y, weights = self.attention(y, output_attentions)
        if self.window_size:
            y = window_unpartition(y, self.window_size, padded, x.shape[1:3])
        x = x + y
        return x + self.mlp(self.layer_norm2(x)), weights


class Vit(nn.Module):
    """(B, 3, H, W) -> the trunk's output (B, C, h, w)"""

    def __init__(self, config: Sam3VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        layers = range(config.num_hidden_layers)
        windows = [0 if i in config.global_attn_indexes else config.window_size for i in layers]
        self.layers = nn.ModuleList([Layer(config, window) for window in windows])

    def forward(
        self, pixel_values: Tensor, output_hidden_states: bool = False, output_attentions: bool = False
    ) -> tuple[Tensor, tuple[Tensor, ...] | None, tuple[Tensor, ...] | None]:
        check_size(pixel_values, self.config.patch_size)
        x = self.layer_norm(self.embeddings(pixel_values))
        states, attentions = [x], []
        for layer in self.layers:
            x, weights = layer(x, output_attentions)
            if output_hidden_states:
                states.append(x)
            attentions.append(weights)
        return (
            x.permute(0, 3, 1, 2),
            tuple(states) if output_hidden_states else None,
            tuple(attentions) if output_attentions else None,
        )


class Level(nn.Module):
    """One map of the neck: (B, C, h, w) -> (B, out, scale * h, scale * w); scale 0.5 is never computed"""

    def __init__(self, channels: int, out: int, scale: float) -> None:
        super().__init__()
        half, quarter = channels // 2, channels // 4
        self.scale_layers = nn.ModuleList()
        if scale == 4:
            self.scale_layers += [
                nn.ConvTranspose2d(channels, half, kernel_size=2, stride=2),
                nn.GELU(),
                nn.ConvTranspose2d(half, quarter, kernel_size=2, stride=2),
            ]
            channels = quarter
        elif scale == 2:
            self.scale_layers.append(nn.ConvTranspose2d(channels, half, kernel_size=2, stride=2))
            channels = half
        elif scale not in (1, 0.5):
            raise ValueError(f"a level of the neck has the scale 4, 2, 1 or 0.5; got {scale}")
        self.proj1 = nn.Conv2d(channels, out, kernel_size=1)
        self.proj2 = nn.Conv2d(out, out, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.scale_layers:
            x = layer(x)
        return self.proj2(self.proj1(x))


class Neck(nn.Module):
    """The trunk's output (B, C, h, w) -> maps (B, out, scale * h, scale * w) for each scale except 0.5, finest first"""

    def __init__(self, config: Sam3VisionConfig, scales: Sequence[float]) -> None:
        super().__init__()
        self.count = sum(scale >= 1 for scale in scales)
        self.fpn_layers = nn.ModuleList([Level(config.hidden_size, config.output_channels, s) for s in scales])

    def forward(self, x: Tensor) -> list[Tensor]:
        x = x.contiguous()  # convolutions in channels-last memory round worse
        return [level(x) for level in self.fpn_layers[: self.count]]


class Sam3Encoder(nn.Module):
    _no_split_modules = ["Layer"]  # read by transformers

    def __init__(self, config: Sam3VisionConfig, scales: Sequence[float] = LEVELS) -> None:
        super().__init__()
        self.config = config
        self.backbone = Vit(config)
        self.neck = Neck(config, scales)

    def forward(
        self, pixel_values: Tensor, output_hidden_states: bool = False, output_attentions: bool = False
    ) -> EncoderOutput:
        """(B, 3, H, W), H and W multiples of the patch size -> embedding (B, C, h, w), without the no-memory embedding

        features: "stride_8" (B, C, 2h, 2w) and "stride_4" (B, C, 4h, 4w), with SAM 2's names; with
            ``config.output_trunk`` also "trunk" (B, D, h, w), the ViT's output
        Hidden states are those after the embedding and after each layer, (B, h, w, D).
        """
        trunk, states, attentions = self.backbone(pixel_values, output_hidden_states, output_attentions)
        stride_4, stride_8, embedding = self.neck(trunk)
        features = {"stride_8": stride_8, "stride_4": stride_4}
        if self.config.output_trunk:
            features["trunk"] = trunk
        return EncoderOutput(embedding, features, states, attentions)
