"""Weights as whole numbers of few bits and a scale per output channel.

`with_feedback` rounds as GPTQ does (Frantar et al. 2022, arXiv 2210.17323, algorithm 1; columns in the order of their
inputs' size): the error of each column is compensated by the columns not yet rounded.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

CLIPS = tuple(1 - i / 40 for i in range(24))
"""Fractions of a channel's largest weight that are tried as the range of its levels."""

DAMPING = 0.01
"""Added to the diagonal of the second moments, as a fraction of its mean: calibration photos are few."""

FEWEST_NUMBERS = 512
"""Smaller tensors are stored as they are: a scale and a table would cost more than levels save."""

BLOCK = 128
"""Columns whose errors are spread to the later ones at once."""


@dataclass(frozen=True)
class Levels:
    """A weight as ``levels * scale``.

    levels: int8, of the weight's shape, from ``-2 ** (bits - 1)``
    scale: float16, broadcast along ``axis``, that of the output channels; all others are 1 long
    """

    levels: np.ndarray
    scale: np.ndarray
    bits: int
    axis: int

    @property
    def values(self) -> np.ndarray:
        """float32, exactly as files decompress it."""
        return self.levels.astype(np.float32) * self.scale.astype(np.float32)


def output_axis(layer: nn.Module) -> int:
    return 1 if isinstance(layer, nn.ConvTranspose2d) else 0


def as_rows(layer: nn.Module, weight: Tensor) -> Tensor:
    """(output channels, inputs) of a weight; for transposed convolutions, a row for each position of the kernel."""
    if isinstance(layer, nn.ConvTranspose2d):
        return weight.permute(1, 2, 3, 0).reshape(-1, weight.shape[0])
    return weight.reshape(weight.shape[0], -1)


def from_rows(layer: nn.Module, rows: Tensor) -> Tensor:
    """Inverse of `as_rows`."""
    shape = layer.weight.shape
    if isinstance(layer, nn.ConvTranspose2d):
        return rows.reshape(*shape[1:], shape[0]).permute(3, 0, 1, 2)
    return rows.reshape(shape)


def rounded(layer: nn.Module, bits: int, moments: Tensor | None = None) -> Levels:
    """A layer's weight in ``bits``.

    moments: (inputs, inputs), the mean of x x^T over the layer's inputs; without it, weights are rounded to nearest
    """
    weight = layer.weight.detach().float()
    axis = output_axis(layer)
    rows = as_rows(layer, weight)
    each = rows.shape[0] // weight.shape[axis]
    importance = torch.ones(rows.shape[1]) if moments is None else moments.diag()
    importance = importance + 1e-3 * importance.mean()
    scale = best_scale(rows.reshape(weight.shape[axis], -1), bits, importance.repeat(each))
    scale_of_rows = scale.repeat_interleave(each, 0)
    levels = (
        nearest(rows, scale_of_rows, bits) if moments is None else with_feedback(rows, scale_of_rows, bits, moments)
    )
    shape = [1] * weight.dim()
    shape[axis] = -1
    return Levels(
        from_rows(layer, levels).contiguous().numpy().astype(np.int8),
        scale.reshape(shape).numpy().astype(np.float16),
        bits,
        axis,
    )


def limits(bits: int) -> tuple[int, int]:
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def nearest(rows: Tensor, scale: Tensor, bits: int) -> Tensor:
    return (rows / scale).round().clamp(*limits(bits))


def best_scale(rows: Tensor, bits: int, importance: Tensor) -> Tensor:
    """(rows, 1), exact in float16: for each row, that of `CLIPS` with the least error, weighted by ``importance``."""
    largest = rows.abs().amax(1, keepdim=True)
    least, best = torch.full_like(largest, torch.inf), torch.ones_like(largest)
    for clip in CLIPS:
        scale = (largest * (clip / limits(bits)[1])).clamp(min=2.0**-24).half().float()
        error = ((nearest(rows, scale, bits) * scale - rows).square() * importance).sum(1, keepdim=True)
        best = torch.where(error < least, scale, best)
        least = torch.minimum(error, least)
    return best


def with_feedback(rows: Tensor, scale: Tensor, bits: int, moments: Tensor) -> Tensor:
    """Levels (rows, columns) that keep the layer's outputs, rather than its weights."""
    damped = moments.double()
    # An input that is always 0 would make the matrix singular.
    damped = damped + torch.eye(len(damped), dtype=torch.double) * (DAMPING * damped.diag().mean() + 1e-12)
    order = damped.diag().argsort(descending=True, stable=True)
    damped, left = damped[order][:, order], rows.double()[:, order]
    scale, (lowest, highest) = scale.double(), limits(bits)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    upper = torch.linalg.cholesky(inverse, upper=True)
    levels = torch.empty_like(left)
    for start in range(0, left.shape[1], BLOCK):
        end = min(start + BLOCK, left.shape[1])
        errors = torch.empty(len(left), end - start, dtype=torch.double)
        for i in range(start, end):
            column = left[:, i : i + 1]
            level = (column / scale).round().clamp(lowest, highest)
            error = (column - level * scale) / upper[i, i]
            levels[:, i : i + 1], errors[:, i - start : i - start + 1] = level, error
            left[:, i:end] -= error * upper[i : i + 1, i:end]
        left[:, end:] -= errors @ upper[start:end, end:]
    return levels[:, order.argsort()].float()
