"""The optimizer of a recipe: AdamW, or Muon for matrices and AdamW for everything else."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from .precision import bfloat16_is_fast


class FloatMuon(torch.optim.Muon):
    """`torch.optim.Muon` that orthogonalises in float32; torch's own always uses bfloat16.

    For CPUs that only emulate bfloat16. Its steps always have the size that ``adjust_lr_fn="match_rms_adamw"`` gives;
    state and checkpoints are the same.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        with torch.enable_grad():
            loss = closure() if closure else None
        for group in self.param_groups:
            matrices, gradients, averages = [], [], []
            self._init_group(group, matrices, gradients, averages)
            for matrix, gradient, average in zip(matrices, gradients, averages, strict=True):
                average.lerp_(gradient, 1 - group["momentum"])
                update = gradient.lerp(average, group["momentum"]) if group["nesterov"] else average
                update = orthogonalised(update, group["ns_coefficients"], group["ns_steps"], group["eps"])
                size = 0.2 * max(matrix.shape) ** 0.5  # Liu et al. 2025: the root mean square of AdamW's steps
                matrix.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"] * size)
        return loss


def orthogonalised(
    matrix: torch.Tensor, coefficients: tuple[float, float, float], steps: int, eps: float
) -> torch.Tensor:
    """The nearest matrix with orthonormal rows or columns, roughly: singular values go near one, by the quintic
    Newton-Schulz iteration of Jordan et al. 2024."""
    a, b, c = coefficients
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if matrix.shape[0] > matrix.shape[1] else x


class Together(torch.optim.Optimizer):
    """Several optimizers as one; schedulers set the rates of all their groups."""

    def __init__(self, parts: list[torch.optim.Optimizer]) -> None:
        self.parts = parts
        super().__init__([group for part in parts for group in part.param_groups], {})

    def step(self, closure: Any = None) -> Any:
        loss = closure() if closure else None
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]


def is_hidden_matrix(name: str, parameter: nn.Parameter) -> bool:
    """Whether Muon takes a parameter: a matrix between two layers, no token and no embedding."""
    return parameter.dim() == 2 and not any(word in name for word in ("_token.", "_tokens.", "_embed"))


def adamw_and_muon(
    groups: Iterable[dict[str, Any]], matrices: list[nn.Parameter], rate: float, decay: float, **options: Any
) -> Together:
    """AdamW on ``groups``, with ``options``, and Muon (Jordan et al. 2024) on ``matrices``.

    rate: of Muon, whose steps have the size of AdamW's by the rule of Liu et al. 2025
    """
    kind = torch.optim.Muon if bfloat16_is_fast() else FloatMuon
    muon = kind(matrices, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
    return Together([torch.optim.AdamW(groups, **options), muon])
