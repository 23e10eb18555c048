"""Functions of ``segment_anything.utils.amg`` that callers import, on tensors as there, computed by `sam_hub.ops`.

Two bugs of the original are fixed: `calculate_stability_score` gives 0 for an empty mask, not NaN, and
`box_xyxy_to_xywh` takes any number of boxes, not only one.
"""

from collections.abc import ItemsView, Iterator
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..ops import boxes as box_ops
from ..ops import masks as mask_ops
from ..ops.crops import crop_boxes, layer_point_grids, point_grid

__all__ = [
    "MaskData",
    "area_from_rle",
    "batch_iterator",
    "batched_mask_to_box",
    "box_xyxy_to_xywh",
    "build_all_layer_point_grids",
    "build_point_grid",
    "calculate_stability_score",
    "coco_encode_rle",
    "generate_crop_boxes",
    "is_box_near_crop_edge",
    "mask_to_rle_pytorch",
    "remove_small_regions",
    "rle_to_mask",
    "uncrop_boxes_xyxy",
    "uncrop_masks",
    "uncrop_points",
]

build_point_grid, build_all_layer_point_grids, generate_crop_boxes = point_grid, layer_point_grids, crop_boxes
rle_to_mask, area_from_rle, coco_encode_rle = mask_ops.rle_to_mask, mask_ops.rle_area, mask_ops.compress_rle
remove_small_regions = mask_ops.remove_small_regions


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def _like(array: np.ndarray, tensor: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(tensor.device)


def is_box_near_crop_edge(boxes: Tensor, crop_box: list[int], orig_box: list[int], atol: float = 20.0) -> Tensor:
    """Whether each box (N, 4) of a crop touches an edge of the crop that is not an edge of the image: (N,) bool."""
    return _like(box_ops.near_crop_edge(_array(boxes), crop_box, orig_box, atol), boxes)


def box_xyxy_to_xywh(box_xyxy: Tensor) -> Tensor:
    """(..., 4) x0, y0, x1, y1 -> x0, y0, width, height"""
    return torch.cat([box_xyxy[..., :2], box_xyxy[..., 2:] - box_xyxy[..., :2]], dim=-1)


def batch_iterator(batch_size: int, *args: Any) -> Iterator[list[Any]]:
    """Slices of ``batch_size`` of several sequences of one length. raises: ValueError for unequal lengths"""
    if len({len(values) for values in args}) != 1:
        raise ValueError("give sequences of one length")
    for start in range(0, len(args[0]), batch_size):
        yield [values[start : start + batch_size] for values in args]


def mask_to_rle_pytorch(tensor: Tensor) -> list[dict[str, Any]]:
    """Masks (N, H, W) bool -> uncompressed COCO run lengths of each."""
    return [mask_ops.mask_to_uncompressed_rle(mask) for mask in _array(tensor)]


def calculate_stability_score(masks: Tensor, mask_threshold: float, threshold_offset: float) -> Tensor:
    """IoU between the masks at the threshold plus and minus the offset: (..., H, W) logits -> (...) float32."""
    return _like(mask_ops.stability_score(_array(masks), mask_threshold, threshold_offset), masks).float()


def uncrop_boxes_xyxy(boxes: Tensor, crop_box: list[int]) -> Tensor:
    """(..., 4) in pixels of a crop -> in pixels of the image"""
    return boxes + torch.tensor([*crop_box[:2], *crop_box[:2]], device=boxes.device)


def uncrop_points(points: Tensor, crop_box: list[int]) -> Tensor:
    """(..., 2), x then y, in pixels of a crop -> in pixels of the image"""
    return points + torch.tensor(crop_box[:2], device=points.device)


def uncrop_masks(masks: Tensor, crop_box: list[int], orig_h: int, orig_w: int) -> Tensor:
    """Masks of a crop (..., h, w) -> of the image (..., orig_h, orig_w), 0 outside the crop"""
    x0, y0, x1, y1 = crop_box
    return torch.nn.functional.pad(masks, (x0, orig_w - x1, y0, orig_h - y1))


def batched_mask_to_box(masks: Tensor) -> Tensor:
    """Masks (..., H, W) bool -> tight boxes (..., 4) XYXY with inclusive edges; 0, 0, 0, 0 for an empty one."""
    return _like(mask_ops.mask_to_box(_array(masks)), masks)


class MaskData:
    """Properties of n masks by name, each a list, an array or a tensor of length n."""

    def __init__(self, **facts: Any) -> None:
        self._facts: dict[str, Any] = {}
        for name, values in facts.items():
            self[name] = values

    def __setitem__(self, name: str, values: Any) -> None:
        if not isinstance(values, list | np.ndarray | Tensor):
            raise TypeError(f"{name} must be a list, an array or a tensor; got {type(values).__name__}")
        self._facts[name] = values

    def __getitem__(self, name: str) -> Any:
        return self._facts[name]

    def __delitem__(self, name: str) -> None:
        del self._facts[name]

    def items(self) -> ItemsView[str, Any]:
        return self._facts.items()

    def filter(self, keep: Tensor) -> None:
        """Keep only the masks that ``keep`` selects: bool (n,), or indices."""
        for name, values in self._facts.items():
            if isinstance(values, Tensor):
                self._facts[name] = values[keep.to(values.device)]
            elif isinstance(values, np.ndarray):
                self._facts[name] = values[keep.detach().cpu().numpy()]
            else:
                numbers = keep.nonzero().flatten() if keep.dtype == torch.bool else keep
                self._facts[name] = [values[i] for i in numbers.tolist()]

    def cat(self, other: "MaskData") -> None:
        """Append another's masks; a property that only one of them has is taken as it is."""
        for name, values in other.items():
            if self._facts.get(name) is None:
                self._facts[name] = deepcopy(values)
            elif isinstance(values, Tensor):
                self._facts[name] = torch.cat([self._facts[name], values])
            elif isinstance(values, np.ndarray):
                self._facts[name] = np.concatenate([self._facts[name], values])
            else:
                self._facts[name] = self._facts[name] + deepcopy(values)

    def to_numpy(self) -> None:
        """Convert tensors to arrays."""
        for name, values in self._facts.items():
            if isinstance(values, Tensor):
                self._facts[name] = values.detach().cpu().numpy()
