"""Folding for inference and export: batch norms into convolutions, parallel branches into one (RepVGG, MobileSAM).

A module that can be replaced has a method ``folded()``, which returns the replacement.
"""

import torch
from torch import nn

from .untouched import is_foldable


@torch.no_grad()
def fold_modules(model: nn.Module) -> int:
    """Replace, in place, every submodule that has a ``folded`` method; returns the number replaced.

    A replaced module is not searched further, as it folds its own parts. Modules with adapters, hooks, quantised
    weights or anything else that their plain weights do not show stay as they are.
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
