"""The interface of ``segment_anything``'s ``Sam``, for `SamModel`."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ImageError, PromptError
from .image_processing_sam import SamImageProcessor
from .mask_resizing import resize_masks

Size = tuple[int, int]


class OriginalEncoder:
    """The image encoder under the original's name: a call returns one tensor; other attributes are the encoder's."""

    def __init__(self, model: Any) -> None:
        self._model = model

    @property
    def img_size(self) -> int:
        """Side of the input in pixels."""
        return self._model.config.vision_config.image_size

    def __call__(self, x: Tensor) -> Tensor:
        """(B, 3, S, S), preprocessed -> (B, C, h, w), with more channels where the decoder reads finer maps."""
        encoded = self._model.encode(x)
        return self._model.mask_decoder.pack_features(encoded.embedding, encoded.features)

    forward = __call__

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model.vision_encoder, name)


class OriginalInterface:
    """Attributes and methods of ``segment_anything.modeling.Sam`` (source: ``modeling/sam.py``)."""

    mask_threshold = 0.0
    image_format = "RGB"

    @property
    def image_encoder(self) -> OriginalEncoder:
        return OriginalEncoder(self)

    def _grey_levels(self, name: str) -> Tensor:
        processor = SamImageProcessor.for_config(self.config)
        if processor.do_min_max:
            raise AttributeError(f"this model has no {name}: each image is scaled by its own extremes")
        levels = torch.tensor(getattr(processor, name), dtype=torch.float64) / processor.rescale_factor
        return levels.to(torch.float32).view(-1, 1, 1).to(self.device)

    @property
    def pixel_mean(self) -> Tensor:
        """(3, 1, 1) in grey levels."""
        return self._grey_levels("image_mean")

    @property
    def pixel_std(self) -> Tensor:
        """(3, 1, 1) in grey levels."""
        return self._grey_levels("image_std")

    def preprocess(self, x: Tensor) -> Tensor:
        """Normalise and pad a resized image: (..., 3, h, w) in 0 ... 255 -> (..., 3, S, S).

        raises: ImageError for an image larger than the input, or smaller if the model stretches images
        """
        processor = SamImageProcessor.for_config(self.config)
        side, shape = self.config.vision_config.image_size, tuple(x.shape[-2:])
        stretched = processor.resize_mode != "longest_side"
        if max(shape) > side or (stretched and min(shape) < side):
            how = f"stretched to {side} x {side}" if stretched else f"resized, its long side to {side}"
            raise ImageError(f"this model takes images {how} pixels (`SamPredictor.transform`); got {shape}")
        if processor.do_min_max:
            low, high = x.amin((-3, -2, -1), keepdim=True), x.amax((-3, -2, -1), keepdim=True)
            x = (x - low) / (high - low).clamp(min=1e-8)
        else:
            x = (x - self.pixel_mean) / self.pixel_std
        return F.pad(x, (0, side - x.shape[-1], 0, side - x.shape[-2]))

    def postprocess_masks(self, masks: Tensor, input_size: Size, original_size: Size) -> Tensor:
        """Low-res logits (B, M, h, w) -> logits of the image (B, M, H, W); sizes are (height, width).

        input_size: of the resized image, without padding
        """
        processor = SamImageProcessor.for_config(self.config)
        return resize_masks(
            masks, processor.padded_frame, tuple(input_size), tuple(original_size), how=processor.mask_resize
        )

    @torch.no_grad()
    def predict_batch(
        self, batched_input: Sequence[Mapping[str, Any]], multimask_output: bool
    ) -> list[dict[str, Tensor]]:
        """Masks end to end, as ``Sam.forward``; ``model(batched_input, multimask_output)`` calls it too.

        batched_input: for each image a dict with ``image`` (3, h, w), resized, in 0 ... 255; ``original_size`` (H, W);
            and any of ``point_coords`` (n, P, 2) with ``point_labels`` (n, P), ``boxes`` (n, 4), in pixels of the
            resized image, and ``mask_inputs`` (n, 1, 4h, 4w)
        returns: for each image ``masks`` (n, M, H, W) bool, ``iou_predictions`` (n, M) and ``low_res_logits``
        raises: PromptError, ImageError
        """
        for given in batched_input:
            if not isinstance(given, Mapping) or not {"image", "original_size"} <= given.keys():
                raise PromptError("batched_input must hold a dict with image and original_size for each image")
        if not batched_input:
            return []
        encoded = self.image_encoder(torch.stack([self.preprocess(given["image"]) for given in batched_input]))
        found = []
        for given, embedding in zip(batched_input, encoded, strict=True):
            points = (given["point_coords"], given["point_labels"]) if "point_coords" in given else None
            sparse, dense = self.prompt_encoder(points=points, boxes=given.get("boxes"), masks=given.get("mask_inputs"))
            low_res, iou = self.mask_decoder(
                image_embeddings=embedding[None],
                image_pe=self.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=multimask_output,
            )
            masks = self.postprocess_masks(low_res, given["image"].shape[-2:], given["original_size"])
            found.append({"masks": masks > self.mask_threshold, "iou_predictions": iou, "low_res_logits": low_res})
        return found
