"""Training of text prompts (paper, appendix D.5): CLIP's embedding of each object first, then corrective clicks.

The paper uses CLIP ViT-L/14 at 336 pixels and objects of more than 100^2 pixels; here any CLIP of ``transformers``
works.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPModel

from ..data.prompts import boxes_of
from ..models.loss import LossWeights
from ..models.modeling_sam import SamModel
from ..models.text_prompt import TextProjection, clip_embedding_inside
from .episodes import ViewPreparation
from .interactive import InteractiveStep, Plan, interactive_losses
from .recipe import PromptRecipe

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def add_text_projection(model: SamModel, clip: CLIPModel) -> SamModel:
    """Add a new projection of a CLIP's embeddings to a model, in place; it is saved with the model."""
    size = clip.config.projection_dim
    model.config.text_embedding_size = size
    model.text_projection = TextProjection(size, model.config.prompt_encoder_config.hidden_size).to(model.device)
    return model


def object_crops(
    images: Tensor, masks: Tensor, side: int, generators: Sequence[torch.Generator]
) -> tuple[Tensor, Tensor]:
    """A square picture of each object: its box made square and enlarged by a random factor of 1 to 2.

    images: (B, 3, H, W) in [0, 1]; masks: (B, N, h, w) in {0, 1}, of the same frame
    returns: (B, N, 3, side, side) in [0, 1], black beyond the image and, for every second object by chance, beyond the
        mask; and the mask in it, (B, N, side, side) bool
    """
    crops, insides = [], []
    for image, mask, generator in zip(images, masks, generators, strict=True):
        n, h, w = mask.shape
        x0, y0, x1, y1 = boxes_of(mask.bool()).unbind(-1)
        factor = 1 + torch.rand(n, generator=generator).to(mask.device)
        half = torch.maximum((x1 - x0), (y1 - y0)).clamp(min=1) / 2 * factor
        theta = torch.zeros(n, 2, 3, device=mask.device)
        theta[:, 0, 0], theta[:, 0, 2] = 2 * half / w, (x0 + x1) / w - 1
        theta[:, 1, 1], theta[:, 1, 2] = 2 * half / h, (y0 + y1) / h - 1
        grid = F.affine_grid(theta, [n, 3, side, side], align_corners=False)
        crop = F.grid_sample(image.expand(n, -1, -1, -1), grid, align_corners=False)
        inside = F.grid_sample(mask[:, None].float(), grid, align_corners=False) >= 0.5
        blank = (torch.rand(n, generator=generator) < 0.5).to(mask.device)[:, None, None, None]
        crops.append(torch.where(blank & ~inside, 0.0, crop))
        insides.append(inside[:, 0])
    return torch.stack(crops), torch.stack(insides)


class TextStep(InteractiveStep):
    """The interactive loss whose first prompt is CLIP's embedding of the object; clicks follow.

    clip: frozen, and not saved with the weights
    """

    def __init__(
        self, sam: SamModel, clip: CLIPModel, preparation: ViewPreparation, prompts: PromptRecipe, weights: LossWeights
    ) -> None:
        super().__init__(sam, prompts, weights, keep_norms=True)
        if sam.text_projection is None:
            add_text_projection(sam, clip)
        self._clip = (clip.eval().requires_grad_(False),)
        self._preparation = preparation
        self._pixels: Tensor | None = None

    def forward(
        self, labels: Tensor, seeds: Tensor, plan: Plan, pixel_values: Tensor, valid: Tensor | None = None
    ) -> dict[str, Tensor]:
        self._pixels = pixel_values
        return super().forward(labels, seeds, plan, pixel_values=pixel_values, valid=valid)

    def losses(self, encoded, labels, plan, generators, boxable) -> Tensor:
        embeddings = self.embeddings_of(self._pixels, labels, generators)
        return interactive_losses(
            self.sam, encoded, labels, self.prompts, self.weights, plan, generators, text_embeddings=embeddings
        )

    @torch.no_grad()
    def embeddings_of(self, pixels: Tensor, labels: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """CLIP's embedding of each object: (B, 3, S, S) network input and (B, N, h, w) -> (B, N, D)."""
        clip = self._clip[0].to(pixels.device)
        mean, std = (torch.tensor(v, device=pixels.device)[:, None, None] for v in (CLIP_MEAN, CLIP_STD))
        grey = self._preparation
        own_mean, own_std = (torch.tensor(v, device=pixels.device)[:, None, None] for v in (grey.mean, grey.std))
        images = ((pixels * own_std + own_mean) / 255).clamp(0, 1)
        crops, inside = object_crops(images, labels, clip.config.vision_config.image_size, generators)
        crops = (crops - mean) / std
        found = clip_embedding_inside(clip, crops.flatten(0, 1), inside.flatten(0, 1))
        return found.unflatten(0, labels.shape[:2])
