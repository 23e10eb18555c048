"""Small layers that several parts of SAM share."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of a (B, C, H, W) map."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__(channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def fold_batch_norm(weight: Tensor, bias: Tensor | None, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight (O, I, k, k) and bias (O) of one convolution that equals a convolution and its batch norm.

    Computed in float64, so the result differs from the two layers only by a rounding.
    """
    gain = norm.weight.double() * (norm.running_var.double() + norm.eps).rsqrt()
    shift = -norm.running_mean.double() if bias is None else bias.double() - norm.running_mean.double()
    folded = weight.double() * gain[:, None, None, None]
    return folded.to(weight.dtype), (norm.bias.double() + shift * gain).to(weight.dtype)


def conv_like(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """A convolution with the geometry of ``conv`` and other weights."""
    channels, geometry = (conv.in_channels, conv.out_channels), (conv.kernel_size, conv.stride, conv.padding)
    new = nn.Conv2d(*channels, *geometry, groups=conv.groups, device="meta")
    new.weight = nn.Parameter(weight, requires_grad=conv.weight.requires_grad)
    new.bias = nn.Parameter(bias, requires_grad=conv.weight.requires_grad)
    return new


class ConvBatchNorm(nn.Module):
    """A bias-free convolution, padded so that stride 1 keeps the size, and its batch norm."""

    def __init__(
        self, cin: int, cout: int, kernel: int = 1, stride: int = 1, groups: int = 1, eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(cout, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))

    def folded(self) -> nn.Conv2d:
        """A single convolution with the same results in evaluation mode."""
        return conv_like(self.conv, *fold_batch_norm(self.conv.weight, None, self.norm))


class Mlp(nn.Module):
    """The feed-forward half of a transformer block."""

    def __init__(self, dim: int, mlp_dim: int, act: str) -> None:
        super().__init__()
        self.lin1 = nn.Linear(dim, mlp_dim)
        self.lin2 = nn.Linear(mlp_dim, dim)
        self.act = ACT2FN[act]

    def forward(self, x: Tensor) -> Tensor:
        return self.lin2(self.act(self.lin1(x)))


class FeedForward(nn.Module):
    """A head of ``depth`` linear layers with an activation between them (hypernetworks, IoU)."""

    def __init__(self, dim: int, hidden: int, out: int, depth: int, act: str = "relu") -> None:
        super().__init__()
        self.act = ACT2FN[act]
        self.proj_in = nn.Linear(dim, hidden)
        self.layers = nn.ModuleList([nn.Linear(hidden, hidden) for _ in range(depth - 2)])
        self.proj_out = nn.Linear(hidden, out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.proj_in(x))
        for layer in self.layers:
            x = self.act(layer(x))
        return self.proj_out(x)


def eager_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    **kwargs: object,
) -> tuple[Tensor, Tensor]:
    """softmax(q k^T * scaling + mask) v, with the weights returned; (B, heads, L, d) -> (B, L, heads, d)."""
    weights = query @ key.transpose(-2, -1) * scaling
    if attention_mask is not None:
        if attention_mask.dtype == torch.bool:
            weights = weights.masked_fill(~attention_mask, torch.finfo(weights.dtype).min)
        else:
            weights = weights + attention_mask
    weights = weights.softmax(dim=-1)
    return (weights @ value).transpose(1, 2), weights


class Attention(nn.Module):
    """Attention of the mask decoder, over N prompts of B images at once.

    The projections reduce the width by ``downsample_rate``. Keys and values that do not depend on the prompt have a
    prompt axis of 1: they are projected once per image, and the queries of all prompts attend to them together.
    """

    def __init__(self, config, downsample_rate: int = 1) -> None:
        super().__init__()
        self.config = config
        self.num_heads = config.num_attention_heads
        inner = config.hidden_size // downsample_rate
        if inner % self.num_heads:
            raise ValueError(f"{self.num_heads} attention heads do not divide a width of {inner}")
        self.scaling = (inner // self.num_heads) ** -0.5
        self.is_causal = False
        self.q_proj = nn.Linear(config.hidden_size, inner)
        self.k_proj = nn.Linear(config.hidden_size, inner)
        self.v_proj = nn.Linear(config.hidden_size, inner)
        self.out_proj = nn.Linear(inner, config.hidden_size)

    def _heads(self, x: Tensor) -> Tensor:
        """(B, N, L, C) -> (B * N, heads, L, C / heads)"""
        b, n, length, c = x.shape
        return x.reshape(b * n, length, self.num_heads, c // self.num_heads).transpose(1, 2)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Attend.

        query: (B, N or 1, Lq, C); key, value: (B, N or 1, Lk, C)
        mask: broadcastable to (B * N, heads, Lq, Lk); bool, True = attend, or a float bias added to the logits
        returns: (B, N, Lq, C) and the weights (B * N, heads, Lq, Lk), or None if the implementation does not return
            them
        """
        q, k, v = self.q_proj(query), self.k_proj(key), self.v_proj(value)
        b, n, lq = q.shape[:3]
        shared = k.shape[1] == 1 and n > 1 and mask is None
        if shared:
            q = q.reshape(b, 1, n * lq, -1)
        elif k.shape[1] != n:
            n = max(n, k.shape[1])
            q, k, v = (t.expand(b, n, -1, -1) for t in (q, k, v))
        attend: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention)
        out, weights = attend(
            self,
            self._heads(q),
            self._heads(k),
            self._heads(v),
            attention_mask=mask,
            dropout=0.0,
            scaling=self.scaling,
            is_causal=False,
        )
        if shared and weights is not None:
            weights = weights.unflatten(2, (n, lq)).transpose(1, 2).flatten(0, 1)
        return self.out_proj(out.reshape(b, n, lq, -1)), weights
