"""Prompts for many objects of one image at once, in original pixels, through any `SamPredictor`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from ..inference.predictor import SamPredictor


@dataclass
class Answer:
    """What the model gives for N objects.

    masks: (N, M, H, W) bool at original resolution
    scores: (N, M) float32, the predicted IoU
    low_res: (N, M, h, w) logits, on the model's device
    """

    masks: np.ndarray
    scores: np.ndarray
    low_res: Tensor

    def best(self) -> np.ndarray:
        """Index of the mask with the highest predicted IoU for each object: (N,)."""
        return self.scores.argmax(1)

    def choose(self, choice: np.ndarray) -> tuple[np.ndarray, Tensor]:
        """One mask of each object, by (N,) indices: masks (N, H, W), and low-res logits (N, 1, h, w) to feed back."""
        rows = np.arange(len(choice))
        return self.masks[rows, choice], self.low_res[rows, choice][:, None]


def ask(
    predictor: "SamPredictor",
    points: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    boxes: np.ndarray | None = None,
    mask_input: Tensor | None = None,
    multimask: bool = False,
) -> Answer:
    """Prompt the image that the predictor holds.

    points: (N, P, 2), x then y, in pixels of the original image; labels: (N, P), 1 object, 0 background
    boxes: (N, 4), x0, y0, x1, y1, in pixels of the original image
    mask_input: (N, 1, h, w) low-res logits
    """
    size = predictor.original_size
    if points is not None:
        points = torch.from_numpy(predictor.transform.apply_coords(points, size)).to(predictor.device)
        labels = torch.from_numpy(labels).to(predictor.device)
    if boxes is not None:
        boxes = torch.from_numpy(predictor.transform.apply_boxes(boxes, size)).to(predictor.device)
    masks, scores, low_res = predictor.predict_torch(points, labels, boxes, mask_input, multimask)
    return Answer(masks.cpu().numpy(), scores.cpu().numpy(), low_res)
