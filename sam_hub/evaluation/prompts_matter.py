"""Tests whether a model responds to its prompt: different prompts on one image must give different masks.

A model that has only learnt saliency gives the same mask for every prompt, and still scores well if each photo has one
annotated object. To detect this, two comparisons are made: a click on the object with a click beside it, and the three
masks of one click with each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..data.sa1b import Sa1bDataset
from ..errors import DataError
from ..ops.drawing import draw_masks, draw_prompts
from ..ops.geometry import resized_size, scale_boxes, scale_points
from ..ops.images import resize_longest_side
from .clicks import farthest_pixel, tight_box
from .evaluate import Protocol, read_objects
from .metrics import mask_iou
from .prompting import ask

if TYPE_CHECKING:
    from ..inference.image_predictor import ImagePredictor


@dataclass
class PromptEffect:
    """One object of a photo, and its masks from several prompts, at original resolution.

    box: x0, y0, x1, y1; click: x, y on the object; beside: x, y just outside it, also prompted with label 1
    box_mask, beside_mask: (H, W) bool; candidates: (3, H, W) bool, the click's masks; scores: (3,) predicted IoU
    """

    name: str
    image: np.ndarray
    truth: np.ndarray
    box: tuple[int, int, int, int]
    click: tuple[int, int]
    beside: tuple[int, int]
    box_mask: np.ndarray
    beside_mask: np.ndarray
    candidates: np.ndarray
    scores: np.ndarray

    @property
    def click_mask(self) -> np.ndarray:
        """The click's mask with the highest predicted IoU."""
        return self.candidates[self.scores.argmax()]

    @property
    def click_beside_iou(self) -> float:
        """IoU of the masks of the two clicks: low if the position of a click matters."""
        return float(mask_iou(self.click_mask, self.beside_mask))

    @property
    def candidates_iou(self) -> float:
        """Mean pairwise IoU of the three masks: low if they differ."""
        return float(np.mean([mask_iou(a, b) for a, b in combinations(self.candidates, 2)]))


def pixel_beside(mask: np.ndarray) -> tuple[int, int] | None:
    """The pixel outside an object, at most half its size away, that is farthest from any boundary; x, y.

    mask: (H, W) bool; returns None if there is no such pixel
    """
    x0, y0, x1, y1 = tight_box(mask)
    dx, dy = (x1 - x0 + 1) // 2, (y1 - y0 + 1) // 2
    near = np.zeros_like(mask)
    near[max(0, y0 - dy) : y1 + dy, max(0, x0 - dx) : x1 + dx] = True
    outside = near & ~mask
    return farthest_pixel(outside) if outside.any() else None


def prompt_effect(predictor: "ImagePredictor", name: str, image: np.ndarray, truth: np.ndarray) -> PromptEffect | None:
    """Prompt one object of an image, (H, W, 3) uint8 and (H, W) bool; None if it fills the image."""
    beside = pixel_beside(truth)
    if beside is None:
        return None
    predictor.set_image(image)
    click, box = farthest_pixel(truth), tight_box(truth)
    clicked = ask(predictor, np.array([[click], [beside]]), np.ones((2, 1), np.int64), multimask=True)
    boxed = ask(predictor, boxes=np.array([box]))
    return PromptEffect(
        name, image, truth, box, click, beside,
        box_mask=boxed.masks[0, 0],
        beside_mask=clicked.masks[1, clicked.best()[1]],
        candidates=clicked.masks[0],
        scores=clicked.scores[0],
    )  # fmt: skip


def prompt_effects(predictor: "ImagePredictor", dataset: Sa1bDataset, photos: int, seed: int = 0) -> list[PromptEffect]:
    """`prompt_effect` of one object in each of ``photos`` random images of a shard; damaged images are skipped."""
    protocol = Protocol(seed, limit=photos, max_objects=1)
    effects = []
    for index in protocol.images(len(dataset)):
        try:
            sample, masks = read_objects(dataset, index, protocol)
        except DataError:
            continue
        found = [prompt_effect(predictor, sample.name, sample.image, mask) for mask in masks if mask.any()]
        effects += [effect for effect in found if effect is not None]
    return effects


def summarise_effects(effects: Sequence[PromptEffect]) -> dict[str, float | int | None]:
    """The means of both IoUs; lower means that prompts matter more."""
    return {
        "photos": len(effects),
        "click_beside_iou": float(np.mean([e.click_beside_iou for e in effects])) if effects else None,
        "candidates_iou": float(np.mean([e.candidates_iou for e in effects])) if effects else None,
    }


def draw_grid(effects: Sequence[PromptEffect], side: int = 240) -> np.ndarray:
    """One row per effect: the photo with prompts, masks from box, click and click beside, the click's three masks.

    side: longest side of each image, in pixels
    returns: (H, W, 3) uint8
    """
    margin = 18  # for the caption above each image
    lines = [_tiles(effect, side) for effect in effects]
    heights = [margin + line[0][1].shape[0] for line in lines]
    columns = max(map(len, lines), default=1)
    sheet = Image.new("RGB", (columns * side, max(1, sum(heights))), "white")
    write, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for row, line in enumerate(lines):
        top = sum(heights[:row])
        for column, (words, picture) in enumerate(line):
            write.text((column * side + 3, top + 1), words, fill="black", font=font)
            sheet.paste(Image.fromarray(picture), (column * side, top + margin))
    return np.array(sheet)


def _tiles(e: PromptEffect, side: int) -> list[tuple[str, np.ndarray]]:
    """Caption and image, (h, w, 3) uint8, for each column."""
    size = e.image.shape[:2]
    small = resized_size(size, side)
    photo = resize_longest_side(e.image, side)

    def tile(masks: Sequence[np.ndarray], clicks: Sequence[tuple[int, int]], boxes: Sequence[Sequence[int]]):
        masks = [cv2.resize(m.astype(np.uint8), small[::-1], interpolation=cv2.INTER_NEAREST) > 0 for m in masks]
        points = scale_points(np.reshape(clicks, (-1, 2)), size, small)
        return draw_prompts(draw_masks(photo, masks), points, np.ones(len(points)), scale_boxes(boxes, size, small))

    no_box = np.zeros((0, 4))
    return [
        (e.name, tile([], [e.click, e.beside], [e.box])),
        (f"box: IoU {mask_iou(e.box_mask, e.truth):.2f}", tile([e.box_mask], [], [e.box])),
        (f"click: IoU {mask_iou(e.click_mask, e.truth):.2f}", tile([e.click_mask], [e.click], no_box)),
        (f"click beside: {e.click_beside_iou:.2f} with click", tile([e.beside_mask], [e.beside], no_box)),
        *(
            (f"mask {k}: predicted {score:.2f}", tile([mask], [e.click], no_box))
            for k, (mask, score) in enumerate(zip(e.candidates, e.scores, strict=True), start=1)
        ),
    ]
