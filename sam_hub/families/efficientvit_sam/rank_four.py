"""EfficientViT with tensors of at most four axes, for phones: see `sam_hub.exporters.rank_four`."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.four_axes import bicubic, tanh_gelu
from .encoder import ConvBlock, FusionNeck, LinearAttention, Stem, normalised


class FlatStem(Stem):
    def forward(self, x: Tensor) -> Tensor:
        return tanh_gelu(self.main(x))


class FlatConvBlock(ConvBlock):
    def forward(self, x: Tensor) -> Tensor:
        *first, last = self.main
        y = x
        for conv in first:
            y = tanh_gelu(conv(y))
        return x + last(y) if self.skip else last(y)


class FlatLinearAttention(LinearAttention):
    def forward(self, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        qkv = self.qkv(x)
        qkv = torch.cat([qkv, self.mix(self.gather(qkv))], dim=1)
        q, k, v = qkv.reshape(-1, 3 * self.head_dim, h * w).chunk(3, dim=1)  # (B * 2 * heads, d, h * w)
        q, k = q.relu(), k.relu()
        v = F.pad(v, (0, 0, 0, 1), value=1.0)
        out = normalised(v @ k.transpose(1, 2) @ q)
        return self.proj(out.reshape(b, -1, h, w))


class FlatFusionNeck(FusionNeck):
    def forward(self, maps: list[Tensor], size: tuple[int, int]) -> Tensor:
        x = None
        for conv, stage in zip(self.inputs, maps, strict=True):
            y = conv(stage)
            if y.shape[-2:] != size:
                y = bicubic(y, size)
            x = y if x is None else x + y
        for block in self.blocks:
            x = block(x)
        return self.output(x)


RESTATED = {
    Stem: FlatStem,
    ConvBlock: FlatConvBlock,
    LinearAttention: FlatLinearAttention,
    FusionNeck: FlatFusionNeck,
}
