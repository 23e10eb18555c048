"""The original's ``ResizeLongestSide``: from image coordinates to those of the network's input.

`SamPredictor.transform` is one, as in the original, for callers of ``predict_torch``.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..ops.geometry import resized_size, scale_boxes, scale_points
from ..ops.images import resize_longest_side, stretch

Size = tuple[int, int]


class ResizeLongestSide:
    """Scales so that the long side becomes ``target_length`` pixels. Sizes are (height, width).

    Source: ``segment_anything/utils/transforms.py``.
    """

    def __init__(self, target_length: int) -> None:
        self.target_length = target_length

    def resized_size(self, original_size: Size) -> Size:
        return resized_size(original_size, self.target_length)

    @staticmethod
    def get_preprocess_shape(oldh: int, oldw: int, long_side_length: int) -> Size:
        """(height, width) once the long side is ``long_side_length``."""
        return resized_size((oldh, oldw), long_side_length)

    def apply_image(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> (h, w, 3) uint8."""
        return resize_longest_side(image, self.target_length)

    def apply_coords(self, coords: np.ndarray, original_size: Size) -> np.ndarray:
        """Points (..., 2), x then y, of the image -> float32 of the input."""
        return scale_points(coords, original_size, self.resized_size(original_size))

    def apply_boxes(self, boxes: np.ndarray, original_size: Size) -> np.ndarray:
        """Boxes (N, 4), x0, y0, x1, y1, of the image -> float32 of the input."""
        return scale_boxes(boxes, original_size, self.resized_size(original_size))

    def apply_image_torch(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) float -> (B, 3, h, w) on its device; not quite the same pixels as `apply_image`."""
        size = self.resized_size(image.shape[-2:])
        return F.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)

    def apply_coords_torch(self, coords: Tensor, original_size: Size) -> Tensor:
        """`apply_coords` for tensors of any device."""
        new_h, new_w = self.resized_size(original_size)
        scale = torch.tensor([new_w / original_size[1], new_h / original_size[0]], device=coords.device)
        return coords.to(torch.float32) * scale

    def apply_boxes_torch(self, boxes: Tensor, original_size: Size) -> Tensor:
        """`apply_boxes` for tensors of any device: (..., 4)."""
        return self.apply_coords_torch(boxes.unflatten(-1, (2, 2)), original_size).flatten(-2)


class Stretch(ResizeLongestSide):
    """Scales both sides to ``target_length``, for models that read stretched images (EfficientSAM, MedSAM)."""

    def resized_size(self, original_size: Size) -> Size:
        return self.target_length, self.target_length

    def apply_image(self, image: np.ndarray) -> np.ndarray:
        return stretch(image, self.target_length)
