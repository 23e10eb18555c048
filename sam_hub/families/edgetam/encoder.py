"""RepViT-M1 with a feature pyramid, the encoder of EdgeTAM.

Source: "EdgeTAM" (Zhou et al. 2025, arXiv 2501.07256), facebookresearch/EdgeTAM; the trunk is timm's ``repvit_m1``
(Apache-2.0), with its weight names. Training branches stay separate; `RepDepthwise.folded` merges them.
"""

import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from ...models.encoders import EncoderOutput, check_size
from ...models.layers import conv_like, fold_batch_norm
from ..repvit.encoder import SqueezeExcite
from ..sam2.encoder import STRIDE, PyramidNeck
from .configuration import EdgeTamVisionConfig


class ConvNorm(nn.Module):
    """A bias-free convolution, padded so that stride 1 keeps the size, and its batch norm."""

    def __init__(self, cin: int, cout: int, eps: float, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.c = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(cout, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.c(x))

    def folded(self) -> nn.Conv2d:
        """One convolution that is equivalent in evaluation mode."""
        return conv_like(self.c, *fold_batch_norm(self.c.weight, None, self.bn))


class RepDepthwise(nn.Module):
    """Sum of a 3 x 3 depthwise convolution, a 1 x 1 one, and the input."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.conv = ConvNorm(dim, dim, eps, 3, groups=dim)
        self.conv1 = ConvNorm(dim, dim, eps, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + self.conv1(x) + x

    def folded(self) -> nn.Conv2d:
        """One 3 x 3 convolution that is equivalent in evaluation mode."""
        wide, point = self.conv.folded(), self.conv1.folded()
        return conv_like(wide, wide.weight + F.pad(point.weight + 1, (1, 1, 1, 1)), wide.bias + point.bias)


class ChannelMlp(nn.Module):
    """Two 1 x 1 convolutions with twice the width in between."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.conv1 = ConvNorm(dim, 2 * dim, eps)
        self.conv2 = ConvNorm(2 * dim, dim, eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(F.gelu(self.conv1(x)))


class Block(GradientCheckpointingLayer):
    """Spatial mixing per channel, then channel mixing."""

    def __init__(self, dim: int, eps: float, squeeze_excite: bool) -> None:
        super().__init__()
        self.token_mixer = RepDepthwise(dim, eps)
        self.se = SqueezeExcite(dim) if squeeze_excite else nn.Identity()
        self.channel_mixer = ChannelMlp(dim, eps)

    def forward(self, x: Tensor) -> Tensor:
        x = self.se(self.token_mixer(x))
        return x + self.channel_mixer(x)


class Downsample(nn.Module):
    """(B, Cin, h, w) -> (B, Cout, h / 2, w / 2)"""

    def __init__(self, cin: int, cout: int, eps: float) -> None:
        super().__init__()
        self.pre_block = Block(cin, eps, squeeze_excite=False)
        self.spatial_downsample = ConvNorm(cin, cin, eps, 3, stride=2, groups=cin)
        self.channel_downsample = ConvNorm(cin, cout, eps)
        self.ffn = ChannelMlp(cout, eps)

    def forward(self, x: Tensor) -> Tensor:
        x = self.channel_downsample(self.spatial_downsample(self.pre_block(x)))
        return x + self.ffn(x)


class Stage(nn.Module):
    def __init__(self, cin: int, cout: int, depth: int, eps: float, first: bool) -> None:
        super().__init__()
        self.downsample = nn.Identity() if first else Downsample(cin, cout, eps)
        self.blocks = nn.Sequential(*(Block(cout, eps, squeeze_excite=i % 2 == 0) for i in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x))


class Stem(nn.Module):
    """(B, 3, H, W) -> (B, C, H / 4, W / 4)"""

    def __init__(self, channels: int, width: int, eps: float) -> None:
        super().__init__()
        self.conv1 = ConvNorm(channels, width // 2, eps, 3, stride=2)
        self.conv2 = ConvNorm(width // 2, width, eps, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(F.gelu(self.conv1(x)))


class RepVitM1(nn.Module):
    def __init__(self, config: EdgeTamVisionConfig) -> None:
        super().__init__()
        widths, eps = config.hidden_sizes, config.batch_norm_eps
        self.stem = Stem(config.num_channels, widths[0], eps)
        for i, (width, depth) in enumerate(zip(widths, config.depths, strict=True)):
            self.add_module(f"stages_{i}", Stage(widths[max(0, i - 1)], width, depth, eps, first=i == 0))

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> maps after the stem and each stage, at strides 4, 4, 8, 16 and 32"""
        states = []
        for stage in self.children():
            x = stage(x)
            states.append(x)
        return states


class TimmTrunk(nn.Module):
    """The trunk, under the name that timm models have in ``transformers``."""

    def __init__(self, config: EdgeTamVisionConfig) -> None:
        super().__init__()
        self.timm_model = RepVitM1(config)

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.timm_model(x)


class EdgeTamEncoder(nn.Module):
    _no_split_modules = ["Block"]  # read by transformers

    def __init__(self, config: EdgeTamVisionConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = TimmTrunk(config)
        self.neck = PyramidNeck(config.hidden_sizes, config.output_channels)

    def forward(
        self, pixel_values: Tensor, output_hidden_states: bool = False, output_attentions: bool = False
    ) -> EncoderOutput:
        """(B, 3, H, W), H and W multiples of 32 -> embedding (B, C, H / 16, W / 16), without the no-memory embedding.

        features: "stride_8" (B, C, H / 8, W / 8) and "stride_4" (B, C, H / 4, W / 4); there is no attention
        """
        check_size(pixel_values, STRIDE)
        states = self.backbone(pixel_values)
        stride_4, stride_8, embedding = self.neck(states[1:])
        features = {"stride_8": stride_8, "stride_4": stride_4}
        return EncoderOutput(embedding, features, tuple(states) if output_hidden_states else None)
