"""SAM 3's ViT with tensors of at most four axes, for phones: see `sam_hub.exporters.rank_four`."""

import torch
from torch import Tensor

from ...models.four_axes import joined, windows_of
from .encoder import Embeddings, Layer, RotaryAttention, rotary_angles


class FlatEmbeddings(Embeddings):
    """`Embeddings` with constant positions for the model's input size."""

    def look_up(self) -> None:
        with torch.no_grad():
            self.register_buffer("table", self.positions((self.grid, self.grid)).clone())

    def forward(self, x: Tensor) -> Tensor:
        return self.patch_embeddings(x) + self.table


class FlatRotaryAttention(RotaryAttention):
    """Rotates channel pairs in four axes, through a product with a matrix that swaps them."""

    def look_up_for(self, side: int) -> None:
        """The tables of a grid of ``side`` x ``side``."""
        angles = rotary_angles(
            (side, side), self.config.window_size, self.head_dim, self.config.rope_theta, self.q_proj.weight.device
        ).repeat_interleave(2, dim=-1)  # (L, d)
        swap = torch.zeros(self.head_dim, self.head_dim)  # (a, b) -> (-b, a)
        even = torch.arange(0, self.head_dim, 2)
        swap[even + 1, even], swap[even, even + 1] = -1.0, 1.0
        for name, value in (("cos", angles.cos()), ("sin", angles.sin()), ("swap", swap)):
            self.register_buffer(name, value.to(self.q_proj.weight))

    def forward(self, x: Tensor, output_attentions: bool = False) -> tuple[Tensor, None]:
        b, h, w, c = x.shape
        q, k, v = (
            proj(x).reshape(b, h * w, self.num_heads, self.head_dim).transpose(1, 2)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = (t * self.cos + t @ self.swap * self.sin for t in (q, k))
        weights = (q @ k.transpose(-2, -1) * self.scaling).softmax(dim=-1)
        return self.o_proj((weights @ v).transpose(1, 2).reshape(b, h, w, c)), None


class FlatLayer(Layer):
    def look_up(self) -> None:
        config = self.attention.config
        self.attention.__class__ = FlatRotaryAttention
        self.attention.look_up_for(self.window_size or config.image_size // config.patch_size)

    def forward(self, x: Tensor, output_attentions: bool = False) -> tuple[Tensor, None]:
        y = self.layer_norm1(x)
        if self.window_size:
            y, padded = windows_of(y, self.window_size)
        y, _ = self.attention(y)
        if self.window_size:
            y = joined(y, self.window_size, padded, x.shape[1:3])
        x = x + y
        return x + self.mlp(self.layer_norm2(x)), None


RESTATED = {Embeddings: FlatEmbeddings, Layer: FlatLayer}
