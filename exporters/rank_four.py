"""Image encoders restated for phones: the same numbers from tensors of at most four axes and common operations.

The Neural Engine, and ONNX Runtime's Core ML provider, refuse tensors of many axes, and none of the runtimes has a
bicubic resize. The layers here take the place of those of `sam_hub.models.encoders`, whose weights they share.
"""

import copy
import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..families.efficientvit_sam.encoder import ConvBlock, FusionNeck, LinearAttention, Stem
from ..families.mobile_sam.encoder import TinyVitBlock, WindowAttention
from ..families.repvit.encoder import RepVitEncoder
from ..models.encoders import EncoderOutput
from ..models.encoders.vit import VitAttention, VitLayer, relative_positions
from ..models.fuse import fold_modules
from ..models.modeling_sam import SamModel


def restated_encoder(model: SamModel) -> nn.Module:
    """A copy of the image encoder for export, (1, 3, H, W) -> (1, C, h, w), at the model's own input size.

    Batch norms are folded; weights that nothing changed are shared with the model.
    """
    encoder = shared_copy(model.vision_encoder).eval()
    encoder.config._attn_implementation = "eager"  # matrix products and a softmax, which every runtime has
    fold_modules(encoder)
    with torch.no_grad():
        for part in encoder.modules():
            if type(part) in RESTATED:
                part.__class__ = RESTATED[type(part)]
                if hasattr(part, "look_up"):
                    part.look_up()
    return Embedding(encoder)


def shared_copy(module: nn.Module) -> nn.Module:
    """A copy with layers and configurations of its own, and the same parameters."""
    return copy.deepcopy(module, memo={id(p): p for p in module.parameters()})


