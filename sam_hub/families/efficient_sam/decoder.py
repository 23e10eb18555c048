"""EfficientSAM's prompt encoder, with six slots, and its variant of the mask decoder.

Source: yformer/EfficientSAM, ``efficient_sam/efficient_sam_decoder.py`` and ``two_way_transformer.py``
(Xiong et al. 2023, arXiv 2312.00863).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import PromptError
from ...models.configuration_parts import PAD_COORDINATE
from ...models.mask_decoder import MaskDecoder, TwoWayBlock
from ...models.original_calls import OriginalPromptCalls
from ...models.prompt_encoder import PositionalEmbedding
from ...ops.prompts import PAD_LABEL
from .configuration import EfficientSamPromptEncoderConfig

EMPTY = -1
"""Label and both coordinates of an empty slot."""


class EfficientSamPromptEncoder(OriginalPromptCalls):
    """Embeds the points and box corners of N objects in each of B images, in ``num_slots`` slots for each.

    Empty slots take part in attention, with their own embedding plus a position, so their number must be that of
    training. Background points have no embedding; `SamModel` refuses them.
    """

    def __init__(self, config: EfficientSamPromptEncoderConfig) -> None:
        super().__init__()
        self.config = config
        c = config.hidden_size
        self.invalid_points = nn.Embedding(1, c)
        self.point_embeddings = nn.Embedding(1, c)
        self.bbox_top_left_embeddings = nn.Embedding(1, c)
        self.bbox_bottom_right_embeddings = nn.Embedding(1, c)

    def forward(
        self,
        fourier: PositionalEmbedding,
        input_size: tuple[int, int],
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        masks: None = None,
    ) -> tuple[Tensor, Tensor, None]:
        """Embed one set of prompts per object; arguments as in `PromptEncoder.forward`.

        returns: sparse (B, N, num_slots, C); dense, zeros (1, 1, C, 1, 1); and None, as no slot is masked out
        raises: PromptError if an object has more prompts than slots, or there are no prompts
        """
        xy, kinds = self.fill_slots(points, labels, boxes)
        height, width = input_size
        scale = torch.tensor([width, height], dtype=torch.float32, device=xy.device)
        return fourier((xy + 0.5) / scale) + self._table()[kinds + 1], self.embed_mask(), None

    def _table(self) -> Tensor:
        """Embeddings of the labels -1 ... 3, (5, C); 0, a background point, has none."""
        rows = (
            self.invalid_points.weight,
            torch.zeros_like(self.invalid_points.weight),
            self.point_embeddings.weight,
            self.bbox_top_left_embeddings.weight,
            self.bbox_bottom_right_embeddings.weight,
        )
        return torch.cat(rows)

    def embed_points(
        self, fourier: PositionalEmbedding, input_size: tuple[int, int], points: Tensor, labels: Tensor
    ) -> tuple[Tensor, None]:
        """As `PromptEncoder.embed_points`: real prompts, then empty slots, ``num_slots`` in total."""
        slots = self.config.num_slots
        xy = torch.cat([points, points.new_full((*points.shape[:2], slots, 2), EMPTY)], dim=2)
        kinds = torch.cat([labels, labels.new_full((*labels.shape[:2], slots), EMPTY)], dim=2)
        empty = (kinds == PAD_LABEL) | (kinds == EMPTY)
        first = (~empty).float().topk(slots, dim=2).indices
        kinds = kinds.masked_fill(empty, EMPTY).gather(2, first)
        xy = xy.masked_fill(empty[..., None] | (xy < 0), EMPTY)
        xy = xy.gather(2, first[..., None].expand(-1, -1, -1, 2))
        scale = torch.tensor(input_size[::-1], dtype=xy.dtype, device=xy.device)
        return fourier((xy + 0.5) / scale) + self._table()[kinds + 1], None

    def embed_mask(self, mask: None = None, given: None = None) -> Tensor:
        """Zeros (1, 1, C, 1, 1), as mask prompts are not supported."""
        return torch.zeros_like(self.invalid_points.weight).reshape(1, 1, -1, 1, 1)

    def fill_slots(self, points: Tensor | None, labels: Tensor | None, boxes: Tensor | None) -> tuple[Tensor, Tensor]:
        """Corners, then points, then empty slots: (B, N, num_slots, 2) float32 and labels (B, N, num_slots)."""
        xy, kinds = [], []
        if boxes is not None:
            missing = (boxes == PAD_COORDINATE).all(-1, keepdim=True)  # (B, N, 1)
            xy.append(boxes.unflatten(-1, (2, 2)))
            kinds.append(torch.where(missing, PAD_LABEL, torch.tensor([2, 3], device=boxes.device)))
        if points is not None:
            xy.append(points)
            kinds.append(labels.long())
        if not xy:
            raise PromptError("EfficientSAM needs a prompt: give at least one point or a box")
        xy, kinds = torch.cat(xy, dim=2).float(), torch.cat(kinds, dim=2)
        empty = (kinds == PAD_LABEL) | (kinds == EMPTY)
        kinds = kinds.masked_fill(empty, EMPTY)
        # The original sets each negative coordinate to -1, the value of empty slots.
        xy = xy.masked_fill(empty[..., None] | (xy < 0), EMPTY)

        slots = self.config.num_slots
        if kinds.shape[2] <= slots:
            lacking = slots - kinds.shape[2]
            return F.pad(xy, (0, 0, 0, lacking), value=EMPTY), F.pad(kinds, (0, lacking), value=EMPTY)
        self._check_number(empty)
        filled = empty.int().argsort(dim=2, stable=True)[:, :, :slots]  # padding of ragged prompts
        return xy.gather(2, filled[..., None].expand(-1, -1, -1, 2)), kinds.gather(2, filled)

    def _check_number(self, empty: Tensor) -> None:
        """empty: (B, N, P) bool

        raises: PromptError if an object has more prompts than slots; RuntimeError in a compiled model
        """
        slots = self.config.num_slots
        refusal = f"EfficientSAM takes at most {slots} points for an object, of which a box uses 2"
        if torch.compiler.is_exporting():
            return
        most = (~empty).sum(-1).max()
        if torch.compiler.is_compiling():
            torch._assert_async(most <= slots, refusal)
        elif most > slots:
            raise PromptError(f"{refusal}; got {int(most)}")


class EfficientSamBlock(TwoWayBlock):
    """The first block has a residual connection; later ones add the positions to the tokens permanently."""

    def attend_to_self(self, tokens: Tensor, token_pe: Tensor, token_mask: Tensor | None) -> Tensor:
        if not self.first:
            tokens = tokens + token_pe
        return tokens + self.self_attn(tokens, tokens, tokens, token_mask)[0]


class WholeNorm(nn.GroupNorm):
    """Norm of a (B, C, H, W) map over all channels and pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__(1, channels, eps=1e-5)


class EfficientSamMaskDecoder(MaskDecoder):
    block = EfficientSamBlock
    upscale_norm = WholeNorm
    head_act = "gelu"
