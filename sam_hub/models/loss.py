"""The loss of the paper (appendix A): focal : dice 20 : 1, plus the squared error of the predicted IoU."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class LossWeights:
    """Segment Anything, appendix A, "Losses": 20 focal, 1 dice, 1 IoU error."""

    focal: float = 20.0
    dice: float = 1.0
    iou: float = 1.0
    focal_alpha: float = 0.25  # RetinaNet's values, as in DETR and MaskFormer, which the paper follows
    focal_gamma: float = 2.0


def focal_loss(logits: Tensor, target: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Mean focal loss of each mask: (..., H, W) logits and {0, 1} target -> (...)."""
    ce = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    wrong = (logits.sigmoid() - target).abs()  # 1 - p_t
    weight = alpha * target + (1 - alpha) * (1 - target)
    return (weight * wrong**gamma * ce).mean(dim=(-2, -1))


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """1 - (2 |p t| + 1) / (|p| + |t| + 1) of each mask: (..., H, W) -> (...)."""
    p = logits.sigmoid()
    overlap = (p * target).sum(dim=(-2, -1))
    return 1 - (2 * overlap + 1) / (p.sum(dim=(-2, -1)) + target.sum(dim=(-2, -1)) + 1)


def mask_iou(logits: Tensor, target: Tensor) -> Tensor:
    """IoU of the thresholded mask: (..., H, W) -> (...); 1 where both are empty."""
    predicted, target = logits > 0, target > 0.5
    union = (predicted | target).sum(dim=(-2, -1))
    overlap = (predicted & target).sum(dim=(-2, -1))
    return torch.where(union > 0, overlap / union.clamp(min=1), 1.0)


def resize_labels(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks (B, N, H, W) in the frame of the padded input -> float {0, 1} at the low-res size, by area."""
    labels = labels.float()
    if labels.shape[-2:] != size:
        labels = F.interpolate(labels, size=size, mode="area")
    return (labels >= 0.5).float()


def check_labels(labels: Any, objects: tuple[int, int]) -> Tensor:
    """Labels as (B, N, H, W); a single map (H, W) per image, as the processor returns it, becomes its only object.

    objects: (B, N), the masks' batch size and number of objects
    raises: ValueError
    """
    if not isinstance(labels, Tensor):
        raise ValueError(f"labels must be a tensor (images, objects, height, width); got a {type(labels).__name__}")
    if labels.dim() == 3 and objects[1] == 1:
        labels = labels[:, None]
    if labels.dim() != 4 or tuple(labels.shape[:2]) != objects:
        hint = "; give the processor a stack (objects, H, W) for each image" if labels.dim() == 3 else ""
        raise ValueError(f"labels must be {objects} + (H, W); got {tuple(labels.shape)}{hint}")
    return labels


def mask_losses(logits: Tensor, target: Tensor, weights: LossWeights) -> Tensor:
    """Weighted focal and dice loss of each mask: (..., H, W) -> (...)."""
    focal = focal_loss(logits, target, weights.focal_alpha, weights.focal_gamma)
    return weights.focal * focal + weights.dice * dice_loss(logits, target)


def object_losses(logits: Tensor, iou_scores: Tensor, target: Tensor, weights: LossWeights | None = None) -> Tensor:
    """Loss of each object, from the best of its M candidate masks; the IoU head learns from all of them.

    logits: (B, N, M, h, w); iou_scores: (B, N, M); target: (B, N, h, w) in {0, 1}
    returns: (B, N)
    """
    weights = weights or LossWeights()
    logits, iou_scores = logits.float(), iou_scores.float()
    target = target[:, :, None].expand_as(logits)
    iou_loss = (iou_scores - mask_iou(logits, target)) ** 2  # (B, N, M)
    return mask_losses(logits, target, weights).min(dim=-1).values + weights.iou * iou_loss.mean(dim=-1)


def object_score_loss(scores: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
    """Cross-entropy of whether there is an object (SAM 2, appendix D.2.2), averaged over objects: a scalar.

    scores: (B, N, 1) logits; target: (B, N, h, w) in {0, 1}, all 0 if there is no object
    valid: (B, N) bool, False where an object is padding
    """
    there = target.flatten(2).amax(-1)
    loss = F.binary_cross_entropy_with_logits(scores[..., 0].float(), there, reduction="none")
    return loss.mean() if valid is None else (loss * valid).sum() / valid.sum().clamp(min=1)


def segmentation_loss(
    logits: Tensor, iou_scores: Tensor, target: Tensor, valid: Tensor | None = None, weights: LossWeights | None = None
) -> Tensor:
    """`object_losses`, averaged over objects: a scalar.

    valid: (B, N) bool, False where an object is padding
    """
    loss = object_losses(logits, iou_scores, target, weights)
    if valid is None:
        return loss.mean()
    return (loss * valid).sum() / valid.sum().clamp(min=1)
