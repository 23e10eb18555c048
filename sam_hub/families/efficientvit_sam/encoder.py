"""EfficientViT-SAM's encoder: convolutions, linear attention, and a neck that sums three stages.

Source: mit-han-lab/efficientvit, ``models/efficientvit/backbone.py`` (EfficientViTLargeBackbone), ``models/nn/ops.py``
and ``models/efficientvit/sam.py`` (Zhang et al. 2024, arXiv 2402.05008).
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from ...models.encoders import EncoderOutput, check_size
from ...models.layers import ConvBatchNorm, LayerNorm2d
from .configuration import EfficientVitVisionConfig


def gelu(x: Tensor) -> Tensor:
    """The tanh approximation used to train this encoder; the decoder uses exact GELU."""
    return F.gelu(x, approximate="tanh")


class Stem(nn.Module):
    """(B, 3, H, W) -> (B, C, H / 2, W / 2)"""

    def __init__(self, config: EfficientVitVisionConfig) -> None:
        super().__init__()
        self.main = ConvBatchNorm(config.num_channels, config.widths[0], 3, stride=2, eps=config.batch_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        return gelu(self.main(x))


class ConvBlock(GradientCheckpointingLayer):
    """Two or three convolutions with GELU in between, and a residual connection if the shape is unchanged.

    kind: "res": two 3x3; "fmb": 3x3, 1x1; "mb": 1x1, depthwise 3x3, 1x1, with a norm only after the last
    """

    def __init__(
        self, config: EfficientVitVisionConfig, kind: str, cin: int, cout: int, expansion: int, stride: int = 1
    ) -> None:
        super().__init__()
        wide, eps = cin * expansion, config.batch_norm_eps
        if kind == "res":
            convs = {
                "conv1": ConvBatchNorm(cin, wide, 3, stride, eps=eps),
                "conv2": ConvBatchNorm(wide, cout, 3, eps=eps),
            }
        elif kind == "fmb":
            convs = {
                "spatial_conv": ConvBatchNorm(cin, wide, 3, stride, eps=eps),
                "point_conv": ConvBatchNorm(wide, cout, eps=eps),
            }
        elif kind == "mb":
            convs = {
                "inverted_conv": nn.Conv2d(cin, wide, kernel_size=1),
                "depth_conv": nn.Conv2d(wide, wide, kernel_size=3, stride=stride, padding=1, groups=wide),
                "point_conv": ConvBatchNorm(wide, cout, eps=eps),
            }
        else:
            raise ValueError(f"unknown block {kind!r}; expected one of ['att', 'fmb', 'mb', 'res']")
        self.main = nn.Sequential(OrderedDict(convs))
        self.skip = stride == 1 and cin == cout

    def forward(self, x: Tensor) -> Tensor:
        *first, last = self.main
        y = x
        for conv in first:
            y = gelu(conv(y))
        return x + last(y) if self.skip else last(y)


class LinearAttention(nn.Module):
    """Attention with a ReLU kernel instead of a softmax, over pixels and over aggregated neighbourhoods.

    Linear in the number of pixels, as v k^T is a small matrix per head. Computed in float32, as its sums run over all
    pixels.
    """

    def __init__(self, config: EfficientVitVisionConfig, channels: int) -> None:
        super().__init__()
        self.head_dim = config.attention_head_dim
        heads, kernel = channels // self.head_dim, config.attention_kernel
        wide = 3 * channels
        self.qkv = nn.Conv2d(channels, wide, kernel_size=1, bias=False)
        self.gather = nn.Conv2d(wide, wide, kernel, padding=kernel // 2, groups=wide, bias=False)
        self.mix = nn.Conv2d(wide, wide, kernel_size=1, groups=3 * heads, bias=False)
        self.proj = ConvBatchNorm(2 * channels, channels, eps=config.batch_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, h, w) -> the same"""
        b, _, h, w = x.shape
        qkv = self.qkv(x)
        qkv = torch.cat([qkv, self.mix(self.gather(qkv))], dim=1)
        with torch.autocast(x.device.type, enabled=False):
            q, k, v = qkv.float().reshape(b, -1, 3, self.head_dim, h * w).unbind(2)  # (B, 2 * heads, d, h * w)
            q, k = q.relu(), k.relu()
            v = F.pad(v, (0, 0, 0, 1), value=1.0)  # a row of ones, whose product is the normaliser
            out = v @ k.transpose(-2, -1) @ q
            out = normalised(out)
        return self.proj(out.reshape(b, -1, h, w).to(x.dtype))


