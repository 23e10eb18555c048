"""Prompts on an image that is encoded -> low-res masks, by the fast decoder where it can stand in for the model's."""

from collections.abc import Callable
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from ..models.encoders import EncoderOutput
from ..models.modeling_sam import SamModel
from .fast_decoder import FastDecoder, supports


class ImageDecoder:
    """The decoder of one image.

    Making the fast one costs more than it saves on one prompt, so a lone prompt that comes first goes the plain way. It
    is made with the second, and again if the weights change.
    """

    def __init__(self, model: SamModel, encoded: EncoderOutput) -> None:
        self.model, self.encoded = model, encoded
        self._asked = 0
        self._fast: FastDecoder | None = None
        self._made_from: tuple = ()

    @torch.no_grad()
    def __call__(
        self,
        points: Tensor | None,
        labels: Tensor | None,
        boxes: Tensor | None,
        masks: Tensor | None,
        multimask_output: bool,
        hq_token_only: bool = False,
        text: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Masks of N objects; the prompts are those of `SamModel.forward` without the axis of images.

        text: (1, N, D), CLIP's embeddings, for a model that was trained on them
        returns: low-res logits (N, M, h, w) float32, predicted IoU (N, M) float32
        """
        prompts = [None if t is None else t[None] for t in (points, labels, boxes, masks)]
        if text is not None:
            return self._decode_text(prompts, text, multimask_output)
        first_is_fit = not self.model.mask_decoder.config.always_multimask
        if masks is None and (multimask_output or first_is_fit) and supports(self.model.mask_decoder):
            sparse, padded = self._tokens(*prompts)
            self._asked += 0 if sparse is None else sparse.shape[1]
            if not padded and self._asked > 1:
                part = slice(1, None) if multimask_output else slice(0, 1)
                scores, _, low_res = self._fast_decoder()(sparse, lambda iou: _columns(iou, part))
                scores = scores[:, part]
                return low_res.unflatten(0, scores.shape).float(), scores.float()
        output = self.model(
            image_embeddings=self.encoded.embedding,
            intermediate_embeddings=self.encoded.features,
            input_points=prompts[0],
            input_labels=prompts[1],
            input_boxes=prompts[2],
            input_masks=prompts[3],
            multimask_output=multimask_output,
            hq_token_only=hq_token_only,
        )
        return output.pred_masks[0].float(), output.iou_scores[0].float()

    def _decode_text(self, prompts: list[Tensor | None], text: Tensor, multimask_output: bool) -> tuple[Tensor, Tensor]:
        encoded = self.encoded
        masks, iou, _ = self.model.predict_masks(
            encoded.embedding, *prompts, intermediate=encoded.features, text_embeddings=text
        )
        masks, iou = self.model.mask_decoder.select_masks(masks, iou, multimask_output)
        return masks[0].float(), iou[0].float()

    @torch.no_grad()
    def choose(
        self, points: Tensor, select: Callable[[np.ndarray], np.ndarray], visible: tuple[int, int] | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """One click for each of N objects; only the masks that ``select`` wants are drawn.

        points: (N, 2) float32, x then y, in pixels of the resized image
        visible: rows and columns of the embedding that the image reads, outside of which masks stay 0; all by default
        select, returns: as of `Backend.click_each`, with predicted IoU for scores; None where the fast decoder cannot
            stand in for the model's
        """
        if not supports(self.model.mask_decoder):
            return None
        points = points[:, None]  # (N, 1, 2)
        labels = torch.ones(points.shape[:2], dtype=torch.long, device=points.device)
        sparse, _ = self._tokens(points[None], labels[None], None, None)

        def wanted(iou: Tensor) -> Tensor:
            keep = torch.zeros_like(iou, dtype=torch.bool)
            keep[:, 1:] = torch.from_numpy(select(iou[:, 1:].float().cpu().numpy()))
            return keep

        iou, which, masks = self._fast_decoder()(sparse, wanted, visible)
        iou, which[:, 1] = iou[:, 1:], which[:, 1] - 1  # the mask of the first token is not asked for
        return iou.float().cpu().numpy(), which.cpu().numpy(), masks.float().cpu().numpy()

    def _tokens(
        self, points: Tensor | None, labels: Tensor | None, boxes: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor | None, bool]:
        """Embedded prompts, (1, N, T, C), and whether some of them are padding (or there are none)."""
        grid = tuple(self.encoded.embedding.shape[-2:])
        sparse, _, valid = self.model._embed_prompts(grid, points, labels, boxes, masks)
        return sparse, sparse is None or valid is not None

    def _fast_decoder(self) -> FastDecoder:
        model, embedding = self.model, self.encoded.embedding
        weights = chain(model.mask_decoder.parameters(), model.prompt_encoder.no_mask_embed.parameters())
        made_from = tuple((t.data_ptr(), 0 if t.is_inference() else t._version) for t in weights)
        if self._fast is None or self._made_from != made_from:
            image_pe = model.get_image_wide_positional_embeddings(tuple(embedding.shape[-2:]))
            no_mask = model.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
            self._fast = FastDecoder(model.mask_decoder, embedding + no_mask, image_pe)
            self._made_from = made_from
        return self._fast


def _columns(iou: Tensor, part: slice) -> Tensor:
    """Every row of some columns, as `FastDecoder` wants to be told."""
    keep = torch.zeros_like(iou, dtype=torch.bool)
    keep[:, part] = True
    return keep
