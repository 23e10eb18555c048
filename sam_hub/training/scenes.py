"""Synthetic scenes: whole objects of several sources pasted onto one photo, with their parts as objects too."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from ..data.sa1b import Sample, decode_segmentation
from ..errors import DataError
from ..ops.masks import mask_to_rle

SMALLEST = 12
"""Minimum length of a pasted object's longer side, in pixels."""

TRIES = 30


class Cutout(NamedTuple):
    """A whole object, cut out.

    image: (h, w, 3) uint8; masks: (h, w) bool: the object first, then the parts inside it
    """

    image: np.ndarray
    masks: list[np.ndarray]


class SceneDataset(Sequence):
    """Scenes of objects of several sources, each a pure function of (seed, number).

    Objects lie anywhere, over each other, at sizes from 12 pixels to the whole photo; they cast shadows, and may be
    blurred or matched to the brightness around them. The background's own objects are not annotated.

    datasets, shares: where backgrounds and objects come from, and how often; wholes: of each data set, whether all
        objects of an image are one (the garments of a person)
    side: of the scene's longer side, in pixels, at most
    """

    name = "scenes"

    def __init__(
        self,
        datasets: Sequence[Sequence],
        shares: Sequence[float],
        wholes: Sequence[bool],
        count: int = 100_000,
        seed: int = 0,
        side: int = 640,
    ) -> None:
        self.datasets, self.wholes = list(datasets), list(wholes)
        self.shares = np.array(shares, float) / sum(shares)
        self.count, self.seed, self.side = count, seed, side

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Sample:
        if not 0 <= number < self.count:
            raise IndexError(number)
        rng = np.random.default_rng([self.seed, number, 1])
        canvas = self._background(rng)
        layers: list[np.ndarray] = []  # masks of each pasted object and its parts, (H, W) bool
        sizes = np.sort(np.exp(rng.uniform(np.log(SMALLEST), np.log(self.side), int(rng.integers(2, 11)))))[::-1]
        for size in sizes:
            if cutout := self._cutout(rng):
                canvas, layers = paste(canvas, layers, fitted(cutout, float(size), rng), rng)
        annotations = []
        for mask in layers:
            area = int(mask.sum())
            if area >= SMALLEST:
                x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
                row = {"segmentation": mask_to_rle(mask), "bbox": [x, y, w, h], "area": area, "id": len(annotations)}
                annotations.append(row)
        return Sample(f"scene {number}", canvas, annotations)

    def _sample(self, rng: np.random.Generator) -> tuple[int, Sample] | None:
        which = int(rng.choice(len(self.datasets), p=self.shares))
        try:
            return which, self.datasets[which][int(rng.integers(len(self.datasets[which])))]
        except DataError:
            return None

    def _background(self, rng: np.random.Generator) -> np.ndarray:
        """A part of a photo, sometimes out of focus: (H, W, 3) uint8."""
        for _ in range(TRIES):
            found = self._sample(rng)
            if found is None:
                continue
            image = found[1].image
            h, w = image.shape[:2]
            part = rng.uniform(0.5, 1.0)
            top, left = int(rng.uniform(0, h * (1 - part))), int(rng.uniform(0, w * (1 - part)))
            image = image[top : top + max(1, int(h * part)), left : left + max(1, int(w * part))]
            scale = self.side / max(image.shape[:2])
            shape = [max(32, round(n * scale)) for n in image.shape[1::-1]]
            image = cv2.resize(image, shape, interpolation=cv2.INTER_LINEAR)
            if rng.random() < 0.4:
                image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(1, 4)))
            return image.copy()
        raise DataError("no image could be read for the background of a scene")

    def _cutout(self, rng: np.random.Generator) -> Cutout | None:
        """An object not cut by the border of its photo, with the parts inside it."""
        for _ in range(TRIES):
            found = self._sample(rng)
            if found is None or not found[1].annotations:
                continue
            which, sample = found
            size = sample.image.shape[:2]
            masks = [decode_segmentation(a["segmentation"], size, sample.name) for a in sample.annotations[:40]]
            whole = np.logical_or.reduce(masks) if self.wholes[which] else masks[int(rng.integers(len(masks)))]
            x, y, w, h = cv2.boundingRect(whole.astype(np.uint8))
            touches = x <= 1 or y <= 1 or x + w >= size[1] - 1 or y + h >= size[0] - 1
            if max(w, h) < 24 or whole.sum() < 0.1 * w * h or (touches and not self.wholes[which]):
                continue
            here = np.s_[y : y + h, x : x + w]
            parts = [m for m in masks if m is not whole and 0 < m.sum() < 0.9 * whole.sum()]
            parts = [m[here] for m in parts if (m & whole).sum() >= 0.9 * m.sum()]
            return Cutout(sample.image[here], [whole[here], *parts[:4]])
        return None


