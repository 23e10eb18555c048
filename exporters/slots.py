"""Prompt encoder and mask decoder with a fixed number of prompt slots, for runtimes that need fixed shapes.

An unused slot has label -10 and is masked out of every attention, so the number of slots changes nothing; a token "not
a point" instead would change logits by half a unit. Tensors have at most four axes, and only values depend on the data:
no gather, no selection, no repeated rows.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ExportError
from ..models.configuration_sam import PAD_LABEL
from ..models.mask_decoder import MaskDecoder, TwoWayBlock
from ..models.modeling_sam import SamModel
from ..models.prompt_encoder import PromptEncoder
from .rank_four import shared_copy

MASKED = -1e4
"""Added to the logits of padding keys: exp() of it is 0 also in float16, where it is still finite."""

LABELS = (-1, 0, 1, 2, 3)
"""Labels that have an embedding: not a point, background, object, and the two corners of a box."""


class Comparisons:
    """Comparisons that give 1.0 or 0.0; a format whose runtime has none writes them otherwise."""

    def equal(self, a: Tensor, b: Tensor) -> Tensor:
        return (a == b).float()

    def exceeds(self, a: Tensor, b: Tensor | float) -> Tensor:
        return (a > b).float()

    def reaches(self, a: Tensor, b: Tensor | float) -> Tensor:
        return (a >= b).float()


class SlotPromptEncoder(nn.Module):
    """Prompts of one object in N slots -> tokens, a dense embedding, and a token mask."""

    compare = Comparisons()

    def __init__(self, model: SamModel) -> None:
        super().__init__()
        refuse_other_decoders(model)
        encoder = model.prompt_encoder
        self.side = encoder.config.image_embedding_size
        self.frame = float(self.side * encoder.config.patch_size)
        self.fourier = model.shared_image_embedding
        self.mask_embed = encoder.mask_embed
        rows = [encoder.not_a_point_embed.weight, encoder.point_table()]
        self.register_buffer("table", torch.cat(rows).detach().clone())  # (5, C), the order of LABELS
        self.register_buffer("kinds", torch.tensor([[LABELS]], dtype=torch.int32))  # (1, 1, 5)
        self.closes_boxes = encoder.closes_boxes
        self.register_buffer("no_mask", encoder.no_mask_embed.weight.detach().clone().reshape(1, -1, 1, 1))

    def forward(
        self, points: Tensor, labels: Tensor, mask_input: Tensor, has_mask_input: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Embed.

        points: (1, N, 2) float32, x then y, in pixels of the padded frame
        labels: (1, N) int32: 1 object, 0 background, 2 / 3 top-left and bottom-right corner of a box, -10 empty slot
        mask_input: (1, 1, 4h, 4w) logits; has_mask_input: (1,) float32, 1 where they count, else 0
        returns: sparse (1, N + 1, C), the last token being "not a point", active if the model itself would add it;
            dense (1, C, h, w); token_mask (1, N + 1), 0 for active tokens, `MASKED` for others
        """
        filled = self.compare.reaches(labels, PAD_LABEL + 1)  # (1, N)
        present = filled.amax(1, keepdim=True)  # (1, 1)
        boxed = self.compare.reaches(labels, 2).amax(1, keepdim=True)
        closed = present if self.closes_boxes else present * (1 - boxed)
        counts = torch.cat([filled, closed], dim=1)  # (1, N + 1)

        position = self.fourier((points + 0.5) / self.frame)  # (1, N, C)
        position = position * self.compare.reaches(labels, 0).unsqueeze(-1)
        kind = self.compare.equal(labels.unsqueeze(-1), self.kinds) @ self.table  # (1, N, C)
        sparse = torch.cat([position + kind, self.table[None, :1]], dim=1)

        # Never "embedding - no_mask": coremltools 9 fuses that into the convolution and negates no_mask everywhere.
        has = has_mask_input.reshape(1, 1, 1, 1)
        dense = has * self.mask_embed(mask_input) + (1 - has) * self.no_mask
        return sparse, dense, (1 - counts) * MASKED


