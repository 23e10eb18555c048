"""Features of a box, averaged over a grid of cells as by ``torchvision.ops.roi_align``, by matrix products."""

import math

import torch
from torch import Tensor


def cell_weights(start: float, end: float, cells: int, length: int, like: Tensor) -> Tensor:
    """Weight of each of ``length`` pixels in each of ``cells`` equal parts of an interval: (cells, length).

    The interval is at least one pixel long. Each part is sampled at ``ceil(size of a part)`` points with linear
    interpolation; points more than a pixel outside count as zero.
    """
    size = max(end - start, 1.0) / cells
    samples = math.ceil(size)
    at = torch.arange(cells * samples, dtype=torch.float32, device=like.device) + 0.5
    at = start + at * (size / samples)
    inside = (at >= -1) & (at <= length)
    at = at.clamp(0, length - 1)
    low = at.floor()
    share = at - low
    low = low.long()
    weights = torch.zeros(cells * samples, length, device=like.device)
    rows = torch.arange(cells * samples, device=like.device)
    weights[rows, low] = (1 - share) * inside
    weights[rows, (low + 1).clamp(max=length - 1)] += share * inside
    return weights.unflatten(0, (cells, samples)).mean(1).to(like.dtype)


def pool_boxes(features: Tensor, boxes: Tensor, cells: int) -> Tensor:
    """The cells of each box, (B * K, C, cells, cells).

    features: (B, C, h, w); boxes: (B, K, 4), x0, y0, x1, y1 in pixels of the features
    Same result as
    ``torchvision.ops.roi_align(features, list(boxes), cells)`` with its defaults.
    """
    height, width = features.shape[-2:]
    pooled = []
    for image, own in zip(features, boxes.float().tolist(), strict=True):
        for x0, y0, x1, y1 in own:
            rows = cell_weights(y0, y1, cells, height, features)
            columns = cell_weights(x0, x1, cells, width, features)
            pooled.append(rows @ image @ columns.T)
    return torch.stack(pooled)
