"""TinyViT with tensors of at most four axes, for phones: see `sam_hub.exporters.rank_four`."""

from torch import Tensor

from ...models.four_axes import joined, windows_of
from .encoder import TinyVitBlock, WindowAttention


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
    """`WindowAttention` with constant biases."""

    def look_up(self) -> None:
        self.register_buffer("pairs", super().bias().clone())

    def bias(self) -> Tensor:
        return self.pairs


RESTATED = {TinyVitBlock: FlatTinyVitBlock, WindowAttention: FlatWindowAttention}
