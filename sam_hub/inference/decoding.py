"""Prompts on an encoded image -> low-res masks, by the fast decoder if it can replace the model's."""

from collections.abc import Callable
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from ..models.encoders import EncoderOutput
from ..models.mask_decoder import MaskDecoder
from ..models.modeling_sam import SamModel
from ..models.prompt_encoder import PositionalEmbedding
from .fast_decoder import FastDecoder, Products, supports
from .plain_modules import is_plain, is_plain_model


class ImageDecoder:
    """The decoder of one image.

    The fast decoder is used whenever it gives the model's results, from the first prompt on, so that a result does not
    depend on earlier prompts. This, and whether the prepared tensors still match the weights, is checked for each
    prompt.
    """

    def __init__(self, model: SamModel, encoded: EncoderOutput) -> None:
        self.model, self.encoded = model, encoded
        self._fast: tuple[FastDecoder, Tensor, list[int]] | None = None

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

        text: (1, N, D) CLIP embeddings, for a model that was trained on them
        returns: low-res logits (N, M, h, w) float32, predicted IoU (N, M) float32
        """
        prompts = [None if t is None else t[None] for t in (points, labels, boxes, masks)]
        if text is not None:
            return self._decode_text(prompts, text, multimask_output)
        first_is_fit = not self.model.mask_decoder.config.always_multimask
        if masks is None and (multimask_output or first_is_fit) and not hq_token_only and self._is_fast_way_open():
            sparse, dense, padded = self._tokens(*prompts)
            if not padded and sparse.shape[1] and (fast := self._fast_decoder(dense)):
                decoder = self.model.mask_decoder
                whole = type(decoder).select_masks is not MaskDecoder.select_masks  # `select` may want any of the masks
                part = slice(None) if whole else slice(1, None) if multimask_output else slice(0, 1)
                scores, _, low_res = fast(sparse, lambda iou: _columns(iou, part))
                scores = scores[:, part]
                low_res = low_res.unflatten(0, scores.shape)
                if whole:
                    low_res, scores = (
                        t[0] for t in decoder.select_masks(low_res[None], scores[None], multimask_output)
                    )
                return low_res.float(), scores.float()
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
        """One click for each of N objects; only the masks that ``select`` picks are computed.

        points: (N, 2) float32, x then y, in pixels of the resized image
        visible: rows and columns of the embedding that the image covers; masks stay 0 outside; all by default
        select, returns: as in `Backend.click_each`, with predicted IoU as scores; None if the fast decoder cannot
            replace the model's
        """
        if not self._is_fast_way_open():
            return None
        points = points[:, None]  # (N, 1, 2)
        labels = torch.ones(points.shape[:2], dtype=torch.long, device=points.device)
        sparse, dense, padded = self._tokens(points[None], labels[None], None, None)
        fast = None if padded else self._fast_decoder(dense)
        if fast is None:
            return None

        def wanted(iou: Tensor) -> Tensor:
            keep = torch.zeros_like(iou, dtype=torch.bool)
            keep[:, 1:] = torch.from_numpy(select(iou[:, 1:].float().cpu().numpy()))
            return keep

        iou, which, masks = fast(sparse, wanted, visible)
        iou, which[:, 1] = iou[:, 1:], which[:, 1] - 1  # the first token's mask is not returned
        return iou.float().cpu().numpy(), which.cpu().numpy(), masks.float().cpu().numpy()

    def _is_fast_way_open(self) -> bool:
        """Whether `FastDecoder` may replace calling the model."""
        model, embedding = self.model, self.encoded.embedding
        return (
            type(embedding) is Tensor
            and is_plain_model(model)
            and supports(model.mask_decoder, embedding.device)
            and embedding.dtype == model.mask_decoder.iou_token.weight.dtype
            and all(self._is_read(name) for name in model.mask_decoder.feature_maps)
            and type(model.shared_image_embedding) is PositionalEmbedding
            and is_plain(model.shared_image_embedding, embedding.dtype, embedding.device)
        )

    def _is_read(self, name: str) -> bool:
        """Whether the feature map is a plain tensor of the embedding's type, on its device."""
        given, embedding = self.encoded.features.get(name), self.encoded.embedding
        return type(given) is Tensor and given.dtype == embedding.dtype and given.device == embedding.device

    def _tokens(
        self, points: Tensor | None, labels: Tensor | None, boxes: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor | None, Tensor, bool]:
        """Embedded prompts (1, N, T, C), the dense embedding, and whether there are no tokens or some are padding."""
        grid = tuple(self.encoded.embedding.shape[-2:])
        sparse, dense, valid = self.model._embed_prompts(grid, points, labels, boxes, masks)
        return sparse, dense, sparse is None or valid is not None

    def _fast_decoder(self, no_mask: Tensor) -> FastDecoder | None:
        """The fast decoder of this image for the model's current weights.

        no_mask: the prompt encoder's output for no mask; None is returned unless it is one vector
        """
        model, embedding = self.model, self.encoded.embedding
        if no_mask.shape != (1, 1, embedding.shape[1], 1, 1) or no_mask.dtype != embedding.dtype:
            return None
        size, fourier = tuple(embedding.shape[-2:]), model.shared_image_embedding.positional_embedding
        products = PRODUCTS.get(model.mask_decoder)
        if products is None or not products.fit(model.mask_decoder, size, fourier):
            image_pe = model.get_image_wide_positional_embeddings(size)
            products = PRODUCTS[model.mask_decoder] = Products(model.mask_decoder, image_pe, fourier)
        read = [embedding, *self.encoded.features.values()] if model.mask_decoder.feature_maps else [embedding]
        version = [0 if t.is_inference() else t._version for t in read]
        if self._fast is not None:
            fast, vector, seen = self._fast
            if fast.products is products and seen == version and torch.equal(vector, no_mask):
                return fast
        fast = FastDecoder(
            model.mask_decoder, embedding + no_mask[0], products.image_pe, products, self.encoded.features
        )
        self._fast = fast, no_mask.clone(), version
        return fast


PRODUCTS: WeakKeyDictionary[MaskDecoder, Products] = WeakKeyDictionary()
"""What the images of each decoder share, for the last size of embedding."""


def _columns(iou: Tensor, part: slice) -> Tensor:
    """A mask that is True in these columns, as `FastDecoder` expects from ``select``."""
    keep = torch.zeros_like(iou, dtype=torch.bool)
    keep[:, part] = True
    return keep
