"""Synthetic grey pictures with low contrast and noise: cells with nuclei, grains, droplets, fibres and cracks."""

from collections.abc import Sequence

import cv2
import numpy as np

from ..data.sa1b import Sample
from ..ops.masks import mask_to_rle

SMALLEST = 16
MOST = 60
"""Minimum pixels of an annotated object, and maximum objects per picture."""

Drawn = tuple[np.ndarray, list[np.ndarray]]
"""A grey picture, (H, W) float32 in [0, 1], and the masks of its objects, (H, W) bool."""


class TextureDataset(Sequence):
    """Synthetic pictures, each a pure function of (seed, number); side: of the square pictures, in pixels."""

    name = "textures"

    def __init__(self, count: int = 100_000, seed: int = 0, side: int = 512) -> None:
        self.count, self.seed, self.side = count, seed, side

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Sample:
        if not 0 <= number < self.count:
            raise IndexError(number)
        rng = np.random.default_rng([self.seed, number, 2])
        for _ in range(10):
            grey, masks = KINDS[int(rng.integers(len(KINDS)))](self.side, rng)
            masks = [m for m in masks if SMALLEST <= m.sum() <= 0.6 * m.size]
            if masks:
                break
        masks = [masks[i] for i in rng.permutation(len(masks))[:MOST]]
        annotations = []
        for mask in masks:
            box = list(cv2.boundingRect(mask.astype(np.uint8)))
            row = {"segmentation": mask_to_rle(mask), "bbox": box, "area": int(mask.sum()), "id": len(annotations)}
            annotations.append(row)
        return Sample(f"texture {number}", develop(grey, rng), annotations)