class SlotMaskDecoder(nn.Module):
    """An image embedding and the outputs of `SlotPromptEncoder` -> masks and predicted IoU."""

    compare = Comparisons()

    def __init__(self, model: SamModel) -> None:
        super().__init__()
        refuse_other_decoders(model)
        self.decoder = shared_copy(model.mask_decoder).eval()
        self.decoder.config._attn_implementation = "eager"  # matrix products and a softmax, which every runtime has
        config = model.config.mask_decoder_config
        self.has_single = not config.always_multimask
        self.stability = None  # stability below which the best of the three replaces the single mask, and its offset
        if getattr(config, "dynamic_multimask_via_stability", False):
            self.stability = config.dynamic_multimask_stability_thresh, config.dynamic_multimask_stability_delta
        side = model.config.prompt_encoder_config.image_embedding_size
        positions = model.shared_image_embedding.grid(side, side).detach()  # (1, C, h, w)
        self.register_buffer("image_pe", positions.flatten(2).transpose(1, 2)[:, None].clone())  # (1, 1, h * w, C)
        self.register_buffer("own", self.decoder.output_tokens().detach().clone()[None, None])  # (1, 1, 5, C)

    def forward(
        self, image_embedding: Tensor, sparse: Tensor, dense: Tensor, token_mask: Tensor, *maps: Tensor
    ) -> tuple[Tensor, ...]:
        """Decode.

        image_embedding, dense: (1, C, h, w); sparse: (1, T, C); token_mask: (1, T)
        maps: the decoder's ``feature_maps``, in that order
        returns: low_res_masks (1, 3, 4h, 4w) logits and scores (1, 3), for an ambiguous prompt; then, if its token was
            trained, single_mask (1, 1, 4h, 4w) and single_score (1, 1), for an unambiguous one
        """
        tokens = torch.cat([self.own, sparse.unsqueeze(1)], dim=2)  # (1, 1, 5 + T, C)
        mask = F.pad(token_mask, (self.own.shape[2], 0)).reshape(1, 1, 1, -1)
        image = (image_embedding + dense).flatten(2).transpose(1, 2).unsqueeze(1)  # (1, 1, h * w, C)
        tokens, image, _ = self.decoder.transformer(tokens, image, self.image_pe, mask)

        scores = self.decoder.predict_iou(tokens)[:, 0]  # (1, 4)
        features = dict(zip(self.decoder.feature_maps, maps, strict=True))
        upscaled = self.decoder.upscale(image.squeeze(1).transpose(1, 2).reshape(image_embedding.shape), features)
        heads = self.decoder.output_hypernetworks_mlps
        classifiers = torch.cat([head(tokens[:, 0, i + 1 : i + 2]) for i, head in enumerate(heads)], dim=1)
        masks = classifiers @ upscaled.flatten(2)  # (1, 4, C / 8) @ (1, C / 8, 16 h w)
        masks = masks.reshape(1, len(heads), *upscaled.shape[-2:])
        outputs = (masks[:, 1:], scores[:, 1:])
        return (*outputs, *self.single(masks, scores)) if self.has_single else outputs

    def single(self, masks: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """The mask of an unambiguous prompt: (1, 4, 4h, 4w), (1, 4) -> (1, 1, 4h, 4w), (1, 1), without a gather."""
        if self.stability is None:
            return masks[:, :1], scores[:, :1]
        threshold, offset = self.stability
        inner, outer = (self.compare.exceeds(masks[:, :1], level).mean((2, 3)) for level in (offset, -offset))  # (1, 1)
        stable = self.compare.reaches(inner, threshold * outer)
        best = self.compare.reaches(scores[:, 1:], scores[:, 1:].amax(1, keepdim=True))
        weights = torch.cat([stable, (1 - stable) * best / best.sum(1, keepdim=True)], dim=1)  # (1, 4), one of them 1
        mask = (weights.unsqueeze(1) @ masks.flatten(2)).reshape(1, 1, *masks.shape[-2:])
        return mask, (weights * scores).sum(1, keepdim=True)


class SlotDecoder(nn.Module):
    """Both in one graph: an image embedding and prompts -> masks and predicted IoU."""

    def __init__(self, model: SamModel) -> None:
        super().__init__()
        self.prompts = SlotPromptEncoder(model)
        self.masks = SlotMaskDecoder(model)

    def forward(
        self,
        image_embedding: Tensor,
        points: Tensor,
        labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
        *maps: Tensor,
    ) -> tuple[Tensor, ...]:
        """`SlotPromptEncoder`, then `SlotMaskDecoder`."""
        return self.masks(image_embedding, *self.prompts(points, labels, mask_input, has_mask_input), *maps)


def refuse_other_decoders(model: SamModel) -> None:
    """ExportError for a family whose prompts or masks differ from SAM's (SAM-HQ, EfficientSAM)."""
    kind = type(model.mask_decoder)
    as_sams = (
        kind.forward is MaskDecoder.forward
        and kind.draw_masks is MaskDecoder.draw_masks
        and kind.block.attend_to_self is TwoWayBlock.attend_to_self
        and kind.block.forward is TwoWayBlock.forward
    )
    if not (as_sams and isinstance(model.prompt_encoder, PromptEncoder)):
        name = kind.__name__
        raise ExportError(
            f"Core ML, ExecuTorch, LiteRT and ncnn files are made for models with SAM's own decoder, not {name}; "
            "export this model to ONNX"
        )
