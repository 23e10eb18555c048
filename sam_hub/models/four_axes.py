"""Operations for image encoders rewritten for phones, on tensors of at most four axes."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..ops.interpolation import bicubic_rows


def windows_of(x: Tensor, size: int) -> tuple[Tensor, tuple[int, int]]:
    """`sam_hub.models.encoders.vit.window_partition` in four axes."""
    b, h, w, c = x.shape
    x = F.pad(x, (0, 0, 0, missing(w, size), 0, missing(h, size)))
    ph, pw = x.shape[1:3]
    x = x.reshape(b * ph // size, size, pw // size, size * c).transpose(1, 2)
    return x.reshape(-1, size, size, c), (ph, pw)


def missing(side: int, size: int) -> int:
    """``-side % size``, the padding to a multiple, without a negative operand, whose remainder pnnx takes as C does."""
    return (size - side % size) % size


def joined(x: Tensor, size: int, padded: tuple[int, int], original: tuple[int, int]) -> Tensor:
    """The inverse of `windows_of`, without the padding; the pixels of a window may also be one axis."""
    ph, pw = padded
    c = x.shape[-1]
    x = x.reshape(-1, pw // size, size, size * c).transpose(1, 2)
    return x.reshape(-1, ph, pw, c)[:, : original[0], : original[1]]


def tanh_gelu(x: Tensor) -> Tensor:
    """``F.gelu(approximate="tanh")`` written out, as coremltools 9 drops the argument from exported programs.

    Without a power, which ncnn computes through a logarithm, and so wrongly for negative numbers.
    """
    return x * (0.5 * (1 + torch.tanh((2 / math.pi) ** 0.5 * (x + 0.044715 * (x * x * x)))))


def bicubic(x: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, h, w) -> (B, C, *size) by two matrix products."""
    down, across = (
        torch.tensor(bicubic_rows(int(n), int(m)).dense(), dtype=torch.float32)
        for n, m in zip(x.shape[-2:], size, strict=True)
    )
    return down @ x @ across.T