class Embedding(nn.Module):
    """An encoder that returns the embedding alone."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.encoder(pixel_values).embedding


def windows_of(x: Tensor, size: int) -> tuple[Tensor, tuple[int, int]]:
    """`sam_hub.models.encoders.vit.window_partition` in four axes."""
    b, h, w, c = x.shape
    x = F.pad(x, (0, 0, 0, -w % size, 0, -h % size))
    ph, pw = x.shape[1:3]
    x = x.reshape(b * ph // size, size, pw // size, size * c).transpose(1, 2)
    return x.reshape(-1, size, size, c), (ph, pw)


def joined(x: Tensor, size: int, padded: tuple[int, int], original: tuple[int, int]) -> Tensor:
    """The inverse of `windows_of`, without the padding; also of windows whose pixels are one axis."""
    ph, pw = padded
    c = x.shape[-1]
    x = x.reshape(-1, pw // size, size, size * c).transpose(1, 2)
    return x.reshape(-1, ph, pw, c)[:, : original[0], : original[1]]


class FlatVitAttention(VitAttention):
    """Relative positions are added in (B * heads, h * w, h, w), never in six axes; their tables are constants."""

    def look_up(self) -> None:
        if self.use_rel_pos:
            side = (len(self.rel_pos_h) + 1) // 2  # of the window or of the whole grid: as many as there are rows
            self.register_buffer("rows", relative_positions(self.rel_pos_h, side).transpose(1, 2).clone())
            self.register_buffer("columns", relative_positions(self.rel_pos_w, side).transpose(1, 2).clone())

    def forward(self, x: Tensor, output_attentions: bool = False) -> tuple[Tensor, None]:
        b, h, w, c = x.shape
        heads, d = self.num_heads, self.qkv.out_features // (3 * self.num_heads)
        q, k, v = (
            t.reshape(b, h * w, heads, d).transpose(1, 2).reshape(b * heads, h * w, d)
            for t in self.qkv(x.reshape(b, h * w, c)).chunk(3, dim=-1)
        )
        logits = q * self.scale @ k.transpose(1, 2)  # (B * heads, h * w, h * w)
        if self.use_rel_pos:
            grid = q.reshape(b * heads, h, w, d)
            rows = grid @ self.rows  # (B * heads, h, w, h)
            columns = (grid.transpose(1, 2) @ self.columns).transpose(1, 2)  # (B * heads, h, w, w)
            logits = logits.reshape(b * heads, h * w, h, w)
            logits = logits + rows.reshape(b * heads, h * w, h, 1) + columns.reshape(b * heads, h * w, 1, w)
            logits = logits.reshape(b * heads, h * w, h * w)
        out = logits.softmax(dim=-1) @ v
        out = out.reshape(b, heads, h * w, d).transpose(1, 2).reshape(b, h, w, heads * d)
        return self.proj(out), None


class FlatVitLayer(VitLayer):
    def forward(self, x: Tensor, output_attentions: bool = False) -> tuple[Tensor, None]:
        y = self.layer_norm1(x)
        if self.window_size:
            y, padded = windows_of(y, self.window_size)
        y, _ = self.attn(y)
        if self.window_size:
            y = joined(y, self.window_size, padded, x.shape[1:3])
        x = x + y
        return x + self.mlp(self.layer_norm2(x)), None


class FlatTinyVitBlock(TinyVitBlock):
    def forward(self, x: Tensor, output_attentions: bool = False) -> tuple[Tensor, None]:
        x = x.permute(0, 2, 3, 1)
        windows, padded = windows_of(x, self.window_size)
        y, _ = self.attn(self.layer_norm1(windows.flatten(1, 2)))
        x = x + joined(y, self.window_size, padded, x.shape[1:3])
        x = self.local_conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        x = x + self.mlp(self.layer_norm2(x))
        return x.permute(0, 3, 1, 2), None


class FlatWindowAttention(WindowAttention):
    """The biases are a constant."""

    def look_up(self) -> None:
        self.register_buffer("pairs", super().bias().clone())

    def bias(self) -> Tensor:
        return self.pairs


def tanh_gelu(x: Tensor) -> Tensor:
    """``F.gelu(approximate="tanh")`` in full: coremltools 9 loses the argument of an exported program."""
    return x * (0.5 * (1 + torch.tanh((2 / math.pi) ** 0.5 * (x + 0.044715 * x**3))))


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
        out = v @ k.transpose(1, 2) @ q
        out = out[:, :-1] / (out[:, -1:] + 1e-15)
        return self.proj(out.reshape(b, -1, h, w))


@lru_cache
def bicubic_matrix(size: int, out: int) -> np.ndarray:
    """The (out, size) float32 matrix that resizes a column as ``F.interpolate(mode="bicubic")`` does.

    Keys' kernel (1981, equation 4) with a = -0.75; what lies outside has the value of the edge.
    """
    at = (np.arange(out) + 0.5) * size / out - 0.5
    taps = np.floor(at).astype(int)[:, None] + np.arange(-1, 3)  # (out, 4)
    x, a = np.abs(at[:, None] - taps), -0.75
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    matrix = np.zeros((out, size))
    np.add.at(matrix, (np.arange(out)[:, None], taps.clip(0, size - 1)), np.where(x <= 1, near, far))
    return matrix.astype(np.float32)


def bicubic(x: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, h, w) -> (B, C, *size) by two matrix products."""
    down, across = (torch.tensor(bicubic_matrix(int(n), int(m))) for n, m in zip(x.shape[-2:], size, strict=True))
    return down @ x @ across.T


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


class FlatRepVitEncoder(RepVitEncoder):
    def forward(
        self, pixel_values: Tensor, output_hidden_states: bool = False, output_attentions: bool = False
    ) -> EncoderOutput:
        x, last = pixel_values, None
        for i, block in enumerate(self.features):
            x = block(x)
            if i == self.stage_ends[-2]:
                last = x
        if self.config.fuse_stages:
            x = self.fuse_stage2(last) + bicubic(self.fuse_stage3(x), last.shape[-2:])
        return EncoderOutput(self.neck(x))


RESTATED = {
    VitAttention: FlatVitAttention,
    VitLayer: FlatVitLayer,
    TinyVitBlock: FlatTinyVitBlock,
    WindowAttention: FlatWindowAttention,
    Stem: FlatStem,
    ConvBlock: FlatConvBlock,
    LinearAttention: FlatLinearAttention,
    FusionNeck: FlatFusionNeck,
    RepVitEncoder: FlatRepVitEncoder,
}
