"""Edges from the masks of a grid of clicks (paper, section 7.2 and appendix D.2), and two classical detectors."""

from dataclasses import dataclass

import cv2
import numpy as np

from ..inference.image_predictor import ImagePredictor
from ..inference.upsample import Upsampler
from ..ops.boxes import nms
from ..ops.crops import point_grid
from ..ops.masks import mask_to_box

CANNY_LEVELS = 40
SMOOTHING = 2.0
"""Sigma, in pixels, of the Gaussian filter before Sobel and Canny, and before computing an edge map's curvature."""


@dataclass(frozen=True)
class EdgeSettings:
    """Settings of the edge maps; the defaults are the paper's.

    points_per_side: of the grid; 16 gives 256 clicks and 768 masks, which are not filtered by score
    box_nms_thresh: IoU threshold of NMS on the masks' boxes, which keeps the higher predicted IoU
    batch: clicks decoded at once
    """

    points_per_side: int = 16
    box_nms_thresh: float = 0.7
    batch: int = 64


def model_edges(
    predictor: ImagePredictor, image: np.ndarray, settings: EdgeSettings = EdgeSettings()
) -> tuple[np.ndarray, int]:
    """Edge strength, (H, W) float32 in [0, 1], after edge NMS, and the number of masks used.

    image: (H, W, 3) uint8
    """
    predictor.set_image(image)
    height, width = image.shape[:2]
    points = point_grid(settings.points_per_side) * [width, height]
    upsampler, candidates, boxes, scores = None, [], [], []
    for start in range(0, len(points), settings.batch):
        iou, which, low_res = predictor.click_each(points[start : start + settings.batch], _all_masks)
        upsampler = upsampler or Upsampler(low_res.shape[-2:], predictor.mask_frame)
        for (i, j), logits in zip(which, low_res, strict=True):
            window = _window(upsampler, logits)
            if window is None:
                continue
            around = logits[upsampler.margin(window)].copy()
            probability, (x, y) = _probability(upsampler, around, window)
            if (probability > 0.5).any():
                candidates.append((around, window))
                boxes.append(mask_to_box(probability > 0.5) + np.array([x, y, x, y]))
                scores.append(float(iou[i, j]))
    strength = np.zeros((height, width), np.float32)
    if not candidates:
        return strength, 0
    kept = nms(np.array(boxes, np.float32), np.array(scores, np.float32), settings.box_nms_thresh)
    for k in kept:
        probability, (x, y) = _probability(upsampler, *candidates[k])  # recomputed, as storing all would take gigabytes
        h, w = probability.shape
        here = strength[y : y + h, x : x + w]
        np.maximum(here, mask_edges(probability), out=here)
    return suppress(scaled(strength)), len(kept)


def _all_masks(iou: np.ndarray) -> np.ndarray:
    return np.ones(iou.shape, bool)


def _window(upsampler: Upsampler, logits: np.ndarray) -> tuple[slice, slice] | None:
    """The low-res rows and columns of a mask with a margin; None for an empty mask.

    The margin covers at least two image pixels, inside the image, so that Sobel's result near the mask equals that of
    the whole map.
    """
    window = upsampler.window(logits, 0.0)
    if window is None:
        return None
    wider = []
    for part, seen, pixels in zip(window, upsampler.visible, upsampler.frame.original_size, strict=True):
        more = 1 + int(np.ceil(3 * seen / pixels))
        wider.append(slice(max(0, part.start - more), min(seen, part.stop + more)))
    return tuple(wider)


def _probability(
    upsampler: Upsampler, around: np.ndarray, window: tuple[slice, slice]
) -> tuple[np.ndarray, tuple[int, int]]:
    """The probability map of a window, (h, w) float32, and the x, y of its first pixel; around: its margin's logits."""
    logits, place = upsampler(around, window)
    return 1 / (1 + np.exp(-logits.clip(-50, 50))), place


def mask_edges(probability: np.ndarray) -> np.ndarray:
    """Sobel's gradient of an unthresholded mask on the mask's outer boundary, 0 elsewhere.

    probability: (h, w) float32
    returns: (h, w) float32; the outer boundary consists of the 8-neighbours outside the mask (probability > 0.5)
    """
    mask = (probability > 0.5).astype(np.uint8)
    outer = (cv2.dilate(mask, np.ones((3, 3), np.uint8)) > 0) & (mask == 0)
    return np.where(outer, gradient(probability), np.float32(0))


def gradient(values: np.ndarray) -> np.ndarray:
    """Magnitude of Sobel's gradient, per pixel, with replicated borders: (H, W) -> (H, W) float32."""
    values = values.astype(np.float32)
    dx, dy = (
        cv2.Sobel(values, cv2.CV_32F, *order, ksize=3, scale=1 / 8, borderType=cv2.BORDER_REPLICATE)
        for order in ((1, 0), (0, 1))
    )
    return np.hypot(dx, dy)


def scaled(strength: np.ndarray) -> np.ndarray:
    """Scale linearly to [0, 1]; a constant map becomes 0."""
    low, high = float(strength.min()), float(strength.max())
    return (strength - low) / (high - low) if high > low else np.zeros_like(strength)


def suppress(strength: np.ndarray) -> np.ndarray:
    """Edge NMS (Canny 1986): keep pixels that are not below their neighbours across the edge, and set the others to 0.

    The direction across the edge is that of the strongest curvature of the smoothed map; the neighbours, one pixel away
    on both sides, are interpolated.
    strength: (H, W) float32
    """
    smooth = cv2.GaussianBlur(strength.astype(np.float32), (0, 0), SMOOTHING, borderType=cv2.BORDER_REPLICATE)
    dxx, dyy, dxy = (
        cv2.Sobel(smooth, cv2.CV_32F, *order, ksize=5, borderType=cv2.BORDER_REPLICATE)
        for order in ((2, 0), (0, 2), (1, 1))
    )
    # The Hessian's eigenvector with the eigenvalue of larger magnitude: the upper one if the trace is positive.
    angle = 0.5 * np.arctan2(2 * dxy, dxx - dyy) + np.where(dxx + dyy > 0, 0, np.pi / 2)
    across_x, across_y = np.cos(angle), np.sin(angle)
    y, x = np.mgrid[: strength.shape[0], : strength.shape[1]].astype(np.float32)
    kept = strength > 0
    for side in (-1, 1):
        beside = cv2.remap(
            strength.astype(np.float32),
            (x + side * across_x).astype(np.float32),
            (y + side * across_y).astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=0,
        )
        kept &= strength * np.float32(1.01) >= beside
    return np.where(kept, strength, np.float32(0))


def _grey(image: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), SMOOTHING)


def sobel_edges(image: np.ndarray) -> np.ndarray:
    """Sobel's gradient of the smoothed grey image, after edge NMS: (H, W, 3) uint8 -> (H, W) float32 in [0, 1]."""
    return suppress(scaled(gradient(_grey(image))))


def canny_edges(image: np.ndarray) -> np.ndarray:
    """For each pixel, the highest of `CANNY_LEVELS` at which OpenCV's Canny marks it, divided by the largest level.

    image: (H, W, 3) uint8; the lower of Canny's two thresholds is 0.4 of the higher
    returns: (H, W) float32 in [0, 1]
    """
    grey = _grey(image)
    strength = np.zeros(grey.shape, np.float32)
    for level in range(1, CANNY_LEVELS + 1):
        high = 400 * level / CANNY_LEVELS
        strength[cv2.Canny(grey, 0.4 * high, high, L2gradient=True) > 0] = level / CANNY_LEVELS
    return strength
