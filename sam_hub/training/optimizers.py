"""The optimizer of a recipe: AdamW, or Muon for matrices beside AdamW for everything else."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn


class Together(torch.optim.Optimizer):
    """Several optimizers that step as one; schedulers set the rate of each one's groups."""

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
    muon = torch.optim.Muon(matrices, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
    return Together([torch.optim.AdamW(groups, **options), muon])
