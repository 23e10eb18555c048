"""Prompts for many objects of one image at once, in original pixels, through any `ImagePredictor`."""

from dataclasses import dataclass

import numpy as np

from ..inference.image_predictor import ImagePredictor
from ..ops.tidying import tidy as tidy_mask


@dataclass
class Answer:
    """The model's predictions for N objects.

    masks: (N, M, H, W) bool at original resolution
    scores: (N, M) float32, predicted IoU
    low_res: (N, M, h, w) float32 logits
    """

    masks: np.ndarray
    scores: np.ndarray
    low_res: np.ndarray

    def best(self) -> np.ndarray:
        """Index of the mask with the highest predicted IoU for each object: (N,)."""
        return self.scores.argmax(1)

    def choose(self, choice: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Choose one mask per object, by (N,) indices: masks (N, H, W) and low-res logits (N, 1, h, w) to feed back."""
        rows = np.arange(len(choice))
        return self.masks[rows, choice], self.low_res[rows, choice][:, None]


def ask(
    predictor: ImagePredictor,
    points: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    boxes: np.ndarray | None = None,
    mask_input: np.ndarray | None = None,
    multimask: bool = False,
    zoom: bool = False,
    tidy: float = 0.0,
) -> Answer:
    """Prompt the predictor's current image; see `ImagePredictor.predict_each`.

    zoom: predict each object with ``zoom``, see `ImagePredictor.predict`
    tidy: share of a mask's area; remove smaller specks and holes, see `ops.tidying.tidy`
    """
    count = len(points if boxes is None else boxes)
    rows = [[None if v is None else v[i] for v in (points, labels, boxes, mask_input)] for i in range(count)]
    if zoom:
        found = [predictor.predict(*row, multimask_output=multimask, zoom=True) for row in rows]
        answer = Answer(*(np.stack(parts) for parts in zip(*found, strict=True)))
    else:
        answer = Answer(*predictor.predict_each(points, labels, boxes, mask_input, multimask))
    if tidy:
        tidied = [[tidy_mask(m, tidy, *row[:2]) for m in masks] for masks, row in zip(answer.masks, rows, strict=True)]
        answer.masks = np.array(tidied).reshape(answer.masks.shape)
    return answer
