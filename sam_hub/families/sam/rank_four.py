"""The ViT with tensors of at most four axes, for phones: see `sam_hub.exporters.rank_four`."""

from torch import Tensor

from ...models.encoders.vit import VitAttention, VitLayer, relative_positions
from ...models.four_axes import joined, windows_of


class FlatVitAttention(VitAttention):
    """Adds relative positions in (B * heads, h * w, h, w), instead of six axes; their tables are constants."""

    def look_up(self) -> None:
        if self.use_rel_pos:
            side = (len(self.rel_pos_h) + 1) // 2  # of the window or the whole grid, whose side is the number of rows
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


RESTATED = {VitAttention: FlatVitAttention, VitLayer: FlatVitLayer}
