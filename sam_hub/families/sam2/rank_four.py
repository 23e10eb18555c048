"""Hiera with tensors of at most four axes, for phones: see `sam_hub.exporters.rank_four`."""

import torch
from torch import Tensor

from ...models.four_axes import joined, missing, windows_of
from .encoder import HieraBlock, HieraTrunk, pooled


class FlatHieraBlock(HieraBlock):
    def forward(self, x: Tensor, output_attentions: bool = False) -> tuple[Tensor, None]:
        y = self.layer_norm1(x)
        if self.proj is not None:
            x = self.proj(y)
        if self.pools:
            x = pooled(x)
        window = self.window_size
        if window:
            y, padded = windows_of(y, window)
        y, _ = self.attn(y)
        if window:
            if self.pools:
                window, padded = window // 2, tuple(side + missing(side, window // 2) for side in x.shape[1:3])
            y = joined(y, window, padded, x.shape[1:3])
        x = x + y
        return x + self.mlp(self.layer_norm2(x)), None


class FlatHieraTrunk(HieraTrunk):
    """`HieraTrunk` with constant positions for the model's input size."""

    def look_up(self) -> None:
        side = self.image_size // 4
        with torch.no_grad():
            self.register_buffer("table", HieraTrunk.positions(self, (side, side)).clone())

    def positions(self, size: tuple[int, int]) -> Tensor:
        return self.table


RESTATED = {HieraBlock: FlatHieraBlock, HieraTrunk: FlatHieraTrunk}
