"""Folding for inference and export: batch norms into convolutions, parallel branches into one (RepVGG, MobileSAM).

A module that can be replaced says so by a method ``folded()``, which returns the replacement.
"""

import torch
from torch import nn

from .untouched import is_foldable


@torch.no_grad()
def fold_modules(model: nn.Module) -> int:
    """Replace, in place, every submodule that has a ``folded`` method; returns how many there were.

    A replaced module is not searched further: it folds its own parts. One with adapters, hooks, quantised weights or
    anything else in it that its weights do not tell stays as it is, and computes what it did.
    """
    count = 0
    for name, child in model.named_children():
        if hasattr(child, "folded"):
            if not is_foldable(child):
                continue
            setattr(model, name, child.folded().train(child.training))
            count += 1
        else:
            count += fold_modules(child)
    return count
