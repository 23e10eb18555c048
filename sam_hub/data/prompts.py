"""Simulates prompts from masks, for training and evaluation (paper, appendix A, "Training algorithm").

Coordinates are pixels of the masks: a low-res pixel (x, y) of stride s is the point
(s * (x + 0.5) - 0.5, ...) of the network input.
"""

import torch
from torch import Tensor


def random_points(region: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """One pixel drawn uniformly from each region: (M, h, w) bool -> (M, 2) float, x then y.

    For an empty region, a pixel of the whole frame.
    """
    w = region.shape[-1]
    weight = region.flatten(1).float()
    weight = torch.where(weight.sum(-1, keepdim=True) > 0, weight, 1.0)
    index = torch.multinomial(weight, 1, generator=generator)[:, 0]
    return torch.stack([index % w, index // w], dim=-1).float()


def boxes_of(masks: Tensor) -> Tensor:
    """Tight boxes of non-empty masks: (M, h, w) bool -> (M, 4) float, x0, y0, x1, y1, in pixels, x1 exclusive."""
    columns, rows = masks.any(1), masks.any(2)
    x0, y0 = columns.float().argmax(-1), rows.float().argmax(-1)
    x1 = columns.shape[-1] - columns.flip(-1).float().argmax(-1)
    y1 = rows.shape[-1] - rows.flip(-1).float().argmax(-1)
    return torch.stack([x0, y0, x1, y1], dim=-1).float()


def noisy_boxes(
    boxes: Tensor, noise: float, limit: float, size: tuple[int, int], generator: torch.Generator | None = None
) -> Tensor:
    """Jitter box edges: normal noise with std ``noise`` times the side, clipped to ``limit`` pixels and the frame.

    The paper uses a standard deviation of 10 % of the side, at most 20 pixels of the 1024-pixel input.
    size: (H, W) of the frame
    """
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    shift = torch.randn(boxes.shape, generator=generator, device=boxes.device) * noise * sides
    moved = boxes + shift.clamp(-limit, limit)
    moved[:, 0::2] = moved[:, 0::2].clamp(0, size[1])
    moved[:, 1::2] = moved[:, 1::2].clamp(0, size[0])
    low, high = torch.minimum(moved[:, :2], moved[:, 2:]), torch.maximum(moved[:, :2], moved[:, 2:])
    return torch.cat([low, torch.maximum(high, low + 1)], dim=-1)


def corrective_points(
    predicted: Tensor, target: Tensor, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Sample a click in the error region of each mask: label 1 on a false negative, 0 on a false positive.

    predicted, target: (M, h, w) bool
    returns: (M, 2) float, x then y, and (M,) int labels. If a mask has no error: a click on the object.
    """
    error = predicted ^ target
    error = torch.where(error.flatten(1).any(-1)[:, None, None], error, target)
    points = random_points(error, generator)
    x, y = points.long().unbind(-1)
    return points, target[torch.arange(len(target), device=target.device), y, x].long()
