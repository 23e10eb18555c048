"""Masks are resized as in the original, although the padding is not computed."""

import pytest
import torch
import torch.nn.functional as F

from sam_hub.models.mask_resizing import resize_masks

SIZES = [
    ((64, 64), (43, 64), (27, 40)),
    ((64, 64), (64, 41), (200, 129)),
    ((64, 64), (1, 64), (1, 90)),
    ((64, 64), (64, 2), (70, 2)),
    ((64, 64), (64, 64), (64, 64)),
    ((64, 48), (61, 48), (30, 24)),
    ((56, 56), (38, 56), (100, 147)),  # a ratio of 3.5
    ((128, 128), (90, 128), (45, 64)),  # of 8
    *(((64, 64), (rows, 64), (33, 50)) for rows in range(42, 50)),
]


@pytest.mark.parametrize("padded, cut, size", SIZES)
def test_the_bits_are_those_of_resizing_everything(padded, cut, size):
    generator = torch.Generator().manual_seed(sum(cut))
    low_res = 10 * torch.randn(9, 1, 16, 12 if padded[1] == 48 else 16, generator=generator)
    x = F.interpolate(low_res, padded, mode="bilinear", align_corners=False)[..., : cut[0], : cut[1]]
    plain = F.interpolate(x, size, mode="bilinear", align_corners=False)
    assert torch.equal(resize_masks(low_res, padded, cut, size), plain)
    assert torch.equal(resize_masks(low_res, padded, cut, size, threshold=0.5), plain > 0.5)
