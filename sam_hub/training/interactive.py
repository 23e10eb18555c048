"""One interactive training step (paper, appendix A): prompt, predict, correct, again."""

import torch
from torch import Tensor

from ..data.prompts import boxes_of, corrective_points, noisy_boxes, random_points
from ..models.configuration_sam import PAD_COORDINATE, PAD_LABEL
from ..models.loss import segmentation_loss
from ..models.modeling_sam import SamModel
from .recipe import LossWeights, PromptRecipe


def first_prompts(
    target: Tensor, recipe: PromptRecipe, stride: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """A click or a loose box for each object.

    target: (B, N, h, w) bool at low resolution, ``stride`` input pixels per low-res pixel
    returns: points (B, N, 1, 2), labels (B, N, 1), boxes (B, N, 4), in input pixels; what an object lacks is padding
    """
    b, n, h, w = target.shape
    flat = target.flatten(0, 1)
    boxed = torch.rand(b * n, generator=generator) < recipe.box_probability
    points = to_input(random_points(flat, generator), stride)
    labels = torch.where(boxed, PAD_LABEL, 1)
    size = (h * stride, w * stride)
    boxes = noisy_boxes(boxes_of(flat) * stride, recipe.box_noise, recipe.box_noise_limit * max(size), size, generator)
    boxes = torch.where(boxed[:, None], boxes, PAD_COORDINATE)
    return points.view(b, n, 1, 2), labels.view(b, n, 1), boxes.view(b, n, 4)


def to_input(points: Tensor, stride: int) -> Tensor:
    """Low-res pixel -> the input pixel at its centre."""
    return stride * (points + 0.5) - 0.5


def interactive_loss(
    model: SamModel,
    pixel_values: Tensor,
    target: Tensor,
    recipe: PromptRecipe,
    weights: LossWeights,
    rounds: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Mean loss over ``rounds`` of prompts; the image is encoded once.

    pixel_values: (B, 3, S, S); target: (B, N, S / 4, S / 4) float in {0, 1}

    In each round the three ambiguity masks learn through their best one, and the single mask learns too: the
    paper trains it from the second prompt on, but a box, which it serves here, is a first prompt.
    """
    embeddings = model.encode(pixel_values).embedding
    stride = pixel_values.shape[-1] // target.shape[-1]
    truth = target.bool()
    b, n = truth.shape[:2]
    points, labels, boxes = first_prompts(truth, recipe, stride, generator)
    previous, total = None, 0.0
    for step in range(rounds):
        masks, scores, _ = model.predict_masks(embeddings, points, labels, boxes, previous)
        masks, scores = masks.float(), scores.float()
        ambiguous = segmentation_loss(masks[:, :, 1:], scores[:, :, 1:], target, weights=weights)
        single = segmentation_loss(masks[:, :, :1], scores[:, :, :1], target, weights=weights)
        total = total + (ambiguous + single) / 2
        if step + 1 == rounds:
            break
        with torch.no_grad():
            # One click or box leaves the choice to the predicted IoU; later the single mask is the answer.
            best = scores[:, :, 1:].argmax(-1) + 1 if step == 0 else torch.zeros(b, n, dtype=torch.long)
            chosen = masks.detach().gather(2, best[:, :, None, None, None].expand(-1, -1, 1, *masks.shape[-2:]))[
                :, :, 0
            ]
            click, label = corrective_points((chosen > 0).flatten(0, 1), truth.flatten(0, 1), generator)
            points = torch.cat([points, to_input(click, stride).view(b, n, 1, 2)], dim=2)
            labels = torch.cat([labels, label.view(b, n, 1)], dim=2)
            previous = chosen
    return total / rounds
