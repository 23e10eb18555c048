"""Prompts -> embeddings (paper, section 3 and appendix A; original: ``modeling/prompt_encoder.py``)."""

import math

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN

from ..ops.prompts import PAD_LABEL
from .configuration_parts import PAD_COORDINATE, SamPromptEncoderConfig
from .layers import LayerNorm2d
from .original_calls import OriginalPromptCalls


class PositionalEmbedding(nn.Module):
    """Random Fourier features of a position in [0, 1] x [0, 1]."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("positional_embedding", torch.empty(2, features))
        nn.init.normal_(self.positional_embedding)

    def forward(self, xy: Tensor) -> Tensor:
        """(..., 2), x then y, in [0, 1] -> (..., 2 * features); computed in float32 at least."""
        matrix = self.positional_embedding
        wide = torch.promote_types(matrix.dtype, torch.float32)
        with torch.autocast(xy.device.type, enabled=False):
            angle = 2 * math.pi * ((2 * xy.to(wide) - 1) @ matrix.to(wide))
            return torch.cat([angle.sin(), angle.cos()], dim=-1).to(matrix.dtype)

    def grid(self, height: int, width: int) -> Tensor:
        """Features of the cell centres of a height x width grid: (1, C, height, width)."""
        device = self.positional_embedding.device
        wide = torch.promote_types(self.positional_embedding.dtype, torch.float32)
        y = (torch.arange(height, device=device, dtype=wide) + 0.5) / height
        x = (torch.arange(width, device=device, dtype=wide) + 0.5) / width
        xy = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], dim=-1)
        return self(xy).permute(2, 0, 1)[None]


class MaskEmbedding(nn.Module):
    """Low-res mask logits (M, 1, 4h, 4w) -> (M, C, h, w)."""

    def __init__(self, config: SamPromptEncoderConfig) -> None:
        super().__init__()
        wide, narrow = config.mask_input_channels, config.mask_input_channels // 4
        self.conv1 = nn.Conv2d(1, narrow, kernel_size=2, stride=2)
        self.layer_norm1 = LayerNorm2d(narrow, eps=config.layer_norm_eps)
        self.conv2 = nn.Conv2d(narrow, wide, kernel_size=2, stride=2)
        self.layer_norm2 = LayerNorm2d(wide, eps=config.layer_norm_eps)
        self.conv3 = nn.Conv2d(wide, config.hidden_size, kernel_size=1)
        self.act = ACT2FN[config.hidden_act]

    def forward(self, masks: Tensor) -> Tensor:
        x = self.act(self.layer_norm1(self.conv1(masks)))
        x = self.act(self.layer_norm2(self.conv2(x)))
        return self.conv3(x)


class PromptEncoder(OriginalPromptCalls):
    """Embeds points, boxes and masks for N objects in each of B images.

    ``point_embed`` rows are background point, object point, top-left corner, bottom-right corner. The
    positional features come from the model (`PositionalEmbedding` is shared with the image side).
    """

    closes_boxes = False  # whether a "not a point" token also follows a box, as it follows points
    holds_positions = False  # whether files hold a second copy of the positional matrix in it

    def __init__(self, config: SamPromptEncoderConfig) -> None:
        super().__init__()
        self.config = config
        c = config.hidden_size
        self.point_embed = nn.ModuleList([nn.Embedding(1, c) for _ in range(config.num_point_embeddings)])
        self.not_a_point_embed = nn.Embedding(1, c)
        self.no_mask_embed = nn.Embedding(1, c)
        self.mask_embed = MaskEmbedding(config)

    def point_table(self) -> Tensor:
        """The embeddings of labels 0 to 3, (4, C)."""
        return torch.cat([e.weight for e in self.point_embed])

    def _tokens(self, fourier: PositionalEmbedding, xy: Tensor, labels: Tensor) -> Tensor:
        """Position plus type; label -1 ("not a point") has a type and no position, label -2 (EdgeSAM) neither.

        xy: (B, N, T, 2) in [0, 1]; labels: (B, N, T), -2 ... 3, padding -10
        returns: (B, N, T, C)
        """
        table = torch.cat([self.not_a_point_embed.weight, self.point_table()])
        position = fourier(xy) * (labels >= 0).unsqueeze(-1)
        return position + table[labels.clamp(min=-1) + 1] * (labels >= -1).unsqueeze(-1)

    def forward(
        self,
        fourier: PositionalEmbedding,
        input_size: tuple[int, int],
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> tuple[Tensor | None, Tensor, Tensor | None]:
        """Embed one set of prompts for each object.

        input_size: (H, W) of the padded network input, which scales the coordinates
        points: (B, N, P, 2) float32, x then y, in pixels of the resized image
        labels: (B, N, P) int, 1 object, 0 background, 2 / 3 corners of a box, -1 not a point,
            -2 a token of zeros, -10 padding
        boxes: (B, N, 4) float32, x0, y0, x1, y1; all four -10 where an object has none
        masks: (B, N or 1, 4h, 4w) logits
        returns: sparse (B, N, T, C) or None without points and boxes;
            dense (B, N or 1, C, h, w); with no mask the "no mask" vector as (1, 1, C, 1, 1);
            valid (B, N, T) bool, False at padding, or None where nothing is padding
        """
        height, width = input_size
        xy, kinds = [], []
        if points is not None:
            xy.append(points)
            kinds.append(labels.long())
        box_missing = None
        if boxes is not None:
            box_missing = (boxes == PAD_COORDINATE).all(-1)  # (B, N)
            corner = torch.tensor([2, 3], device=boxes.device).expand(*boxes.shape[:2], 2)
            if points is not None or self.closes_boxes:
                closed = self._closed(kinds[0] if kinds else None, box_missing)
                xy.append(torch.zeros_like(boxes[..., None, :2]))
                kinds.append(torch.where(closed, -1, PAD_LABEL)[..., None])
            xy.append(boxes.unflatten(-1, (2, 2)))
            kinds.append(torch.where(box_missing[..., None], PAD_LABEL, corner))
        elif points is not None:
            present = (kinds[0] != PAD_LABEL).any(-1, keepdim=True)
            xy.append(points.new_zeros(*points.shape[:2], 1, 2))
            kinds.append(torch.where(present, -1, PAD_LABEL))

        sparse = valid = None
        if xy:
            kinds = torch.cat(kinds, dim=2)
            valid = kinds != PAD_LABEL
            if not torch.compiler.is_compiling():
                used = valid.flatten(0, 1).any(0)  # drop columns that are padding for every object
                if not used.all():
                    kinds, valid = kinds[:, :, used], valid[:, :, used]
                    xy = [torch.cat(xy, dim=2)[:, :, used]]
                if valid.all():
                    valid = None
            xy = torch.cat(xy, dim=2)
            xy = xy.to(torch.promote_types(xy.dtype, torch.float32))
            scale = torch.tensor([width, height], dtype=xy.dtype, device=xy.device)
            sparse = self._tokens(fourier, (xy + 0.5) / scale, kinds)

        return sparse, self._dense(masks), valid

    def _closed(self, labels: Tensor | None, box_missing: Tensor) -> Tensor:
        """Which objects get the "not a point" token beside boxes: (B, N, P) or None, (B, N) -> (B, N) bool

        In SAM: objects with points and no box, as without boxes in the batch.
        """
        pointed = torch.zeros_like(box_missing) if labels is None else (labels != PAD_LABEL).any(-1)
        return pointed | ~box_missing if self.closes_boxes else pointed & box_missing

    def _dense(self, masks: Tensor | None) -> Tensor:
        if masks is None:
            return self.no_mask_embed.weight.reshape(1, 1, -1, 1, 1)
        b, n = masks.shape[:2]
        weight = self.mask_embed.conv1.weight
        return self.mask_embed(masks.flatten(0, 1)[:, None].to(weight.dtype)).unflatten(0, (b, n))

    def embed_points(
        self, fourier: PositionalEmbedding, input_size: tuple[int, int], points: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Tokens of prompts given as points only, without added tokens, by traceable operations.

        points: (B, N, P, 2), including corners of boxes; labels: (B, N, P), as in `forward`
        returns: sparse (B, N, T, C) and valid (B, N, T) bool, or None if the number of tokens is fixed
        """
        scale = torch.tensor(input_size[::-1], dtype=points.dtype, device=points.device)
        return self._tokens(fourier, (points + 0.5) / scale, labels), labels != PAD_LABEL

    def embed_mask(self, mask: Tensor | None, given: Tensor | None) -> Tensor:
        """(B or 1, 1, 4h, 4w) logits and (B or 1,), 1 where they count, else 0 -> dense (B or 1, 1, C, h, w).

        None for a model that takes no mask: the same embedding for every image, (1, 1, C, 1, 1).
        """
        no_mask = self.no_mask_embed.weight.reshape(1, -1, 1, 1)
        if mask is None:
            return no_mask[:, None]
        return (no_mask + given.reshape(-1, 1, 1, 1) * (self.mask_embed(mask) - no_mask))[:, None]
