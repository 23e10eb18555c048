"""Photos and prompts that a model is calibrated on, and the statistics of its layers' inputs on them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models.modeling_sam import SamModel
from ...ops.preparation import Preparation, Prepared

SIDE = 3
"""Clicks and boxes lie on a grid of SIDE x SIDE."""

ENOUGH = 24
"""With fewer photos, mirror images and crops are added."""

MOST_VECTORS = 2048
"""Inputs of a layer that are counted for each call, evenly spaced: the rest resembles them."""

LEAST_ELEMENTS = 2048
"""Smaller weights are not rounded: they are few bytes, and the first layers lose the most."""


@dataclass
class Moments:
    """Over the inputs x of a layer, a vector for each output position.

    second: mean of x x^T, (inputs, inputs), or None for a convolution with groups; mean: of x, (inputs,)
    """

    second: Tensor | None
    mean: Tensor


def views(pixels: np.ndarray) -> Iterator[np.ndarray]:
    """A photo (H, W, 3), its mirror images and five crops: calibration needs variety more than photos."""
    height, width = pixels.shape[:2]
    yield pixels
    yield pixels[:, ::-1]
    yield pixels[::-1]
    for y, x in ((0, 0), (0, 0.4), (0.4, 0), (0.4, 0.4), (0.2, 0.2)):
        crop = pixels[int(y * height) : int((y + 0.6) * height) + 1, int(x * width) : int((x + 0.6) * width) + 1]
        yield crop[:, ::-1] if y == 0.2 else crop


def calibration_images(photos: Sequence[np.ndarray], preparation: Preparation) -> list[Prepared]:
    """The photos, prepared; of a few, also other views of each."""
    each = max(1, ENOUGH // max(1, len(photos)))
    return [preparation(np.ascontiguousarray(view)) for pixels in photos for view in islice(views(pixels), each)]


def prompts(model: SamModel, image: Prepared) -> Iterator[dict[str, Tensor]]:
    """Arguments of the model for batches of prompts: clicks, boxes, both, several clicks. Omits unsupported kinds."""
    kinds = model.config.prompt_encoder_config.prompt_kinds
    height, width = image.frame_size
    places = [((x + 0.5) / SIDE * width, (y + 0.5) / SIDE * height) for y in range(SIDE) for x in range(SIDE)]
    grid = torch.tensor(places)  # (N, 2)
    extent = torch.tensor([width, height]) * torch.linspace(0.05, 0.3, len(grid))[:, None]
    boxes = torch.cat(
        [(grid - extent).clamp(min=0), torch.minimum(grid + extent.flip(0), torch.tensor([width, height]))], 1
    )
    clicks = {"input_points": grid[None, :, None], "input_labels": torch.ones(1, len(grid), 1, dtype=torch.long)}
    if "points" in kinds:
        yield clicks
    if "boxes" in kinds:
        yield {"input_boxes": boxes[None]}
    if "points" in kinds:
        several = torch.stack([grid, grid.roll(1, 0), grid.roll(SIDE - 1, 0)], 1)[None]
        last = 0 if "background points" in kinds else 1
        yield {"input_points": several, "input_labels": torch.tensor([1, 1, last]).expand(1, len(grid), 3)}
        if "boxes" in kinds:
            yield {"input_boxes": boxes[None], **clicks}


@torch.no_grad()
def answers(model: SamModel, image: Prepared, encoded: Any = None) -> Iterator[Tensor]:
    """All masks of each batch of `prompts`, (N, M, h, w) low-res logits; then of a click with the mask before.

    encoded: the model's `EncoderOutput` of the image, if known
    """
    encoded = model.encode(torch.from_numpy(image.pixel_values)) if encoded is None else encoded
    given = {"image_embeddings": encoded.embedding, "intermediate_embeddings": encoded.features}
    found = None
    for arguments in prompts(model, image):
        many = "input_points" in arguments and arguments["input_points"].shape[2] == 1 and len(arguments) == 2
        found = model(**given, **arguments, multimask_output=many).pred_masks[0]
        yield found
    if found is not None and "masks" in model.config.prompt_encoder_config.prompt_kinds:
        yield model(**given, **{k: v[:, :1] for k, v in arguments.items()}, input_masks=found[:1, :1]).pred_masks[0]


def compressible(model: SamModel) -> dict[str, nn.Module]:
    """Layers whose weights are rounded, by name, in the order of the model; those that share a weight come once."""
    found, seen = {}, set()
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.ConvTranspose2d):
            weight = layer.weight
            grouped = isinstance(layer, nn.ConvTranspose2d) and layer.groups > 1
            # A byte holds whole groups of 2 to 8 levels.
            if weight.numel() >= LEAST_ELEMENTS and weight.numel() % 8 == 0 and id(weight) not in seen and not grouped:
                seen.add(id(weight))
                found[name] = layer
    return found


def moments_of(model: SamModel, images: Sequence[Prepared]) -> dict[str, Moments]:
    """Of the inputs of every `compressible` layer that the images reach."""
    seconds: dict[str, Tensor] = {}
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def count(name: str, layer: nn.Module, x: Tensor) -> None:
        vectors = input_vectors(layer, x)
        if len(vectors) > MOST_VECTORS:
            vectors = vectors[torch.linspace(0, len(vectors) - 1, MOST_VECTORS).long()]
        if not is_grouped(layer):
            seconds[name] = seconds.get(name, 0) + vectors.T @ vectors
        sums[name] = sums.get(name, 0) + vectors.sum(0)
        counts[name] = counts.get(name, 0) + len(vectors)

    hooks = [
        layer.register_forward_pre_hook(lambda layer, given, name=name: count(name, layer, given[0].detach()))
        for name, layer in compressible(model).items()
    ]
    try:
        for image in images:
            for _ in answers(model, image):
                pass
    finally:
        for hook in hooks:
            hook.remove()
    return {name: Moments(seconds[name] / n if name in seconds else None, sums[name] / n) for name, n in counts.items()}


def is_grouped(layer: nn.Module) -> bool:
    return getattr(layer, "groups", 1) > 1


def input_vectors(layer: nn.Module, x: Tensor) -> Tensor:
    """(positions, inputs): what each output of the layer is a product of; for groups, the input channels."""
    if isinstance(layer, nn.Linear):
        return x.reshape(-1, x.shape[-1])
    if isinstance(layer, nn.Conv2d) and not is_grouped(layer) and layer.kernel_size != (1, 1):
        patches = F.unfold(x, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
        return patches.transpose(1, 2).reshape(-1, patches.shape[1])
    if isinstance(layer, nn.Conv2d):
        x = x[:, :, :: layer.stride[0], :: layer.stride[1]]
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
