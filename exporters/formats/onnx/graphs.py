"""Modules for export to ONNX: an image encoder, and one decoder with an adapter for each contract.

`Decoder` is the canonical graph; `TransformersJsDecoder` and `MetaDecoder` give it the inputs and outputs of the two
existing contracts. The numbers of images, prompts and points may vary from run to run.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ....models.configuration_sam import PAD_LABEL
from ....models.mask_decoder import stability_score
from ....models.modeling_sam import SamModel
from ...image_side import ImageSide


def closes_boxes(prompt_encoder: nn.Module) -> bool:
    """Whether a "not a point" token also follows a box."""
    return getattr(prompt_encoder, "closes_boxes", False)


class Encoder(nn.Module):
    """(B, 3, S, S) float32 -> tensors that all prompts of an image share.

    with_positions: also return the positions, which transformers.js passes to the decoder
    """

    def __init__(self, model: SamModel, with_positions: bool) -> None:
        super().__init__()
        self.side = ImageSide(model)
        positions = model.get_image_wide_positional_embeddings().detach() if with_positions else None
        self.register_buffer("positions", positions)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        """returns: embedding (B, C, h, w); positions (B, C, h, w) if requested; the decoder's feature maps"""
        embedding, *maps = self.side(pixel_values)
        if self.positions is None:
            return (embedding, *maps)
        return (embedding, self.positions.expand(pixel_values.shape[0], -1, -1, -1), *maps)


class Decoder(nn.Module):
    """Prompt encoder and mask decoder, with every mask: the canonical graph."""

    def __init__(self, model: SamModel) -> None:
        super().__init__()
        config = model.config.prompt_encoder_config
        self.side = config.image_embedding_size
        self.frame = float(self.side * config.patch_size)
        self.fourier = model.shared_image_embedding
        self.prompt_encoder = model.prompt_encoder
        self.mask_decoder = model.mask_decoder

    def forward(
        self,
        image_embeddings: Tensor,
        positions: Tensor,
        points: Tensor,
        labels: Tensor,
        mask_input: Tensor | None,
        has_mask_input: Tensor | None,
        intermediate: tuple[Tensor, ...] = (),
    ) -> tuple[Tensor, ...]:
        """Decode.

        image_embeddings, positions: (B, C, h, w), positions also (1, C, h, w)
        points: (B, P, N, 2) float32, x then y, in the frame of prompts; labels: (B, P, N) int64: 1 object, 0
            background, 2 / 3 corners of a box, -1 not a point, -10 padding, which is masked out of every attention
        mask_input: (B or 1, 1, 4h, 4w) logits; has_mask_input: (B or 1,) float32, 1 where they count, else 0
        returns: three masks (B, P, 3, 4h, 4w) and their predicted IoU (B, P, 3), then the single mask and its IoU (a
            decoder with one mask returns it twice), then object scores (B, P, 1) if the decoder has them
        """
        sparse, valid = self.prompt_encoder.embed_points(self.fourier, (self.frame, self.frame), points, labels)
        dense = self.prompt_encoder.embed_mask(mask_input, has_mask_input)
        features = self.mask_decoder.named_features(intermediate)
        masks, iou, _, *scores = self.mask_decoder(image_embeddings, positions, sparse, dense, valid, features=features)
        many = self.mask_decoder.select_masks(masks, iou, multimask_output=True)
        return *many, *self.mask_decoder.select_masks(masks, iou, multimask_output=False), *scores


