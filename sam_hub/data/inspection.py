"""Checks every sample before a long run, so that it does not fail hours later, and splits the good ones."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..errors import DataError
from ..ops.run_lengths import compress_rle, rle_area
from ..ops.wording import counted
from .annotated import annotation_of_rle
from .discovery import Chosen
from .sa1b import PROBLEM, Sample

MAX_AREA = 0.9
"""Paper, appendix A: masks that cover more than 90 % of the image are dropped."""


@dataclass
class Inspection:
    """What a data set contains.

    good: indices of the samples with at least one usable object
    objects: number of usable objects; most: highest number in one image
    problems: one sentence for each skipped file or group of masks
    """

    good: list[int] = field(default_factory=list)
    objects: int = 0
    most: int = 0
    problems: list[str] = field(default_factory=list)


def usable_objects(sample: Sample, max_area: float = MAX_AREA) -> tuple[list[dict], list[str]]:
    """The annotations usable for training, and one sentence for each kind of problem with the others.

    Skips masks that are empty, damaged, of another size than the image, or cover more than ``max_area`` of it.
    """
    height, width = sample.image.shape[:2]
    good, damaged, empty, large = [], [], 0, 0
    for annotation in sample.annotations:
        if PROBLEM in annotation:
            damaged.append(annotation[PROBLEM])
            continue
        try:
            area = rle_area(annotation["segmentation"], (height, width))
        except DataError as e:
            damaged.append(f"{sample.name}: {e}")
            continue
        if area == 0:
            empty += 1
        elif area > max_area * height * width:
            large += 1
        else:
            good.append(annotation)
    problems = damaged[:1] + [f"{sample.name}: {counted(len(damaged) - 1, 'more damaged mask')}"] * (len(damaged) > 1)
    if empty:
        masks = counted(len(sample.annotations), "mask")
        problems.append(f"{sample.name}: {empty} of {masks} {'is' if empty == 1 else 'are'} empty")
    if large:
        which = f"{counted(large, 'mask')} {'covers' if large == 1 else 'cover'}"
        problems.append(f"{sample.name}: {which} more than {max_area:.0%} of the image")
    return good, problems


def cleaned(sample: Sample, max_area: float = MAX_AREA) -> Sample:
    """A sample with only its `usable_objects`, each with a valid box."""
    good, _ = usable_objects(sample, max_area)
    return replace(sample, annotations=[a if _is_box(a.get("bbox")) else _boxed(a) for a in good])


def _is_box(box: Any) -> bool:
    return isinstance(box, list | tuple) and len(box) == 4 and all(type(v) in (int, float) and v == v for v in box)


def _boxed(annotation: dict) -> dict:
    """Replace a missing or invalid box by the box of the mask."""
    return {**annotation, **annotation_of_rle(compress_rle(annotation["segmentation"]))}


class Cleaned(Sequence):
    """A data set with only the `usable_objects` of each sample."""

    def __init__(self, source: Sequence, max_area: float = MAX_AREA) -> None:
        self.source, self.max_area = source, max_area
        self.name, self.path = source.name, source.path

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        return cleaned(self.source[index], self.max_area)


def inspect(
    dataset: Sequence,
    max_area: float = MAX_AREA,
    track: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> Inspection:
    """Read and check every sample once.

    track: wraps the list of indices, to show progress
    raises: DataError if no sample is usable
    """
    found = Inspection()
    found.problems += getattr(dataset, "remarks", ())
    found.problems += [f"{name}: no mask belongs to it" for name in getattr(dataset, "unmatched", ())]
    for index in track(range(len(dataset))):
        try:
            sample = dataset[index]
        except DataError as e:
            found.problems.append(str(e))
            continue
        good, problems = usable_objects(sample, max_area)
        found.problems += problems
        if not good:
            found.problems.append(f"{sample.name}: it has no object to train on")
            continue
        found.good.append(index)
        found.objects += len(good)
        found.most = max(found.most, len(good))
    if not found.good:
        why = found.problems[0] if found.problems else "it is empty"
        raise DataError(f"{dataset.path}: it has no usable image ({why})")
    return found


def split(dataset: Sequence, good: Sequence[int], share: float, seed: int = 0) -> tuple[Chosen, Chosen]:
    """Split at random, by ``seed``, into training and validation sets with at least one image each.

    share: fraction of the images used for validation
    raises: DataError if there are fewer than two images
    """
    if len(good) < 2:
        raise DataError(f"{dataset.path}: {len(good)} usable image; at least 2 are needed, one of them for validation")
    order = np.random.default_rng(seed).permutation(len(good))
    count = min(len(good) - 1, max(1, round(share * len(good))))
    val, train = sorted(good[i] for i in order[:count]), sorted(good[i] for i in order[count:])
    return Chosen(dataset, train, f"{dataset.name} (train)"), Chosen(dataset, val, f"{dataset.name} (val)")
