"""What callers of ``segment_anything`` read of a ``Sam``, for `SamModel`."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .image_processing_sam import SamImageProcessor
from .mask_resizing import resize_masks

Size = tuple[int, int]


class OriginalEncoder:
    """The image encoder under the original's name: calling it gives the embedding alone; the rest is the encoder's."""

    def __init__(self, model: Any) -> None:
        self._model = model

    @property
    def img_size(self) -> int:
        """Side of the input in pixels."""
        return self._model.config.vision_config.image_size

    def __call__(self, x: Tensor) -> Tensor:
        """(B, 3, S, S), preprocessed -> (B, C, h, w)"""
        return self._model.encode(x).embedding

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
        """Normalise and pad a resized image: (..., 3, h, w) in 0 ... 255 -> (..., 3, S, S)."""
        x = (x - self.pixel_mean) / self.pixel_std
        side = self.config.vision_config.image_size
        return F.pad(x, (0, side - x.shape[-1], 0, side - x.shape[-2]))

    def postprocess_masks(self, masks: Tensor, input_size: Size, original_size: Size) -> Tensor:
        """Low-res logits (B, M, h, w) -> logits of the image (B, M, H, W); sizes are (height, width).

        input_size: of the resized image, without padding
        """
        processor = SamImageProcessor.for_config(self.config)
        return resize_masks(
            masks, processor.padded_frame, tuple(input_size), tuple(original_size), how=processor.mask_resize
        )
