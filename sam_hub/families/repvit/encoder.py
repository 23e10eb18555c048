"""RepViT, the encoder of EdgeSAM (M1) and of RepViT-SAM (M2.3).

Source: "RepViT" (Wang et al. 2023, arXiv 2307.09283); EdgeSAM's ``edge_sam/modeling/rep_vit.py`` and RepViT-SAM's
``sam/repvit_sam/modeling/repvit.py``, whose depthwise blocks differ in where they normalise. Training branches stay
separate here; `RepDepthwise.folded` merges them.
"""

import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from ...models.encoders import EncoderOutput, check_size
from ...models.encoders.vit import Neck
from ...models.layers import ConvBatchNorm, conv_like, fold_batch_norm
from ..mobile_sam.encoder import PatchEmbed
from .configuration import RepVitVisionConfig


class SqueezeExcite(nn.Module):
    """Scales each channel by a gate computed from all channel means; inner width: a quarter, as a multiple of 8."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        narrow = max(8, (dim // 4 + 4) // 8 * 8)
        self.fc1 = nn.Conv2d(dim, narrow, kernel_size=1)
        self.fc2 = nn.Conv2d(narrow, dim, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True)))).sigmoid()


class RepDepthwise(nn.Module):
    """Sum of a 3 x 3 depthwise convolution, a 1 x 1 one, and the input."""

    def __init__(self, dim: int, norm_after_sum: bool, eps: float) -> None:
        super().__init__()
        self.conv3x3 = ConvBatchNorm(dim, dim, 3, groups=dim, eps=eps)
        if norm_after_sum:
            self.conv1x1 = nn.Conv2d(dim, dim, kernel_size=1, groups=dim)
            self.norm = nn.BatchNorm2d(dim, eps=eps)
        else:
            self.conv1x1 = ConvBatchNorm(dim, dim, groups=dim, eps=eps)
            self.norm = None

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv3x3(x) + self.conv1x1(x) + x
        return y if self.norm is None else self.norm(y)

    def folded(self) -> nn.Conv2d:
        """One 3 x 3 convolution that is equivalent in evaluation mode."""
        wide = self.conv3x3.folded()
        point = self.conv1x1.folded() if isinstance(self.conv1x1, ConvBatchNorm) else self.conv1x1
        weight = wide.weight + F.pad(point.weight + 1, (1, 1, 1, 1))  # 1: the input itself
        bias = wide.bias + point.bias
        if self.norm is not None:
            weight, bias = fold_batch_norm(weight, bias, self.norm)
        return conv_like(wide, weight, bias)


class RepVitBlock(GradientCheckpointingLayer):
    """Spatial mixing per channel (depthwise, squeeze-excite), then channel mixing (a residual MLP).

    A block that changes the size or width uses a plain depthwise convolution followed by a 1 x 1 convolution.
    """

    def __init__(self, config: RepVitVisionConfig, cin: int, cout: int, stride: int, squeeze_excite: bool) -> None:
        super().__init__()
        eps = config.batch_norm_eps
        self.squeeze_excite = SqueezeExcite(cin) if squeeze_excite else None
        if stride == 1 and cin == cout:
            self.depthwise = RepDepthwise(cin, config.norm_after_sum, eps)
            self.pointwise = None
        else:
            self.depthwise = ConvBatchNorm(cin, cin, 3, stride=stride, groups=cin, eps=eps)
            self.pointwise = ConvBatchNorm(cin, cout, eps=eps)
        self.expand = ConvBatchNorm(cout, 2 * cout, eps=eps)
        self.project = ConvBatchNorm(2 * cout, cout, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        x = self.depthwise(x)
        if self.squeeze_excite is not None:
            x = self.squeeze_excite(x)
        if self.pointwise is not None:
            x = self.pointwise(x)
        return x + self.project(F.gelu(self.expand(x)))


class RepVitEncoder(nn.Module):
    _no_split_modules = ["RepVitBlock"]  # read by transformers

    def __init__(self, config: RepVitVisionConfig) -> None:
        super().__init__()
        self.config = config
        widths, last = config.hidden_sizes, len(config.hidden_sizes) - 1
        features: list[nn.Module] = [PatchEmbed(config.num_channels, widths[0], config.batch_norm_eps)]
        ends = [0]
        for i, (width, depth) in enumerate(zip(widths, config.depths, strict=True)):
            if i > 0:
                stride = 2 if i < last or config.fuse_stages else 1
                features.append(RepVitBlock(config, widths[i - 1], width, stride, squeeze_excite=False))
            for j in range(depth):  # squeeze-excite in every other block, except the last of a stage
                features.append(RepVitBlock(config, width, width, 1, squeeze_excite=j % 2 == 0 and j < depth - 1))
            ends.append(len(features) - 1)
        self.features = nn.ModuleList(features)
        self.stage_ends = tuple(ends)
        out = config.output_channels
        self.fuse_stage2 = self.fuse_stage3 = None
        if config.fuse_stages:
            self.fuse_stage2 = nn.Conv2d(widths[-2], out, kernel_size=1, bias=False)
            self.fuse_stage3 = nn.Conv2d(widths[-1], out, kernel_size=1, bias=False)
        self.neck = Neck(out if config.fuse_stages else widths[-1], out, config.layer_norm_eps)

    def forward(
        self, pixel_values: Tensor, output_hidden_states: bool = False, output_attentions: bool = False
    ) -> EncoderOutput:
        """(B, 3, H, W) -> embedding (B, C, H / 16, W / 16); there is no attention.

        H and W must be multiples of 16, or of 32 with ``fuse_stages``. Hidden states are those after the patch
        embedding and after each stage, (B, C, h, w).
        """
        check_size(pixel_values, 32 if self.config.fuse_stages else 16)
        x, states = pixel_values, []
        for i, block in enumerate(self.features):
            x = block(x)
            if i in self.stage_ends:
                states.append(x)
        if self.config.fuse_stages:
            coarse = F.interpolate(self.fuse_stage3(x).float(), scale_factor=2, mode="bicubic", align_corners=False)
            x = self.fuse_stage2(states[-2]) + coarse.to(x.dtype)
        return EncoderOutput(self.neck(x), hidden_states=tuple(states) if output_hidden_states else None)
