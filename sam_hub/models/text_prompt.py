"""Text prompts (paper, section 7.5 and appendix D.5): CLIP's embedding of an object as one more prompt token.

In training it is the embedding of the object's picture, at inference that of the words. CLIP embeds matching pictures
and words close to each other, so a model trained on pictures follows words.
"""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import CLIPModel


class TextProjection(nn.Module):
    """CLIP embeddings (B, N, D) of any length -> prompt tokens (B, N, 1, C)."""

    def __init__(self, size: int, hidden_size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(size, hidden_size)

    def forward(self, embeddings: Tensor) -> Tensor:
        embeddings = F.normalize(embeddings.float(), dim=-1)
        return self.linear(embeddings.to(self.linear.weight.dtype))[:, :, None]


def add_tokens(sparse: Tensor | None, valid: Tensor | None, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
    """Append tokens (B, N, K, C) to the embedded prompts of `PromptEncoder.forward`."""
    if sparse is None:
        return tokens, None
    if valid is not None:
        valid = F.pad(valid, (0, tokens.shape[2]), value=True)
    return torch.cat([sparse, tokens.to(sparse.dtype)], dim=2), valid


def clip_embedding_inside(clip: "CLIPModel", crops: Tensor, inside: Tensor) -> Tensor:
    """CLIP's embedding of the part of each picture that a mask shows.

    crops: (M, 3, s, s), normalised for CLIP; inside: (M, s, s) bool
    returns: (M, D). In the last layer the output token sees only itself and the patches that the mask touches, "to
        ensure that the embedding focuses on the object" (appendix D.5); if it touches none, all of them.
    """
    vision = clip.vision_model
    hidden = vision.pre_layrnorm(vision.embeddings(crops))
    *layers, last = vision.encoder.layers
    for layer in layers:
        hidden = layer(hidden, None)
    patch = vision.config.patch_size
    seen = F.max_pool2d(inside[:, None].float(), patch, stride=patch).flatten(1) > 0  # (M, patches)
    seen = seen | ~seen.any(1, keepdim=True)
    allowed = torch.ones(len(crops), 1, hidden.shape[1], hidden.shape[1], dtype=torch.bool, device=crops.device)
    allowed[:, 0, 0, 1:] = seen
    barred = torch.zeros(allowed.shape, dtype=hidden.dtype, device=crops.device)
    hidden = last(hidden, barred.masked_fill(~allowed, torch.finfo(hidden.dtype).min))
    return clip.visual_projection(vision.post_layernorm(hidden[:, 0]))
