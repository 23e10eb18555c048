"""Prompt encoder and mask decoder called as those of ``segment_anything`` are.

Fine-tuning code calls the parts itself: ``prompt_encoder(points=, boxes=, masks=)``, ``prompt_encoder.get_dense_pe()``
and ``mask_decoder(image_embeddings=, image_pe=, sparse_prompt_embeddings=, dense_prompt_embeddings=,
multimask_output=)`` (source: ``modeling/prompt_encoder.py`` and ``modeling/mask_decoder.py``). Such a call is
recognised by its arguments, and returns the original's shapes; gradients flow.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import PromptError
from ..ops.feature_packing import packed_width, to_cells, unpack
from ..ops.prompts import PAD_LABEL
from .prompt_kinds import check_prompt_kinds


class OriginalPromptCalls(nn.Module):
    """A prompt encoder that takes the original's calls too.

    positions: the model's `PositionalEmbedding`, in a tuple so that it is not registered as a submodule
    """

    config: Any
    positions: tuple[Any, ...] = ()

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        if arguments and isinstance(arguments[0], nn.Module):
            return super().__call__(*arguments, **named)
        return self._embed_as_original(*arguments, **named)

    @property
    def embed_dim(self) -> int:
        return self.config.hidden_size

    @property
    def image_embedding_size(self) -> tuple[int, int]:
        """(h, w) of the embedding."""
        return (self.config.image_embedding_size,) * 2

    @property
    def input_image_size(self) -> tuple[int, int]:
        """(H, W) of the padded input."""
        return (self.config.image_size,) * 2

    @property
    def mask_input_size(self) -> tuple[int, int]:
        """(4h, 4w), of low-res masks."""
        return (4 * self.config.image_embedding_size,) * 2

    def get_dense_pe(self) -> Tensor:
        """Positions of the embedding's cells: (1, C, h, w)"""
        return self.positions[0].grid(*self.image_embedding_size)

    def _embed_as_original(
        self,
        points: tuple[Tensor, Tensor] | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """points: (n, P, 2) and labels (n, P); boxes: (n, 4); masks: (n, 1, 4h, 4w) logits; of the resized image.

        returns: sparse (n, T, C) and dense (n, C, h, w)
        raises: PromptError for prompts that this model does not understand; ValueError for shapes that do not fit
        """
        coords, labels = points if points is not None else (None, None)
        given = [len(t) for t in (coords, boxes, masks) if t is not None]
        n = given[0] if given else 1
        if any(count != n for count in given):
            raise ValueError(f"prompts are for different numbers of objects: {given}")
        if coords is not None:
            coords, labels = coords[None], labels[None].long()
            if not torch.compiler.is_compiling() and bool((labels == PAD_LABEL).any()):
                raise PromptError(
                    f"label {PAD_LABEL} pads prompts of `SamModel`, and segment_anything has no padding; use -1, or "
                    "call the model"
                )
        boxes = None if boxes is None else boxes.reshape(1, n, 4)
        masks = None if masks is None else masks.reshape(1, n, *masks.shape[-2:])
        check_prompt_kinds(self.config.prompt_kinds, coords, labels, boxes, masks)
        fourier = self.positions[0]
        sparse, dense, valid = super().__call__(fourier, self.input_image_size, coords, labels, boxes, masks)
        if sparse is None:
            sparse = dense.new_zeros(1, n, 0, self.embed_dim)
        elif valid is not None and coords is not None and boxes is not None and torch.compiler.is_compiling():
            # The token "not a point" for objects without a box is padding for every object here.
            at = coords.shape[2]
            sparse = torch.cat([sparse[:, :, :at], sparse[:, :, at + 1 :]], dim=2)
        return sparse[0], dense[0].expand(n, -1, *self.image_embedding_size)


class OriginalDecoderCalls(nn.Module):
    """A mask decoder that takes the original's calls too."""

    config: Any
    feature_maps: tuple[str, ...]

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        is_original = "sparse_prompt_embeddings" in named or "multimask_output" in named
        if is_original or (len(arguments) > 4 and isinstance(arguments[4], bool)):
            return self._decode_as_original(*arguments, **named)
        return super().__call__(*arguments, **named)

    def _decode_as_original(
        self: Any,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool,
        hq_token_only: bool = False,
        interm_embeddings: Sequence[Tensor] = (),
    ) -> tuple[Tensor, Tensor]:
        """Masks of n prompts.

        image_embeddings: of one image for all prompts, or of n images with one prompt each, as ``image_encoder`` and
            ``predictor.features`` give them
        image_pe: (1, C, h, w); sparse_prompt_embeddings: (n, T, C); dense_prompt_embeddings: (n or 1, C, h, w)
        hq_token_only, interm_embeddings: as in SAM-HQ's decoder
        returns: masks (n, M, 4h, 4w) logits and predicted IoU (n, M)
        raises: PromptError for embeddings of another model; ValueError for numbers that do not fit
        """
        embedding, features = self.unpack_features(image_embeddings, interm_embeddings)
        sparse, dense = sparse_prompt_embeddings, dense_prompt_embeddings
        is_empty = not len(sparse)
        if is_empty:  # as for one prompt, cut to none: attention has no shapes for zero
            sparse, dense = (t.new_zeros(1, *t.shape[1:]) for t in (sparse, dense))
        images, n = len(embedding), len(sparse)
        if n == 1 < images:
            sparse, n = sparse.expand(images, -1, -1), images
        if images not in (1, n) or len(dense) not in (1, n):
            raise ValueError(
                f"{images} images, {n} prompts and dense embeddings of {len(dense)}: give one image for all prompts, "
                "or as many images as prompts"
            )
        axis = 0 if images == 1 else 1
        only = {"hq_token_only": True} if hq_token_only else {}
        masks, iou = super().__call__(
            embedding, image_pe, sparse.unsqueeze(axis), dense.unsqueeze(axis), None, None, None, features
        )[:2]
        masks, iou = (t.flatten(0, 1) for t in self.select_masks(masks, iou, multimask_output, **only))
        return (masks[:0], iou[:0]) if is_empty else (masks, iou)

    def pack_features(self, embedding: Tensor, features: Any) -> Tensor:
        """All the decoder's image inputs as one tensor (B, C, h, w): finer maps become further channels."""
        grid = tuple(embedding.shape[-2:])
        maps = [to_cells(features[name], grid).to(embedding.dtype) for name in self.feature_maps]
        return torch.cat([embedding, *maps], dim=1) if maps else embedding

    def unpack_features(self: Any, packed: Tensor, maps: Sequence[Tensor] = ()) -> tuple[Tensor, dict[str, Tensor]]:
        """The inverse of `pack_features`; the embedding alone is enough if ``maps`` gives the rest.

        raises: PromptError if something is missing or belongs to another model
        """
        width, grid = self.config.hidden_size, tuple(packed.shape[-2:])
        if maps and packed.shape[1] == width:
            return packed, self.named_features(maps)
        shapes = self.feature_shapes(grid) if packed.dim() == 4 else {}
        if packed.dim() != 4 or packed.shape[1] != packed_width(width, shapes.values(), grid):
            raise PromptError(self.wrong_features(packed))
        return unpack(packed, width, shapes)

    def wrong_features(self: Any, packed: Tensor) -> str:
        """Error message for features whose shape is not that of `pack_features`."""
        width, grid = self.config.hidden_size, (1, 1)
        shapes = self.feature_shapes(grid)
        channels = packed_width(width, shapes.values(), grid)
        parts = f", of which {width} are the embedding's and the rest for {' and '.join(shapes)}" if shapes else ""
        return (
            f"features must be (1, {channels}, h, w) for this model{parts}, as `predictor.features` and "
            f"`model.image_encoder` give them; got {tuple(packed.shape)}"
        )
