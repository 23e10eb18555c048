"""Boxes in pixels: IoU, NMS, and coordinates of crops in their image.

Boxes are XYXY unless a name says otherwise. Those made from masks have inclusive right and bottom edges (see
`sam_hub.ops.masks.mask_to_box`), and their sides are ``x1 - x0`` and ``y1 - y0``, as in the original project.
"""

import numpy as np


def box_area(boxes: np.ndarray) -> np.ndarray:
    """(..., 4) XYXY -> (...)"""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of every pair: (N, 4) and (M, 4) XYXY -> (N, M); NaN if both are empty."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = (high - low).clip(min=0).prod(axis=-1)
    union = box_area(a)[:, None] + box_area(b)[None] - both
    with np.errstate(invalid="ignore", divide="ignore"):
        return both / union


def nms(boxes: np.ndarray, scores: np.ndarray, iou_threshold: float) -> np.ndarray:
    """Greedy non-maximum suppression, with the results of ``torchvision.ops.nms`` on a CPU, bit for bit.

    boxes: (N, 4) XYXY; scores: (N,)
    returns: indices of the kept boxes, best score first; of equal scores the lower index first. A box is dropped if its
        IoU with a kept one, computed in float32, is above the threshold; a NaN IoU suppresses nothing.
    """
    order = np.argsort(-np.asarray(scores), kind="stable")
    boxes = np.asarray(boxes, dtype=np.float32)[order]
    threshold = np.float64(iou_threshold)  # the comparison must not round it to float32
    alive = np.ones(len(boxes), dtype=bool)
    keep = []
    for i in range(len(boxes)):
        if alive[i]:
            keep.append(i)
            alive[i + 1 :] &= ~(box_iou(boxes[i : i + 1], boxes[i + 1 :])[0] > threshold)
    return order[keep]


def xyxy_to_xywh(boxes: np.ndarray) -> np.ndarray:
    """(..., 4) x0, y0, x1, y1 -> x0, y0, x1 - x0, y1 - y0"""
    return np.concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], axis=-1)


def near_crop_edge(boxes: np.ndarray, crop_box: list[int], image_box: list[int], tolerance: float = 20.0) -> np.ndarray:
    """Which boxes come within ``tolerance`` pixels of a crop edge that is not an image edge: probably cut objects.

    boxes: (N, 4) XYXY in pixels of the crop; crop_box, image_box: XYXY in pixels of the image
    returns: (N,) bool
    """
    boxes = uncrop_boxes(boxes, crop_box)
    near_crop = np.abs(boxes - np.asarray(crop_box)) <= tolerance
    near_image = np.abs(boxes - np.asarray(image_box)) <= tolerance
    return (near_crop & ~near_image).any(axis=-1)


def uncrop_boxes(boxes: np.ndarray, crop_box: list[int]) -> np.ndarray:
    """(..., 4) XYXY in pixels of the crop -> in pixels of the image"""
    x0, y0 = crop_box[:2]
    return boxes + np.asarray([x0, y0, x0, y0])


def uncrop_points(points: np.ndarray, crop_box: list[int]) -> np.ndarray:
    """(..., 2) x, y in pixels of the crop -> in pixels of the image"""
    return points + np.asarray(crop_box[:2])


def uncrop_masks(masks: np.ndarray, crop_box: list[int], size: tuple[int, int]) -> np.ndarray:
    """Masks of a crop (..., h, w) -> of the whole image of ``size`` (H, W), False outside the crop"""
    x0, y0, x1, y1 = crop_box
    out = np.zeros((*masks.shape[:-2], *size), dtype=masks.dtype)
    out[..., y0:y1, x0:x1] = masks
    return out
