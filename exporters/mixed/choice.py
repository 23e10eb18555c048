"""How many bits each layer's weight gets: as the masks demand, within a budget."""

from collections.abc import Callable, Mapping, Sequence
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from ...evaluation.metrics import mask_iou
from ...models.modeling_sam import SamModel
from ...ops.preparation import Prepared
from .calibration import Moments, answers, compressible, is_grouped
from .levels import Levels, as_rows, output_axis, rounded

LEAST_CHOICE = 16384
"""Smaller weights and convolutions with groups have `MOST_BITS`: they are a twentieth of the bytes."""

MEAN_BITS = {"mixed": 5.5, "mixed4": 4.4}
"""Variant with a width for each layer -> bits per weight, on average over the large layers."""

KINDS = 2
"""Batches of prompts that losses are measured on: clicks and boxes."""

FEWEST_BITS, MOST_BITS = 4, 8


def has_choice(layer: nn.Module) -> bool:
    return layer.weight.numel() >= LEAST_CHOICE and not is_grouped(layer)


@torch.no_grad()
def rounded_layer(layer: nn.Module, bits: int, moments: Moments | None) -> tuple[Levels, Tensor | None]:
    """A layer's weight in ``bits``, and its bias corrected by the mean error of its outputs."""
    levels = rounded(layer, bits, None if moments is None else moments.second)
    if layer.bias is None or moments is None:
        return levels, layer.bias
    error = as_rows(layer, layer.weight.float() - torch.from_numpy(levels.values))
    if is_grouped(layer):
        by_group = moments.mean.reshape(layer.groups, -1).repeat_interleave(len(error) // layer.groups, 0)
        shift = (error.reshape(*by_group.shape, -1).sum(-1) * by_group).sum(1)  # the same mean all over a kernel
    else:
        shift = (error @ moments.mean).reshape(layer.weight.shape[output_axis(layer)], -1).mean(1)
    return levels, layer.bias + shift


@torch.no_grad()
def apply(layer: nn.Module, levels: Levels, bias: Tensor | None) -> None:
    """Compute with the rounded weight from now on."""
    layer.weight = nn.Parameter(torch.from_numpy(levels.values), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.clone(), requires_grad=False)


@torch.no_grad()
def sensitivities(
    model: SamModel,
    images: Sequence[Prepared],
    moments: Mapping[str, Moments],
    bits: int = FEWEST_BITS,
    tell: Callable[[str, float], None] = lambda name, loss: None,
) -> dict[str, float]:
    """1 - mean IoU of the masks on ``images`` to the model's own, with one layer at a time in ``bits``."""
    own = []
    for image in images:
        encoded = model.encode(torch.from_numpy(image.pixel_values))
        own.append((encoded, list(islice(answers(model, image, encoded), KINDS))))
    found = {}
    for name, layer in compressible(model).items():
        if name not in moments or not has_choice(layer):
            continue
        weight, bias = layer.weight, layer.bias
        in_encoder = name.startswith("vision_encoder.")
        try:
            apply(layer, *rounded_layer(layer, bits, moments[name]))
            losses = []
            for image, (encoded, expected) in zip(images, own, strict=True):
                masks = islice(answers(model, image, None if in_encoder else encoded), KINDS)
                losses += [
                    1 - mask_iou((a > 0).numpy(), (b > 0).numpy()).mean() for a, b in zip(masks, expected, strict=True)
                ]
        finally:
            layer.weight, layer.bias = weight, bias
        found[name] = float(np.mean(losses))
        tell(name, found[name])
    return found


def choose_bits(
    losses: Mapping[str, float], sizes: Mapping[str, int], mean_bits: float, widths: Sequence[int]
) -> dict[str, int]:
    """Bits of each layer: those with the lowest expected loss of at most ``mean_bits`` on average.

    losses: of each layer in the fewest bits; one more bit halves it, and independent losses add up in their squares
    sizes: numbers of weights; widths: the choice, ascending
    """
    chosen = dict.fromkeys(losses, widths[0])
    left = mean_bits * sum(sizes[name] for name in losses) - sum(sizes[n] * b for n, b in chosen.items())

    def gain(name: str, wider: int) -> float:
        before, after = (losses[name] ** 2 / 4 ** (bits - widths[0]) for bits in (chosen[name], wider))
        return (before - after) / (sizes[name] * (wider - chosen[name]))

    while True:
        steps = [
            (gain(name, wider), name, wider)
            for name, bits in chosen.items()
            for wider in widths[widths.index(bits) + 1 : widths.index(bits) + 2]
            if sizes[name] * (wider - bits) <= left
        ]
        if not steps:
            return chosen
        _, name, wider = max(steps)
        left -= sizes[name] * (wider - chosen[name])
        chosen[name] = wider
