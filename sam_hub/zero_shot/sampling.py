"""Samples images of a data set (paper, appendix D.1): large sets are reduced to whole images with about 10 k masks."""

from collections.abc import Sequence

import numpy as np

from ..data.coco import CocoDataset
from ..data.discovery import Chosen, Joined
from ..data.sa1b import Sa1bDataset
from ..errors import DataError

LARGE, SAMPLE = 15_000, 10_000
"""Sets with more masks than the first number are sampled to about the second."""


def count_masks(dataset: Sequence, index: int) -> int:
    """Number of masks of an image, without decoding them if the reader allows; 0 for a damaged image."""
    if isinstance(dataset, Chosen):
        return count_masks(dataset.source, dataset.indices[index])
    if isinstance(dataset, Joined):
        for part in dataset.parts:
            if index < len(part):
                return count_masks(part, index)
            index -= len(part)
    try:
        if isinstance(dataset, CocoDataset):
            return len(dataset.records(index))
        return len(dataset.annotations(index) if isinstance(dataset, Sa1bDataset) else dataset[index].annotations)
    except DataError:
        return 0


def choose_images(
    dataset: Sequence, seed: int, limit: int | None = None, large: int = LARGE, sample: int = SAMPLE
) -> list[int]:
    """Sorted indices of the evaluated images; the draw depends only on the seed and the counts.

    If the data set has more than ``large`` masks, images are taken in random order until ``sample`` masks are reached.
    limit: maximum number of images
    """
    order = np.random.default_rng(seed).permutation(len(dataset))
    counts = np.array([count_masks(dataset, int(i)) for i in order])
    if counts.sum() > large:
        order = order[: int(np.searchsorted(counts.cumsum(), sample)) + 1]
    return sorted(order[:limit].tolist())
