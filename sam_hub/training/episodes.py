"""Training samples: an augmented image with N masks, each a pure function of (seed, index)."""

from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from ..data.sa1b import Sa1bDataset, Sample, decode_segmentation
from ..errors import DataError
from .recipe import Augmentation, PocketRecipe

LOW_RES_STRIDE = 4


def jitter_colours(image: np.ndarray, augmentation: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Random brightness, contrast and saturation: (H, W, 3) uint8 -> uint8."""
    x = image.astype(np.float32)
    x *= 1 + rng.uniform(-augmentation.brightness, augmentation.brightness)
    mean = x.mean()
    x = (x - mean) * (1 + rng.uniform(-augmentation.contrast, augmentation.contrast)) + mean
    grey = x.mean(axis=2, keepdims=True)
    x = (x - grey) * (1 + rng.uniform(-augmentation.saturation, augmentation.saturation)) + grey
    return np.clip(x, 0, 255).astype(np.uint8)


class EpisodeDataset(Dataset):
    """``length`` training samples from weighted shards.

    Sample i depends on (seed, i) alone, so a resumed run sees what an undisturbed one would have seen.
    Each is ``pixel_values`` (3, S, S) float32 and ``labels`` (N, S / 4, S / 4) float32 in {0, 1}.
    """

    def __init__(
        self, root: str | Path, recipe: PocketRecipe, length: int, mean: list[float], std: list[float]
    ) -> None:
        self.recipe, self.length = recipe, length
        self.mean = np.float32(mean) * 255
        self.std = np.float32(std) * 255
        self.shards = []
        for name in recipe.shards:
            path = Path(root) / f"{name}.tar"
            self.shards.append(Sa1bDataset(path if path.exists() else Path(root) / name))
        weights = np.array(list(recipe.shards.values()))
        self.weights = weights / weights.sum()

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng([self.recipe.seed, index])
        for _ in range(50):
            shard = self.shards[rng.choice(len(self.shards), p=self.weights)]
            episode = self._episode(shard[int(rng.integers(len(shard)))], rng)
            if episode is not None:
                return episode
        raise DataError("50 samples in a row had no usable object; check the shards and min_area")

    def _episode(self, sample: Sample, rng: np.random.Generator) -> dict[str, torch.Tensor] | None:
        recipe, size = self.recipe, self.recipe.image_size
        if not sample.annotations:
            return None
        height, width = sample.image.shape[:2]
        scale = size / max(height, width) * np.exp(rng.uniform(*np.log(recipe.augmentation.scale)))
        window = min(size / scale, height), min(size / scale, width)  # the part of the photo that is seen
        # Centre the window somewhere on a random object, so that enlarged views are not empty.
        x, y, w, h = sample.annotations[int(rng.integers(len(sample.annotations)))]["bbox"]
        centre = y + rng.uniform(0, 1) * h, x + rng.uniform(0, 1) * w
        top, left = (
            int(np.clip(c - side / 2, 0, limit - side))
            for c, side, limit in zip(centre, window, (height, width), strict=True)
        )
        rows, columns = slice(top, top + int(window[0])), slice(left, left + int(window[1]))
        flip = rng.random() < recipe.augmentation.flip

        def view(x: np.ndarray, stride: int) -> np.ndarray:
            x = x[rows, columns]
            shape = [max(1, min(size // stride, round(s * scale / stride))) for s in x.shape[:2]]
            shrinks = scale < stride
            x = cv2.resize(x, shape[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
            return x[:, ::-1] if flip else x

        masks = self._masks(sample, view, (rows, columns), rng)
        if not masks:
            return None
        image = jitter_colours(view(sample.image, 1), recipe.augmentation, rng)
        pixels = np.zeros((size, size, 3), np.float32)
        pixels[: image.shape[0], : image.shape[1]] = (image - self.mean) / self.std
        low = size // LOW_RES_STRIDE
        labels = np.zeros((recipe.objects, low, low), np.float32)
        chosen = list(rng.permutation(len(masks)))[: recipe.objects]
        chosen += list(rng.integers(len(masks), size=recipe.objects - len(chosen)))
        for i, j in enumerate(chosen):
            labels[i, : masks[j].shape[0], : masks[j].shape[1]] = masks[j]
        return {
            "pixel_values": torch.from_numpy(pixels.transpose(2, 0, 1).copy()),
            "labels": torch.from_numpy(labels),
        }

    def _masks(self, sample: Sample, view, window: tuple[slice, slice], rng: np.random.Generator) -> list[np.ndarray]:
        """Low-res masks of the objects in view, at most a few more than are needed, and the background."""
        recipe = self.recipe
        size = sample.image.shape[:2]
        (rows, columns), masks = window, []
        order = rng.permutation(len(sample.annotations))
        with_background = rng.random() < recipe.background_probability
        everything = np.zeros(size, bool) if with_background else None
        for j in order:
            annotation = sample.annotations[j]
            x, y, w, h = annotation["bbox"]
            visible = x < columns.stop and x + w > columns.start and y < rows.stop and y + h > rows.start
            enough = len(masks) >= recipe.objects
            if not visible or (enough and everything is None):
                continue
            mask = decode_segmentation(annotation["segmentation"], size, sample.name)
            if everything is not None:
                everything |= mask
            if not enough:
                self._keep(masks, view(mask.astype(np.float32), LOW_RES_STRIDE))
        if everything is not None:
            background = 1 - view(everything.astype(np.float32), LOW_RES_STRIDE)
            if len(masks) == recipe.objects:
                masks.pop()
            self._keep(masks, background)
        return masks

    def _keep(self, masks: list[np.ndarray], soft: np.ndarray) -> None:
        mask = soft >= 0.5
        if self.recipe.min_area <= mask.sum() <= self.recipe.max_area_ratio * mask.size:
            masks.append(mask)


def collate(samples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {key: torch.stack([s[key] for s in samples]) for key in samples[0]}
