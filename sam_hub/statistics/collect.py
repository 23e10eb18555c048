"""Statistics of a data set: fixed-size histograms and a bounded sample, for any number of masks.

Collections of parts can be merged in any order: the sample consists of the masks with the smallest pseudo-random keys,
which depend only on the image's name and the mask's number.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import DataError
from ..ops.run_lengths import rle_counts
from .shapes import Shapes, measure_shapes
from .sources import ImageMasks

BATCH = 1024
"""Masks measured at once."""
SIZE_BINS = 50
"""Of relative mask size, sqrt(mask area / image area), over [0, 1]."""
MAP_SIDE = 48
"""Cells along each side of the map of mask centres."""
MOST_MASKS = 2000
"""Images with more masks are counted together."""
SIDE_BIN = 64
"""Pixels: sides of images are counted in steps of this."""
SAMPLE_BINS, SAMPLE = 10, 100
"""Concavity: bins of relative size, and masks that are looked at in each (paper: stratified sampling by size)."""
PROBLEMS = 20
"""Number of damaged masks that are named; the others are only counted."""


@dataclass
class Collection:
    """Counts of one data set.

    masks_per_image: images by number of masks; relative_size: masks by `SIZE_BINS`; centers: masks by cell, row by row
    sides: images by "width x height" in steps of `SIDE_BIN`
    sample: for each bin of size the (key, concavity) of its sampled masks
    """

    images: int = 0
    masks: int = 0
    empty: int = 0
    damaged: int = 0
    problems: list[str] = field(default_factory=list)
    masks_per_image: np.ndarray = field(default_factory=lambda: np.zeros(MOST_MASKS + 1, np.int64))
    relative_size: np.ndarray = field(default_factory=lambda: np.zeros(SIZE_BINS, np.int64))
    centers: np.ndarray = field(default_factory=lambda: np.zeros(MAP_SIDE * MAP_SIDE, np.int64))
    sides: dict[str, int] = field(default_factory=dict)
    sample: list[list[tuple[int, float]]] = field(default_factory=lambda: [[] for _ in range(SAMPLE_BINS)])

    def add(self, images: Iterable[ImageMasks]) -> None:
        """Add images, in batches."""
        batch: list[ImageMasks] = []
        waiting = 0
        for image in images:
            batch.append(image)
            waiting += len(image.masks)
            if waiting >= BATCH or len(batch) >= BATCH:
                self._count(batch)
                batch, waiting = [], 0
        self._count(batch)

    def merge(self, other: "Collection") -> None:
        """Add the counts of another collection."""
        for name in ("images", "masks", "empty", "damaged"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("masks_per_image", "relative_size", "centers"):
            getattr(self, name)[:] += getattr(other, name)
        for key, count in other.sides.items():
            self.sides[key] = self.sides.get(key, 0) + count
        self.problems = sorted([*self.problems, *other.problems])[:PROBLEMS]
        self.sample = [sorted([*a, *b])[:SAMPLE] for a, b in zip(self.sample, other.sample, strict=True)]

    def as_json(self) -> dict[str, Any]:
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Collection":
        found = cls(**{k: v for k, v in values.items() if k not in ("masks_per_image", "relative_size", "centers")})
        for name in ("masks_per_image", "relative_size", "centers"):
            setattr(found, name, np.array(values[name], np.int64))
        found.sample = [[(int(key), float(value)) for key, value in part] for part in values["sample"]]
        return found

    # ------------------------------------------------------------ counting

    def _count(self, batch: list[ImageMasks]) -> None:
        for image in batch:
            self._tell(image.problems)
        masks = [(image, rle) for image in batch for rle in image.masks]
        try:
            shapes = measure_shapes([rle for _, rle in masks], [image.size or (0, 0) for image, _ in masks])
        except (DataError, KeyError, TypeError, ValueError):
            for image in batch:
                _keep_sound(image, self._tell)
            masks = [(image, rle) for image in batch for rle in image.masks]
            shapes = measure_shapes([rle for _, rle in masks], [image.size or (0, 0) for image, _ in masks])
        counts = [len(image.masks) for image in batch]
        for image, count in zip(batch, counts, strict=True):
            if image.size is None and not image.masks:  # nothing is known of it
                continue
            self.images += 1
            self.masks_per_image[min(count, MOST_MASKS)] += 1
            height, width = image.size
            key = f"{width // SIDE_BIN * SIDE_BIN}x{height // SIDE_BIN * SIDE_BIN}"
            self.sides[key] = self.sides.get(key, 0) + 1
        self._measure(batch, counts, shapes)

    def _measure(self, batch: list[ImageMasks], counts: list[int], shapes: Shapes) -> None:
        filled = np.flatnonzero(shapes.area)
        self.masks += len(filled)
        self.empty += len(shapes.area) - len(filled)
        if not len(filled):
            return
        sizes = np.repeat(np.array([image.size or (0, 0) for image in batch], np.float64), counts, axis=0)[filled]
        relative = np.sqrt(shapes.area[filled] / sizes.prod(1))
        bins = np.minimum((relative * SIZE_BINS).astype(int), SIZE_BINS - 1)
        self.relative_size += np.bincount(bins, minlength=SIZE_BINS)
        x, y = (shapes.center[filled].T + 0.5) / sizes.T[::-1]
        cell = np.minimum((y * MAP_SIDE).astype(int), MAP_SIDE - 1) * MAP_SIDE
        cell += np.minimum((x * MAP_SIDE).astype(int), MAP_SIDE - 1)
        self.centers += np.bincount(cell, minlength=MAP_SIDE * MAP_SIDE)
        self._draw(_keys(batch, counts)[filled], relative, filled, shapes)

    def _draw(self, keys: np.ndarray, relative: np.ndarray, filled: np.ndarray, shapes: Shapes) -> None:
        """Keep the masks with the smallest keys; hulls are only computed for those."""
        bins = np.minimum((relative * SAMPLE_BINS).astype(int), SAMPLE_BINS - 1)
        for k in np.unique(bins):
            held = self.sample[k]
            limit = held[-1][0] if len(held) >= SAMPLE else None
            mine = np.flatnonzero(bins == k)
            mine = mine[np.argsort(keys[mine], kind="stable")][:SAMPLE]
            new = [
                (int(keys[i]), 1 - float(shapes.area[filled[i]]) / shapes.hull_area(int(filled[i])))
                for i in mine
                if limit is None or keys[i] < limit
            ]
            if new:
                self.sample[k] = sorted([*held, *new])[:SAMPLE]

    def _tell(self, problems: list[str]) -> None:
        self.damaged += len(problems)
        if problems:
            self.problems = sorted([*self.problems, *problems])[:PROBLEMS]


def _keep_sound(image: ImageMasks, tell: Any) -> None:
    """Skip an image's damaged masks, and name them."""
    sound, ids = [], []
    for rle, key in zip(image.masks, image.ids, strict=True):
        try:
            rle_counts(rle, image.size)
        except DataError as e:
            tell([f"{image.name}: {e}"])
        else:
            sound.append(rle)
            ids.append(key)
    image.masks, image.ids = sound, ids


def _keys(batch: list[ImageMasks], counts: list[int]) -> np.ndarray:
    """A pseudo-random number of 63 bits for each mask (splitmix64 of the image's name and the mask's number)."""
    names = (image.name.encode(errors="surrogateescape") for image in batch)
    seeds = [int.from_bytes(hashlib.blake2b(name, digest_size=8).digest()) for name in names]
    offsets = np.concatenate([np.arange(count, dtype=np.uint64) for count in counts] or [np.empty(0, np.uint64)])
    z = np.repeat(np.array(seeds, np.uint64), counts) + (offsets + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(1)).astype(np.int64)
