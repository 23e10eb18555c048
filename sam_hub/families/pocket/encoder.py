"""The encoder of `pocket`: EfficientNet-Lite0 and a neck that joins strides 8, 16 and 32.

EfficientNet-Lite (tensorflow/tpu, Apache-2.0) has no squeeze-excite and uses ReLU6, so it is fast on phones and
quantises well. Padding is TensorFlow's "SAME" for even sizes: a stride-2 convolution pads one pixel less at the top and
left. The input side must be a multiple of 32.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from ...models.encoders import EncoderOutput, check_size
from ...models.layers import LayerNorm2d, conv_like, fold_batch_norm
from ...models.untouched import is_bare
from .configuration import PocketVisionConfig


class ConvNorm(nn.Module):
    """A bias-free convolution and its batch norm, which is frozen: training also uses the stored statistics.

    The norm is folded into the weights at each forward (they are small), so it costs no pass over the image. If weights
    alone do not define the result, as with adapters, hooks or pruning, both modules are called.
    """

    folds_its_norm = True  # ``conv`` is not called

    def __init__(self, cin: int, cout: int, kernel: int, stride: int = 1, groups: int = 1, eps: float = 1e-3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(cout, eps=eps)
        after = kernel // 2
        before = after - (stride - 1)
        self.pad = (before, after, before, after)

    def forward(self, x: Tensor) -> Tensor:
        if not (is_bare(self.conv, nn.Conv2d) and is_bare(self.norm, nn.BatchNorm2d)):
            return self.norm.eval()(self.conv(F.pad(x, self.pad)))
        gain = self.norm.weight * (self.norm.running_var + self.norm.eps).rsqrt()
        weight = self.conv.weight * gain[:, None, None, None]
        bias = self.norm.bias - self.norm.running_mean * gain
        before, after = self.pad[:2]
        padding = after
        if before != after:
            x, padding = F.pad(x, self.pad), 0
        if self.conv.groups > 1 and torch.is_grad_enabled() and torch.is_autocast_enabled("cpu"):
            # oneDNN's bfloat16 gradients of depthwise convolutions are up to ten times slower than float32's
            with torch.autocast("cpu", enabled=False):
                return F.conv2d(x.float(), weight, bias, self.conv.stride, padding, groups=self.conv.groups)
        return F.conv2d(x, weight, bias, self.conv.stride, padding, groups=self.conv.groups)

    def folded(self) -> nn.Module:
        """One equivalent convolution, preceded by a padding layer if the padding is asymmetric."""
        conv = conv_like(self.conv, *fold_batch_norm(self.conv.weight, None, self.norm))
        before, after = self.pad[:2]
        if before != after:
            return nn.Sequential(nn.ZeroPad2d(self.pad), conv)
        conv.padding = (after, after)
        return conv


class InvertedResidual(GradientCheckpointingLayer):
    """Expansion, depthwise convolution, projection; with a residual connection if shapes match."""

    def __init__(self, cin: int, cout: int, expansion: int, kernel: int, stride: int, eps: float) -> None:
        super().__init__()
        wide = cin * expansion
        self.expand = ConvNorm(cin, wide, 1, eps=eps) if expansion > 1 else None
        self.depthwise = ConvNorm(wide, wide, kernel, stride, groups=wide, eps=eps)
        self.project = ConvNorm(wide, cout, 1, eps=eps)
        self.skip = stride == 1 and cin == cout

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.skip else y


class PyramidNeck(nn.Module):
    """Features at strides 8, 16 and 32 -> (B, out, h, w) at stride 16."""

    def __init__(self, channels: tuple[int, int, int], out: int, eps: float) -> None:
        super().__init__()
        fine, middle, coarse = channels
        self.fine = nn.Conv2d(4 * fine, out, kernel_size=1, bias=False)
        self.middle = nn.Conv2d(middle, out, kernel_size=1, bias=False)
        self.coarse = nn.Conv2d(coarse, out, kernel_size=1, bias=False)
        self.layer_norm1 = LayerNorm2d(out, eps=eps)
        self.conv = nn.Conv2d(out, out, kernel_size=3, padding=1, bias=False)
        self.layer_norm2 = LayerNorm2d(out, eps=eps)

    def forward(self, fine: Tensor, middle: Tensor, coarse: Tensor) -> Tensor:
        up = F.interpolate(self.coarse(coarse), scale_factor=2, mode="nearest")
        x = self.fine(F.pixel_unshuffle(fine, 2)) + self.middle(middle) + up
        x = F.gelu(self.layer_norm1(x))
        return self.layer_norm2(self.conv(x))


class PocketEncoder(nn.Module):
    _no_split_modules = ["InvertedResidual"]  # read by transformers

    def __init__(self, config: PocketVisionConfig) -> None:
        super().__init__()
        self.config = config
        eps = config.batch_norm_eps
        self.stem = ConvNorm(config.num_channels, config.stem_channels, 3, stride=2, eps=eps)
        self.stages = nn.ModuleList()
        cin, stride, level = config.stem_channels, 2, {}
        for i, (expansion, kernel, step, cout, repeats) in enumerate(config.stages):
            blocks = []
            for j in range(repeats):
                blocks.append(InvertedResidual(cin, cout, expansion, kernel, step if j == 0 else 1, eps))
                cin = cout
            self.stages.append(nn.Sequential(*blocks))
            stride *= step
            level[stride] = (i, cout)  # the last stage at each stride
        self.taps = tuple(level[s][0] for s in (8, 16, 32))
        self.finest = level[4][0]
        self.fine_channels = {f"stride_{s}_channels": level[s][1] for s in (8, 4)}
        self.neck = PyramidNeck(tuple(level[s][1] for s in (8, 16, 32)), config.output_channels, config.layer_norm_eps)

    def forward(
        self, pixel_values: Tensor, output_hidden_states: bool = False, output_attentions: bool = False
    ) -> EncoderOutput:
        """(B, 3, H, W), H and W multiples of 32 -> embedding (B, C, H / 16, W / 16); there is no attention.

        With ``output_fine_features`` also "stride_8" (B, C8, H / 8, W / 8) and "stride_4" (B, C4, H / 4, W / 4).
        """
        check_size(pixel_values, 32)
        x = F.relu6(self.stem(pixel_values))
        states = [x]
        for stage in self.stages:
            x = stage(x)
            states.append(x)
        embedding = self.neck(*(states[i + 1] for i in self.taps))
        features = {}
        if self.config.output_fine_features:
            features = {"stride_8": states[self.taps[0] + 1], "stride_4": states[self.finest + 1]}
        return EncoderOutput(embedding, features, hidden_states=tuple(states) if output_hidden_states else None)