def normalised(out: Tensor) -> Tensor:
    """Divide (..., d + 1, P) by its last row, the normaliser: (..., d, P). Where that is 0, all rows are.

    The original adds 1e-15 to the normaliser. Exported graphs do not, because optimisers of ONNX graphs take that for
    0, half precision does too, and 0 / 0 is NaN.
    """
    rows, total = out[..., :-1, :], out[..., -1:, :]
    if torch.compiler.is_exporting():
        return rows / (total + (total == 0).to(total.dtype))
    return rows / (total + 1e-15)


class AttentionBlock(GradientCheckpointingLayer):
    """Linear attention for context, then an MBConv for detail, both residual."""

    def __init__(self, config: EfficientVitVisionConfig, channels: int, expansion: int) -> None:
        super().__init__()
        self.attn = LinearAttention(config, channels)
        self.local = ConvBlock(config, "mb", channels, channels, expansion)

    def forward(self, x: Tensor) -> Tensor:
        return self.local(x + self.attn(x))


class FusionNeck(nn.Module):
    """Sums the last three stages, projected and resized to equal shape, then applies a stack of blocks."""

    def __init__(self, config: EfficientVitVisionConfig) -> None:
        super().__init__()
        wide = config.neck_width
        self.inputs = nn.ModuleList(
            [ConvBatchNorm(c, wide, eps=config.batch_norm_eps) for c in reversed(config.widths[-3:])]
        )
        self.blocks = nn.ModuleList(
            [ConvBlock(config, "fmb", wide, wide, config.neck_expansion) for _ in range(config.neck_depth)]
        )
        self.output = nn.Conv2d(wide, config.output_channels, kernel_size=1)

    def forward(self, maps: list[Tensor], size: tuple[int, int]) -> Tensor:
        """maps: three stages, the coarsest first; size: (h, w) of the embedding -> (B, C, h, w)"""
        x = None
        for conv, stage in zip(self.inputs, maps, strict=True):
            y = conv(stage)
            if y.shape[-2:] != size:
                y = F.interpolate(y.float(), size, mode="bicubic", align_corners=False).to(y.dtype)
            x = y if x is None else x + y
        for block in self.blocks:
            x = block(x)
        return self.output(x)


class EfficientVitEncoder(nn.Module):
    _no_split_modules = ["ConvBlock", "AttentionBlock"]  # read by transformers

    def __init__(self, config: EfficientVitVisionConfig) -> None:
        super().__init__()
        self.config = config
        self.stages = nn.ModuleList()
        cin = config.widths[0]
        for i, (cout, depth, kind, expansion) in enumerate(
            zip(config.widths, config.depths, config.blocks, config.expansions, strict=True)
        ):
            if i == 0:
                blocks = [Stem(config)]
            else:
                halving = "mb" if kind == "att" else kind
                blocks = [ConvBlock(config, halving, cin, cout, 4 * expansion, stride=2)]
            for _ in range(depth):
                if kind == "att":
                    blocks.append(AttentionBlock(config, cout, expansion))
                else:
                    blocks.append(ConvBlock(config, kind, cout, cout, expansion))
            self.stages.append(nn.Sequential(*blocks))
            cin = cout
        self.neck = FusionNeck(config)
        self.layer_norm = LayerNorm2d(config.output_channels, eps=config.layer_norm_eps)

    def forward(
        self, pixel_values: Tensor, output_hidden_states: bool = False, output_attentions: bool = False
    ) -> EncoderOutput:
        """(B, 3, H, W), sides multiples of the last stage's stride -> embedding (B, C, H / patch_size, W / patch_size)

        Linear attention has no attention weights to return.
        """
        check_size(pixel_values, 2 ** len(self.config.widths))
        height, width = pixel_values.shape[-2:]
        x, states = pixel_values, []
        for stage in self.stages:
            x = stage(x)
            states.append(x)
        size = (height // self.config.patch_size, width // self.config.patch_size)
        embedding = self.layer_norm(self.neck(states[:-4:-1], size)).contiguous()  # as in `vit.Neck`
        return EncoderOutput(embedding, hidden_states=tuple(states) if output_hidden_states else None)