def clouds(side: int, scale: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise around 0 with a deviation of about 1; ``scale`` pixels from one bump to the next."""
    small = max(2, round(side / scale) + 2)
    return cv2.resize(rng.normal(0, 1, (small, small)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)


def develop(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Uneven light, low contrast, blur, noise, perhaps inverted and tinted: (H, W) float32 -> (H, W, 3) uint8."""
    side = grey.shape[0]
    x = cv2.GaussianBlur(grey, (0, 0), float(rng.uniform(0.4, 1.6)))
    x = x + rng.uniform(0, 0.12) * clouds(side, side / 2, rng) + rng.uniform(0, 0.06) * clouds(side, 12, rng)
    contrast = rng.uniform(0.25, 0.9)
    x = rng.uniform(0.05, 0.95 - 0.8 * contrast) + contrast * x
    x = x + rng.normal(0, rng.uniform(0.005, 0.07), x.shape)
    x = np.clip(x, 0, 1)
    if rng.random() < 0.4:
        x = 1 - x
    tint = np.ones(3) if rng.random() < 0.6 else rng.uniform(0.55, 1.0, 3)
    return np.clip(255 * x[..., None] * tint, 0, 255).astype(np.uint8)


def regions(side: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Divide the picture into ``count`` cells with wavy borders: (side, side) int32 labels from 0."""
    step = 4
    small = side // step
    y, x = np.mgrid[:small, :small].astype(np.float32)
    wave = small / count**0.5 * 0.25
    x, y = x + wave * clouds(small, small / 8, rng), y + wave * clouds(small, small / 8, rng)
    seeds = rng.uniform(0, small, (count, 2))
    distance = np.stack([(x - a) ** 2 + (y - b) ** 2 for a, b in seeds])
    enlarged = [cv2.resize(d, (side, side), interpolation=cv2.INTER_LINEAR) for d in distance]
    return np.argmin(enlarged, axis=0).astype(np.int32)


def borders(labels: np.ndarray, thickness: int) -> np.ndarray:
    """Where neighbouring labels differ, ``thickness`` pixels wide: (H, W) bool."""
    edge = np.zeros(labels.shape, np.uint8)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    return cv2.dilate(edge, np.ones((thickness, thickness), np.uint8)) > 0


def cells(side: int, rng: np.random.Generator) -> Drawn:
    """Touching cells with drawn membranes; most have a nucleus, which is an object inside an object."""
    labels = regions(side, int(rng.integers(6, 50)), rng)
    membrane = borders(labels, int(rng.integers(1, 6)))
    grey, masks = 0.45 + np.zeros((side, side), np.float32), []
    inner = rng.uniform(-0.25, 0.25)
    for k in np.unique(labels):
        cell = (labels == k) & ~membrane
        if not cell.any():
            continue
        grey[cell] += rng.normal(0, 0.05)
        masks.append(cell)
        if rng.random() < 0.8:
            depth = cv2.distanceTransform(cell.astype(np.uint8), cv2.DIST_L2, 3)
            y, x = np.unravel_index(int(depth.argmax()), depth.shape)
            nucleus = ellipse(side, (x, y), depth.max() * rng.uniform(0.3, 0.65), rng)
            nucleus &= cell
            grey[nucleus] += inner
            masks.append(nucleus)
    grey[membrane] += rng.choice([-1, 1]) * rng.uniform(0.1, 0.4)
    return grey, masks


def grains(side: int, rng: np.random.Generator) -> Drawn:
    """Grains of a metal or a stone, each with its own grey level, with or without lines between them."""
    labels = regions(side, int(rng.integers(8, 60)), rng)
    levels = rng.uniform(0.2, 0.8, labels.max() + 1).astype(np.float32)
    grey = levels[labels]
    edge = borders(labels, int(rng.integers(1, 4)))
    if rng.random() < 0.7:
        grey[edge] = rng.choice([0.05, 0.95])
    return grey, [(labels == k) & ~edge for k in np.unique(labels)]


def ellipse(side: int, centre: tuple[float, float], radius: float, rng: np.random.Generator) -> np.ndarray:
    """A dented ellipse: (side, side) bool."""
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    r = radius * (1 + 0.08 * np.sin(int(rng.integers(2, 5)) * angle + rng.uniform(0, 6)))
    a, b, turn = 1.0, rng.uniform(0.55, 1.0), rng.uniform(0, np.pi)
    x, y = a * r * np.cos(angle), b * r * np.sin(angle)
    points = np.stack(
        [centre[0] + x * np.cos(turn) - y * np.sin(turn), centre[1] + x * np.sin(turn) + y * np.cos(turn)]
    )
    mask = np.zeros((side, side), np.uint8)
    cv2.fillPoly(mask, [np.round(points.T).astype(np.int32)], 1)
    return mask > 0


def droplets(side: int, rng: np.random.Generator) -> Drawn:
    """Round objects of one kind, touching or overlapping, with rims and highlights."""
    grey, masks = 0.5 + np.zeros((side, side), np.float32), []
    usual, spread = np.exp(rng.uniform(np.log(5), np.log(70))), rng.uniform(0.05, 0.5)
    body, rim = rng.uniform(-0.3, 0.3), rng.uniform(-0.35, 0.35)
    for _ in range(int(rng.integers(5, 60))):
        mask = ellipse(side, rng.uniform(0, side, 2), usual * np.exp(rng.normal(0, spread)), rng)
        masks = [m & ~mask for m in masks] + [mask]
        inside = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=int(rng.integers(1, 4))) > 0
        grey[mask] = 0.5 + rim
        grey[inside] = 0.5 + body + rng.normal(0, 0.03)
    return grey, masks


def line(side: int, start: np.ndarray, angle: float, length: int, bend: float, width: float, rng) -> np.ndarray:
    """A wandering stroke that grows thinner: (side, side) bool."""
    mask, at = np.zeros((side, side), np.uint8), start.astype(float)
    for step in range(length):
        angle += rng.normal(0, bend)
        after = at + 4 * np.array([np.cos(angle), np.sin(angle)])
        thick = max(1, round(width * (1 - 0.5 * step / length)))
        cv2.line(mask, tuple(np.int32(np.round(at)).tolist()), tuple(np.int32(np.round(after)).tolist()), 1, thick)
        at = after
    return mask > 0


def fibres(side: int, rng: np.random.Generator) -> Drawn:
    """Long, thin, crossing objects."""
    grey, masks = 0.5 + np.zeros((side, side), np.float32), []
    width, bend, level = rng.uniform(2, 14), rng.uniform(0, 0.12), rng.uniform(0.15, 0.4) * rng.choice([-1, 1])
    for _ in range(int(rng.integers(3, 18))):
        start, angle = rng.uniform(0, side, 2), rng.uniform(0, 2 * np.pi)
        mask = line(side, start, angle, int(rng.integers(20, 160)), bend, width * rng.uniform(0.7, 1.3), rng)
        masks = [m & ~mask for m in masks] + [mask]
        edge = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        grey[edge] = 0.5 - 0.5 * level
        grey[mask] = 0.5 + level + rng.normal(0, 0.04)
    return grey, masks


def cracks(side: int, rng: np.random.Generator) -> Drawn:
    """Branching lines: a whole network is one object, as a street or a vein is."""
    grey, masks = 0.5 + 0.1 * clouds(side, 6, rng), []
    depth = rng.uniform(0.15, 0.45) * rng.choice([-1, 1])
    for _ in range(int(rng.integers(1, 5))):
        whole = np.zeros((side, side), bool)
        start, angle, width = rng.uniform(0.1, 0.9, 2) * side, rng.uniform(0, 2 * np.pi), rng.uniform(2, 12)
        for branch in range(int(rng.integers(1, 7))):
            turn = 0 if branch == 0 else rng.uniform(-1.2, 1.2)
            stroke = line(side, start, angle + turn, int(rng.integers(25, 110)), 0.18, width, rng)
            whole |= stroke
            y, x = np.nonzero(whole)
            if len(x) == 0:
                break
            i = int(rng.integers(len(x)))
            start, width = np.array([x[i], y[i]]), max(1.5, 0.8 * width)
        masks = [m & ~whole for m in masks] + [whole]
        grey[whole] = 0.5 + depth
    return grey, masks


KINDS = (cells, grains, droplets, fibres, cracks)