class TransformersJsDecoder(nn.Module):
    """The contract of transformers.js and optimum, plus the mask input and the single mask.

    Adds SAM's "not a point" to clicks, and masks it out if there is a box, given as points with labels 2 and 3.
    points_scale: prompts' frame / size of the input, as this contract uses pixels of the input
    """

    def __init__(self, decoder: Decoder, points_scale: float = 1.0) -> None:
        super().__init__()
        self.decoder = decoder
        self.points_scale = points_scale

    def forward(
        self,
        image_embeddings: Tensor,
        image_positional_embeddings: Tensor,
        input_points: Tensor,
        input_labels: Tensor,
        mask_input: Tensor | None = None,
        has_mask_input: Tensor | None = None,
        intermediate_embeddings: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """returns: iou_scores (B, P, 3), pred_masks (B, P, 3, 4h, 4w), single_iou_score, single_pred_mask"""
        features = () if intermediate_embeddings is None else (intermediate_embeddings,)
        return self.decode(
            image_embeddings,
            image_positional_embeddings,
            input_points,
            input_labels,
            mask_input,
            has_mask_input,
            features,
        )

    def decode(
        self,
        image_embeddings: Tensor,
        positions: Tensor,
        input_points: Tensor,
        input_labels: Tensor,
        mask_input: Tensor | None,
        has_mask_input: Tensor | None,
        features: tuple[Tensor, ...],
    ) -> tuple[Tensor, ...]:
        """As `forward`, plus the object scores if the decoder has them."""
        padding = input_labels.new_full((*input_labels.shape[:2], 1), PAD_LABEL)
        padded = torch.cat([input_labels, padding], dim=-1)  # never empty, unlike the labels
        closed = (padded != PAD_LABEL).any(-1, keepdim=True)
        if not closes_boxes(self.decoder.prompt_encoder):
            closed = closed & ~((padded == 2) | (padded == 3)).any(-1, keepdim=True)
        extra = torch.where(closed, -1, PAD_LABEL)
        labels = torch.cat([input_labels, extra], dim=-1)
        points = input_points * self.points_scale if self.points_scale != 1 else input_points
        zeros = torch.zeros_like(padding, dtype=points.dtype)[..., None].expand(-1, -1, -1, 2)
        points = torch.cat([points, zeros], dim=-2)
        masks, iou, single, single_iou, *scores = self.decoder(
            image_embeddings, positions, points, labels, mask_input, has_mask_input, features
        )
        return iou, masks, single_iou, single, *scores


class PyramidDecoder(nn.Module):
    """The contract of transformers.js for SAM 2: the maps of three strides, and no positions.

    Its third kind of prompt, ``input_boxes``, is turned into points by `ends.add_boxes`.
    positions: (1, C, h, w)
    """

    def __init__(self, decoder: TransformersJsDecoder, positions: Tensor) -> None:
        super().__init__()
        self.decoder = decoder
        self.register_buffer("positions", positions.detach())

    def forward(
        self,
        input_points: Tensor,
        input_labels: Tensor,
        maps: list[Tensor],
        mask_input: Tensor | None = None,
        has_mask_input: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """maps: the decoder's ``feature_maps`` from last to first, then the embedding: the finest first"""
        *features, embedding = maps
        return self.decoder.decode(
            embedding, self.positions, input_points, input_labels, mask_input, has_mask_input, tuple(features[::-1])
        )


class MetaDecoder(nn.Module):
    """The contract of the original's ONNX decoder, up to the low-res masks; `onnx_tail` enlarges them in the graph.

    Without a box, the caller adds (0, 0, -1). The first axis of the points may be the number of prompts.
    masks: "all" four, as the original's default; "multi", the three; "single", the one that the original's
        ``return_single_mask`` chooses, by the number of points
    """

    def __init__(self, decoder: Decoder, positions: Tensor, masks: str = "multi", stability: bool = False) -> None:
        super().__init__()
        self.decoder = decoder
        self.masks = masks
        self.stability = stability
        self.register_buffer("positions", positions.detach())
        can = decoder.mask_decoder.config.capabilities
        self.choose = masks == "single" and max(can["masks"]) > 1
        self.single_is_fit = can["single_mask"]

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor | None = None,
        has_mask_input: Tensor | None = None,
        interm_embeddings: Tensor | list[Tensor] | None = None,
    ) -> tuple[Tensor, ...]:
        """point_coords (P, N, 2), point_labels (P, N) float32 -> low_res_masks (P, M, 4h, 4w), iou_predictions (P, M)
        and, with ``stability``, stability_scores (P, M)"""
        points, labels = point_coords[None], point_labels.long()[None]
        if closes_boxes(self.decoder.prompt_encoder):  # the caller adds (0, 0, -1) where there is no box alone
            boxed = ((labels == 2) | (labels == 3)).any(-1, keepdim=True)
            labels = torch.cat([labels, torch.where(boxed, -1, PAD_LABEL)], dim=-1)
            points = torch.cat([points, torch.zeros_like(points[..., :1, :])], dim=-2)
        if isinstance(interm_embeddings, Tensor):
            interm_embeddings = [interm_embeddings]
        masks, iou, single, single_iou, *_ = self.decoder(
            image_embeddings, self.positions, points, labels, mask_input, has_mask_input, tuple(interm_embeddings or ())
        )
        if self.choose and self.single_is_fit:
            every, scores = torch.cat([single, masks], dim=2)[0], torch.cat([single_iou, iou], dim=2)[0]
            # With up to two points, including (0, 0, -1), the best of the three wins; with more, the single mask.
            weight = torch.zeros_like(scores[:1]) + torch.eye(scores.shape[1], dtype=scores.dtype)[:1] * 1000
            best = (scores + (torch.ones_like(point_labels[:1]).sum() - 2.5) * weight).argmax(1, keepdim=True)
            low_res = every.gather(1, best[..., None, None].expand(-1, -1, *every.shape[-2:]))
            scores = scores.gather(1, best)
        elif self.masks == "all" and masks.shape[2] > 1:
            low_res, scores = torch.cat([single, masks], dim=2)[0], torch.cat([single_iou, iou], dim=2)[0]
        else:
            low_res, scores = (single[0], single_iou[0]) if self.masks == "single" else (masks[0], iou[0])
        return (low_res, scores, stability_score(low_res)) if self.stability else (low_res, scores)


@contextmanager
def plain_attention(model: SamModel) -> Iterator[None]:
    """Context in which the decoder's attention uses plain matrix products, which exporters translate one to one."""
    config = model.mask_decoder.config
    before = config._attn_implementation
    config._attn_implementation = "eager"
    try:
        yield
    finally:
        config._attn_implementation = before
