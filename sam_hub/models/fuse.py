"""Folding for inference and export: batch norms into convolutions, parallel branches into one (RepVGG, MobileSAM).

A module that can be replaced says so by a method ``folded()``, which returns the replacement.
"""

import torch
from torch import nn


@torch.no_grad()
def fold_modules(model: nn.Module) -> int:
    """Replace, in place, every submodule that has a ``folded`` method; returns how many there were.

    A replaced module is not searched further: it folds its own parts.
    """
    count = 0
    for name, child in model.named_children():
        if hasattr(child, "folded"):
            setattr(model, name, child.folded().train(child.training))
            count += 1
        else:
            count += fold_modules(child)
    return count
