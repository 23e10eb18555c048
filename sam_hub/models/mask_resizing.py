"""Low-res masks -> masks at the size of the image."""

import torch
import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]

MASKS_AT_ONCE = 8
"""Masks that `resize_masks` holds at once as float32 at the original size: 48 MB each for 12 megapixels."""


def resize_masks(
    masks: Tensor,
    padded_size: Size,
    input_size: Size,
    original_size: Size,
    threshold: float | None = None,
    how: str = "crop",
) -> Tensor:
    """Low-res logits in the frame of the image.

    "crop" is the original's way (``Sam.postprocess_masks``): enlarge, cut the padding off, resize to the image.
    If an image was stretched to the input, there is no padding, and masks are resized in one step.

    masks: (..., h, w) logits in the frame of the padded input, of any dtype
    padded_size, input_size, original_size: (height, width) of the padded input, the resized image, the image
    how: ``mask_resize`` of the processor
    returns: (..., H, W) float32, or bool if a threshold is given
    """
    flat = masks.flatten(end_dim=-3) if masks.dim() > 2 else masks[None]
    out = flat.new_empty(len(flat), *original_size, dtype=torch.float32 if threshold is None else torch.bool)
    for start in range(0, len(flat), MASKS_AT_ONCE):
        part = slice(start, start + MASKS_AT_ONCE)
        x = flat[part, None].float()
        if how == "crop":
            x = enlarge_visible(x, padded_size, input_size)
        if how == "probability":
            x = F.interpolate(x.sigmoid(), original_size, mode="bilinear", align_corners=False).logit(eps=1e-6)
        else:
            x = F.interpolate(x, original_size, mode="bicubic" if how == "bicubic" else "bilinear", align_corners=False)
        out[part] = x[:, 0] if threshold is None else x[:, 0] > threshold
    return out.reshape(*masks.shape[:-2], *original_size)


def enlarge_visible(x: Tensor, padded_size: Size, input_size: Size) -> Tensor:
    """(n, 1, h, w) -> (n, 1, *padded_size), cut to ``input_size``; the padding is not computed if that is exact.

    It is for a ratio of 4, whose inverse has no rounding error: a pixel then has the same source and the same weights.
    """
    rows, columns = input_size
    if padded_size == (4 * x.shape[-2], 4 * x.shape[-1]):
        needed = x[..., : -(-rows // 4) + 1, : -(-columns // 4) + 1]  # and the next one, between which to interpolate
        x = F.interpolate(needed, scale_factor=4.0, mode="bilinear", align_corners=False, recompute_scale_factor=False)
    else:
        x = F.interpolate(x, padded_size, mode="bilinear", align_corners=False)
    return x[..., :rows, :columns]
