"""Image processor methods that transformers' pipeline and `SamProcessor` need, without torchvision.

Names, arguments and results are those of ``transformers.SamImageProcessor``, with two of its bugs fixed: layers of
crops may have coarser grids, and the stability of a mask is only computed if its predicted IoU passes. Our
`SamAutomaticMaskGenerator` finds the same masks with less work, and cleans them too.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..ops.boxes import near_crop_edge, nms, uncrop_boxes
from ..ops.crops import crop_boxes, layer_point_grids
from ..ops.geometry import resized_size, scale_points
from ..ops.images import read_image
from ..ops.masks import Rle, mask_to_box, mask_to_uncompressed_rle, rle_to_mask, stability_score
from ..ops.value_range import range_for


class MaskGenerationMixin:
    """Mixin of `SamImageProcessor`; uses its ``size_in_frame``."""

    def _get_preprocess_shape(self, old_shape: tuple[int, int], longest_edge: int) -> tuple[int, int]:
        """(height, width) of a resized image, by which ``transformers.SamProcessor`` scales prompts."""
        return resized_size(old_shape, longest_edge)

    def generate_crop_boxes(
        self,
        image: Any,
        target_size: int | None = None,
        crop_n_layers: int = 0,
        overlap_ratio: float = 512 / 1500,
        points_per_crop: int = 32,
        crop_n_points_downscale_factor: int = 1,
        device: str | torch.device | None = None,
    ) -> tuple[Tensor, Tensor, list[np.ndarray], Tensor]:
        """The image and layers of its crops, with a grid of clicks in each.

        image: as for `read_image`
        target_size: ignored; the coordinate frame is this processor's
        points_per_crop: points per side of the grid; divided by ``crop_n_points_downscale_factor`` in each further
            layer
        returns: boxes of C crops (C, 4) float32 XYXY; points (1, P, C, 2) float32 in pixels of the resized crops; the
            crops, (h, w, 3) uint8; labels (1, P, C) int64, all 1. In a crop with a coarser grid, the last point is
            repeated; NMS removes the duplicates.
        """
        pixels = read_image(image, range_for(image, None, self.value_range))
        size = pixels.shape[:2]
        boxes, layers = crop_boxes(size, crop_n_layers, overlap_ratio)
        grids = layer_point_grids(points_per_crop, crop_n_layers, crop_n_points_downscale_factor)
        crops = [pixels[y0:y1, x0:x1].copy() for x0, y0, x1, y1 in boxes]
        points = np.empty((1, len(grids[0]), len(boxes), 2), np.float32)
        for i, (crop, layer) in enumerate(zip(crops, layers, strict=True)):
            shape = crop.shape[:2]
            grid = scale_points(grids[layer] * np.array(shape[::-1]), shape, self.size_in_frame(shape))
            points[0, : len(grid), i] = grid
            points[0, len(grid) :, i] = grid[-1]
        labels = torch.ones(points.shape[:3], dtype=torch.int64, device=device)
        box_tensor = torch.tensor(boxes, dtype=torch.float32, device=device)
        return box_tensor, torch.from_numpy(points).to(device or "cpu"), crops, labels

    def filter_masks(
        self,
        masks: Tensor,
        iou_scores: Tensor,
        original_size: tuple[int, int],
        cropped_box_image: Any,
        pred_iou_thresh: float = 0.88,
        stability_score_thresh: float = 0.95,
        mask_threshold: float = 0,
        stability_score_offset: float = 1,
    ) -> tuple[list[Rle], Tensor, Tensor]:
        """Keep the masks of a crop that are good, stable and not cut by an edge of the crop.

        masks: (N, M, h, w) logits in pixels of the crop; iou_scores: (N, M)
        original_size: (H, W) of the image; cropped_box_image: (4,) XYXY of the crop
        returns: for K masks, uncompressed run lengths over the image; scores (K,); boxes (K, 4) int64 XYXY in the
            image, with inclusive edges
        """
        scores, logits = iou_scores.flatten(0, 1), masks.flatten(0, 1)
        if len(scores) != len(logits):
            raise ValueError(f"{len(logits)} masks but {len(scores)} scores; give one for each")
        if pred_iou_thresh > 0:
            good = scores > pred_iou_thresh
            scores, logits = scores[good], logits[good.to(logits.device)]
        values = logits.float().cpu().numpy()
        crop = [int(v) for v in cropped_box_image]
        height, width = (int(v) for v in original_size)
        keep = np.ones(len(values), bool)
        if stability_score_thresh > 0:
            keep &= stability_score(values, mask_threshold, stability_score_offset) > stability_score_thresh
        binary = values > mask_threshold
        boxes = mask_to_box(binary)
        keep &= ~near_crop_edge(boxes, crop, [0, 0, width, height])
        chosen = np.flatnonzero(keep)
        rles = [mask_to_uncompressed_rle(binary[i], (height, width), (crop[0], crop[1])) for i in chosen]
        placed = torch.from_numpy(uncrop_boxes(boxes[chosen], crop)).to(scores.device)
        return rles, scores[torch.from_numpy(chosen).to(scores.device)], placed

    def post_process_for_mask_generation(
        self, all_masks: list[Rle], all_scores: Tensor, all_boxes: Tensor, crops_nms_thresh: float
    ) -> tuple[list[np.ndarray], Tensor, list[Rle], Tensor]:
        """Keep the best of masks whose boxes overlap by more than the threshold.

        all_masks: K run lengths; all_scores: (K,); all_boxes: (K, 4) XYXY
        returns: masks (H, W) bool, their scores, run lengths and boxes, best first
        """
        keep = nms(all_boxes.float().cpu().numpy(), all_scores.float().cpu().numpy(), crops_nms_thresh)
        rles = [all_masks[i] for i in keep]
        index = torch.from_numpy(np.asarray(keep, np.int64))
        return (
            [rle_to_mask(rle) for rle in rles],
            all_scores[index.to(all_scores.device)],
            rles,
            all_boxes[index.to(all_boxes.device)],
        )