def fitted(cutout: Cutout, longest: float, rng: np.random.Generator) -> Cutout:
    """Resize to a longer side of ``longest`` pixels, at most twice the original; rotate slightly, mirror at random."""
    image, masks = cutout
    scale = min(longest / max(image.shape[:2]), 2.0)
    shape = [max(1, round(n * scale)) for n in image.shape[1::-1]]
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    stack = [cv2.resize(m.astype(np.float32), shape, interpolation=how) for m in masks]
    image = cv2.resize(image, shape, interpolation=how)
    if rng.random() < 0.3:
        image, stack = turned(image, stack, float(rng.uniform(-40, 40)))
    if rng.random() < 0.5:
        image, stack = image[:, ::-1], [m[:, ::-1] for m in stack]
    return Cutout(image, stack)


def turned(image: np.ndarray, masks: list[np.ndarray], degrees: float) -> tuple[np.ndarray, list[np.ndarray]]:
    """Rotate image and masks about the centre, in a frame that holds all of them."""
    h, w = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((w / 2, h / 2), degrees, 1.0)
    cos, sin = abs(matrix[0, 0]), abs(matrix[0, 1])
    size = max(1, round(h * sin + w * cos)), max(1, round(h * cos + w * sin))
    matrix[:, 2] += size[0] / 2 - w / 2, size[1] / 2 - h / 2
    image = cv2.warpAffine(image, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    return image, [cv2.warpAffine(m, matrix, size) for m in masks]


def _place(side: int, room: int, rng: np.random.Generator) -> int:
    """A random start at which at most a quarter sticks out at either end, or at both if it is too long."""
    return int(rng.uniform(*sorted((-side / 4, room - 3 * side / 4))))


def paste(
    canvas: np.ndarray, layers: list[np.ndarray], cutout: Cutout, rng: np.random.Generator
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Paste an object into a scene, with its centre anywhere inside.

    cutout: its masks are soft, (h, w) float32
    returns: the scene, and all masks, without the parts that the new object hides
    """
    height, width = canvas.shape[:2]
    image, masks = cutout
    h, w = image.shape[:2]
    top, left = _place(h, height, rng), _place(w, width, rng)
    y0, x0, y1, x1 = max(0, top), max(0, left), min(height, top + h), min(width, left + w)
    if y1 - y0 < 2 or x1 - x0 < 2:
        return canvas, layers
    here, there = np.s_[y0:y1, x0:x1], np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
    alpha = np.zeros((height, width), np.float32)
    alpha[here] = masks[0][there]
    solid = alpha >= 0.5
    if solid.sum() < SMALLEST:
        return canvas, layers
    scene = canvas.astype(np.float32)
    if rng.random() < 0.5:
        scene *= 1 - shadow(alpha, max(h, w), rng)[..., None]
    source = image[there].astype(np.float32)
    if rng.random() < 0.6:  # partly matched to the surrounding brightness
        around = canvas[here].mean() - source.mean()
        source = source + rng.uniform(0.2, 0.8) * around
    if rng.random() < 0.2 and max(h, w) > 40:
        sigma = float(rng.uniform(0.8, 2.5))
        source, alpha = cv2.GaussianBlur(source, (0, 0), sigma), cv2.GaussianBlur(alpha, (0, 0), sigma)
    else:
        alpha = cv2.GaussianBlur(alpha, (0, 0), 0.6)
    soft = alpha[here][..., None]
    scene[here] = scene[here] * (1 - soft) + source * soft
    layers = [layer & ~solid for layer in layers] + [solid]
    for part in masks[1:]:
        mask = np.zeros((height, width), bool)
        mask[here] = part[there] >= 0.5
        layers.append(mask & solid)
    return np.clip(scene, 0, 255).astype(np.uint8), layers


def shadow(alpha: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Darkening of a scene by an object's shadow, (H, W) float32 in [0, 1]."""
    offset = rng.uniform(-0.2, 0.2) * size, rng.uniform(0.0, 0.2) * size
    moved = cv2.warpAffine(alpha, np.float32([[1, 0, offset[0]], [0, 1, offset[1]]]), alpha.shape[::-1])
    return rng.uniform(0.2, 0.6) * cv2.GaussianBlur(moved, (0, 0), max(1.0, 0.06 * size))
