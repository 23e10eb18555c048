"""Training samples: an augmented image with its masks, each a pure function of (seed, index)."""

import hashlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from ..data.inspection import cleaned
from ..data.sa1b import Sample, decode_segmentation
from ..errors import DataError
from ..models.image_processing_sam import SamImageProcessor
from ..ops.input_size import LOW_RES
from .colours import change_strongly, jitter_colours
from .embeddings import EmbeddingCache
from .recipe import Augmentation, Recipe

TRIES = 50

ZOOMED_SHARE = (0.15, 0.6)
MOST_ZOOM = 8.0
"""In zoomed views: an object's share of the view's side, and the largest magnification."""


@dataclass(frozen=True)
class ViewPreparation:
    """A model's image preparation, for views that already have the right size.

    frame: side of the frame of prompts and masks: the input's, except for EfficientViT-SAM L0-L2
    mean, std: in grey levels; min_max: scale by the image's own range instead (MedSAM)
    stretched: whether images are stretched to a square instead of padded
    mask_stride: pixels of the frame per low-res mask pixel, 3.5 in SAM 3
    """

    image_size: int
    frame: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    min_max: bool = False
    stretched: bool = False
    mask_stride: float = LOW_RES

    @classmethod
    def of(cls, processor: SamImageProcessor, image_size: int | None = None) -> "ViewPreparation":
        """image_size: a size other than the model's own; only if its input and frame are the same"""
        side, frame = processor.size["longest_edge"], processor.frame_size["longest_edge"]
        if image_size and image_size != side:
            if side != frame:
                raise ValueError(f"this model's input is always {side} pixels; got {image_size}")
            side = frame = image_size
        grey = 1 / processor.rescale_factor
        return cls(
            side,
            frame,
            tuple(float(m) * grey for m in processor.image_mean),
            tuple(float(s) * grey for s in processor.image_std),
            bool(processor.do_min_max),
            processor.resize_mode != "longest_side",
            processor.mask_stride or LOW_RES,
        )

    @property
    def low_res(self) -> int:
        """Side of a low-res mask."""
        return int(self.frame / self.mask_stride)

    def pixel_values(self, view: np.ndarray) -> torch.Tensor:
        """(h, w, 3) uint8, at most ``image_size`` -> (3, S, S) float32, padded at the right and bottom with zeros."""
        mean, std = np.float32(self.mean), np.float32(self.std)
        if self.min_max:
            mean, std = np.float32(view.min()), np.float32(max(1e-8, float(view.max()) - float(view.min())))
        pixels = np.zeros((self.image_size, self.image_size, 3), np.float32)
        pixels[: view.shape[0], : view.shape[1]] = (view - mean) / std
        return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


class View(NamedTuple):
    """A view of an image: rows and columns, output pixels per image pixel (y, x), whether mirrored."""

    rows: slice
    columns: slice
    scale: tuple[float, float]
    flip: bool

    def render(self, x: np.ndarray, side: int, stride: float) -> np.ndarray:
        """(H, W[, 3]) -> the view at 1 / ``stride`` of its size, no side longer than ``side``."""
        x = x[self.rows, self.columns]
        scale = [s / stride for s in self.scale]
        shape = [max(1, min(side, round(n * s))) for n, s in zip(x.shape[:2], scale, strict=True)]
        x = cv2.resize(x, shape[::-1], interpolation=cv2.INTER_AREA if min(scale) < 1 else cv2.INTER_LINEAR)
        return x[:, ::-1] if self.flip else x


def choose_view(
    sample: Sample, size: int, stretched: bool, augmentation: Augmentation, rng: np.random.Generator
) -> View:
    """Large-scale jitter or a zoom on an object: random scale, window around a random object, and flip.

    If the scaled image is smaller than the input, the rest is padding.
    """
    height, width = sample.image.shape[:2]
    jitter = np.exp(rng.uniform(*np.log(augmentation.scale)))
    fit = (size / height, size / width) if stretched else (size / max(height, width),) * 2
    zoomed = augmentation.zoom > 0 and rng.random() < augmentation.zoom
    if zoomed:
        x, y, w, h = sample.annotations[int(rng.integers(len(sample.annotations)))]["bbox"]
        wanted = np.exp(rng.uniform(*np.log(ZOOMED_SHARE))) * size / max(1.0, w * fit[1], h * fit[0])
        jitter = float(np.clip(wanted, 1.0, max(1.0, MOST_ZOOM / max(fit))))
    scale = fit[0] * jitter, fit[1] * jitter
    window = min(size / scale[0], height), min(size / scale[1], width)  # the visible part of the photo
    # Centre the window somewhere on a random object, so that enlarged views are not empty.
    if not zoomed:
        x, y, w, h = sample.annotations[int(rng.integers(len(sample.annotations)))]["bbox"]
    centre = y + rng.uniform(0, 1) * h, x + rng.uniform(0, 1) * w
    top, left = (
        int(np.clip(c - side / 2, 0, limit - side))
        for c, side, limit in zip(centre, window, (height, width), strict=True)
    )
    rows, columns = slice(top, top + max(1, int(window[0]))), slice(left, left + max(1, int(window[1])))
    return View(rows, columns, scale, bool(rng.random() < augmentation.flip))


class EpisodeDataset(Dataset):
    """``length`` training samples drawn from weighted data sets.

    Sample i only depends on (seed, i), so resumed runs, or runs on several processes, see the same samples. Each is
    ``pixel_values`` (3, S, S) float32, ``labels`` (N, low, low) float32 in {0, 1} with up to ``recipe.objects`` masks,
    and ``seed``, from which its prompts are drawn; if a recipe makes the background an object, also ``boxable`` (N,)
    bool, which is False for it. Damaged samples are named in a warning and replaced.

    datasets, weights: sets of samples, and how often each is drawn from; default: by number of images
    wholes: for each data set, the probability that the annotated objects of an image are one object together
    views: number of different views per image, the first being the whole image
    cache: if given, items have the ``embedding`` of their view from it, instead of ``pixel_values``
    beside: function from a sample to additional tensors for its items
    """

    def __init__(
        self,
        datasets: Sequence[Sequence],
        recipe: Recipe,
        length: int,
        preparation: ViewPreparation,
        weights: Sequence[float] | None = None,
        views: int | None = None,
        cache: EmbeddingCache | None = None,
        beside: Callable[[Sample], dict[str, torch.Tensor]] | None = None,
        wholes: Sequence[float] | None = None,
    ) -> None:
        self.datasets, self.recipe, self.length, self.preparation = list(datasets), recipe, length, preparation
        shares = np.array([len(d) for d in datasets] if weights is None else list(weights), float)
        self.shares = shares / shares.sum()
        self.views, self.cache, self.beside = views, cache, beside
        self.wholes = wholes or [0.0] * len(self.datasets)
        self._named: set[str] = set()

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if not 0 <= index < self.length:
            raise IndexError(index)
        rng = np.random.default_rng([self.recipe.seed, index])
        for _ in range(TRIES):
            which = int(rng.choice(len(self.datasets), p=self.shares))
            number = int(rng.integers(len(self.datasets[which])))
            episode = self._episode(which, number, rng)
            if episode is not None:
                return {**episode, "seed": torch.tensor(int(rng.integers(2**62)))}
        raise DataError(f"{TRIES} consecutive samples had no usable object; check the data and min_area")

    def episode_of(self, sample: Sample, rng: np.random.Generator) -> dict[str, torch.Tensor] | None:
        """A training sample from a given image; None if it has no usable object."""
        if not sample.annotations:
            return None
        return self._finished(sample, 0, self._show(sample, 0, rng, self.recipe.augmentation), rng)

    def _read(self, which: int, number: int) -> Sample | None:
        """An image with objects; None if it has none or is damaged, which is reported once."""
        try:
            sample = self.datasets[which][number]
            return sample if sample.annotations else None
        except DataError as e:
            if str(e) not in self._named:
                self._named.add(str(e))
                warnings.warn(f"left out: {e}", stacklevel=2)
            return None

    def _episode(self, which: int, number: int, rng: np.random.Generator) -> dict[str, torch.Tensor] | None:
        sample = self._read(which, number)
        if sample is None:
            return None
        if self.views is None:
            seen = self._show(sample, which, rng, self.recipe.augmentation)
        else:
            seen = self._numbered_view(sample, which, number, int(rng.integers(self.views)))
        return self._finished(sample, which, seen, rng)

    def _finished(
        self, sample: Sample, which: int, seen: tuple, rng: np.random.Generator
    ) -> dict[str, torch.Tensor] | None:
        shown, view, extra = seen
        masks, with_background = self._masks(sample, which, view, extra, rng)
        masks = extra + masks
        if not masks:
            return None
        chosen = self._choose(len(masks), rng)
        item = {**self._image(shown), "labels": self._labels([masks[j] for j in chosen])}
        if self.recipe.background_probability:
            item["boxable"] = torch.tensor([not (with_background and j == len(masks) - 1) for j in chosen])
        return {**item, **(self.beside(sample) if self.beside else {})}

    def _numbered_view(self, sample: Sample, which: int, number: int, view: int) -> tuple:
        recipe = self.recipe
        rng = np.random.default_rng([recipe.seed, which, number, view])
        whole = Augmentation(scale=(1.0, 1.0), flip=0.0, brightness=0.0, contrast=0.0, saturation=0.0)
        return self._show(sample, which, rng, recipe.augmentation if view else whole)

    def _show(
        self, sample: Sample, which: int, rng: np.random.Generator, augmentation: Augmentation
    ) -> tuple[np.ndarray, View, list[np.ndarray]]:
        """A view as (h, w, 3) uint8, its position, and the low-res masks of pasted objects."""
        size, stretched = self.preparation.image_size, self.preparation.stretched
        view = choose_view(sample, size, stretched, augmentation, rng)
        shown, pasted = view.render(sample.image, size, 1), []
        if rng.random() < augmentation.copy_paste:
            shown, pasted = self._paste(shown, which, rng, augmentation)
        if augmentation.brightness or augmentation.contrast or augmentation.saturation:
            shown = jitter_colours(shown, augmentation, rng)
        if augmentation.strong and rng.random() < augmentation.strong:
            shown = change_strongly(shown, rng)
        return shown, view, pasted

    def _paste(
        self, shown: np.ndarray, which: int, rng: np.random.Generator, augmentation: Augmentation
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Paste objects of other images: whole ones if data sets have them, else up to three from the same data set.

        returns: the image, and the low-res masks of pasted objects; `_masks` removes what they cover
        """
        shown, with_wholes = shown.copy(), [i for i, probability in enumerate(self.wholes) if probability]
        if with_wholes and (which in with_wholes or rng.random() < 0.5):
            pasted = self._paste_wholes(shown, int(rng.choice(with_wholes)), rng, augmentation)
        else:
            pasted = self._paste_objects(shown, which, rng, augmentation)
        return shown, [m for m in pasted if self._fits(m)]

    def _paste_objects(
        self, shown: np.ndarray, which: int, rng: np.random.Generator, augmentation: Augmentation
    ) -> list[np.ndarray]:
        """Up to three objects of one other image, at their original positions and scale."""
        size, pasted = self.preparation.image_size, []
        other = self._read(which, int(rng.integers(len(self.datasets[which]))))
        if other is None:
            return pasted
        view = choose_view(other, size, self.preparation.stretched, augmentation, rng)
        source = view.render(other.image, size, 1)
        for j in rng.permutation(len(other.annotations))[: int(rng.integers(1, 4))]:
            mask = decode_segmentation(other.annotations[j]["segmentation"], other.image.shape[:2], other.name)
            pasted = self._lay(shown, source, view.render(mask.astype(np.float32), size, 1), (0, 0), pasted)
        return pasted

    def _paste_wholes(
        self, shown: np.ndarray, which: int, rng: np.random.Generator, augmentation: Augmentation
    ) -> list[np.ndarray]:
        """Small copies of up to three images' objects, one object per image, placed anywhere: people in a street."""
        size, stretched, pasted = self.preparation.image_size, self.preparation.stretched, []
        small = replace(augmentation, scale=augmentation.paste_scale)
        for _ in range(int(rng.integers(1, 4))):
            other = self._read(which, int(rng.integers(len(self.datasets[which]))))
            if other is None:
                continue
            whole = np.zeros(other.image.shape[:2], bool)
            for annotation in other.annotations:
                whole |= decode_segmentation(annotation["segmentation"], whole.shape, other.name)
            view = choose_view(other, size, stretched, small, rng)
            source, soft = view.render(other.image, size, 1), view.render(whole.astype(np.float32), size, 1)
            x, y, w, h = cv2.boundingRect((soft > 0).astype(np.uint8))
            h, w = min(h, shown.shape[0]), min(w, shown.shape[1])
            corner = int(rng.integers(shown.shape[0] - h + 1)), int(rng.integers(shown.shape[1] - w + 1))
            there = np.s_[y : y + h, x : x + w]
            pasted = self._lay(shown, source[there], soft[there], corner, pasted)
        return pasted

    def _lay(
        self,
        shown: np.ndarray,
        source: np.ndarray,
        soft: np.ndarray,
        corner: tuple[int, int],
        pasted: list[np.ndarray],
    ) -> list[np.ndarray]:
        """Blend an object into ``shown`` with its view's corner at (y, x), if enough of it fits.

        returns: the low-res masks of earlier pasted objects, without the covered parts, then its own
        """
        top, left = corner
        h, w = min(soft.shape[0], shown.shape[0] - top), min(soft.shape[1], shown.shape[1] - left)
        here, cover = np.s_[top : top + h, left : left + w], np.zeros(shown.shape[:2], np.float32)
        cover[here] = soft[:h, :w]
        low = self._low(cover) >= 0.5
        if not self._fits(low):
            return pasted
        alpha = cover[here][..., None]
        shown[here] = shown[here] * (1 - alpha) + source[:h, :w] * alpha
        return [m & ~low for m in pasted] + [low]

    @property
    def label_size(self) -> int:
        """Side of the labels; masks are enlarged to it if it is finer."""
        return self.preparation.low_res * LOW_RES // self.recipe.label_stride

    def _low(self, mask: np.ndarray) -> np.ndarray:
        """A mask at the size of the view -> low resolution: (h, w) float32."""
        ratio = self.label_size / self.preparation.image_size
        shape = [max(1, min(self.label_size, round(n * ratio))) for n in mask.shape]
        return cv2.resize(mask, shape[::-1], interpolation=cv2.INTER_AREA)

    def _image(self, shown: np.ndarray) -> dict[str, torch.Tensor]:
        if self.cache is None:
            return {"pixel_values": self.preparation.pixel_values(shown)}
        return self.cache.load(key_of(shown))

    def _choose(self, count: int, rng: np.random.Generator) -> list[int]:
        """Choose masks at random, in random order."""
        chosen = list(rng.permutation(count))[: self.recipe.objects]
        if self.recipe.repeat_objects:
            chosen += list(rng.integers(count, size=self.recipe.objects - len(chosen)))
        return chosen

    def _labels(self, masks: list[np.ndarray]) -> torch.Tensor:
        """Padded: (N, low, low) float32."""
        labels = np.zeros((len(masks), self.label_size, self.label_size), np.float32)
        for label, mask in zip(labels, masks, strict=True):
            label[: mask.shape[0], : mask.shape[1]] = mask
        return torch.from_numpy(labels)

    def _masks(
        self, sample: Sample, which: int, view: View, pasted: list[np.ndarray], rng: np.random.Generator
    ) -> tuple[list[np.ndarray], bool]:
        """Low-res masks of the objects in view, at most as many as needed, and whether the last is the background."""
        recipe, low = self.recipe, self.label_size
        stride = self.preparation.image_size / low
        size, masks = sample.image.shape[:2], []
        order = rng.permutation(len(sample.annotations))
        with_background = rng.random() < recipe.background_probability
        with_whole = self.wholes[which] > 0 and rng.random() < self.wholes[which]
        everything = np.zeros(size, bool) if with_background or with_whole else None
        for j in order:
            annotation = sample.annotations[j]
            x, y, w, h = annotation["bbox"]
            visible = (
                x < view.columns.stop and x + w > view.columns.start and y < view.rows.stop and y + h > view.rows.start
            )
            enough = len(masks) >= recipe.objects
            if not visible or (enough and everything is None):
                continue
            mask = decode_segmentation(annotation["segmentation"], size, sample.name)
            if everything is not None:
                everything |= mask
            if not enough:
                self._keep(masks, view.render(mask.astype(np.float32), low, stride) >= 0.5, pasted)
        if everything is not None:
            del masks[recipe.objects - with_background - with_whole :]
            inside = view.render(everything.astype(np.float32), low, stride)
            if with_whole:
                self._keep(masks, inside >= 0.5, pasted)
            if with_background:
                with_background = self._keep(masks, inside <= 0.5, pasted)
        return masks, with_background

    def _keep(self, masks: list[np.ndarray], mask: np.ndarray, pasted: list[np.ndarray]) -> bool:
        """Append a mask without the parts that are pasted over, if enough is left."""
        for above in pasted:
            h, w = (min(a, b) for a, b in zip(mask.shape, above.shape, strict=True))
            mask[:h, :w] &= ~above[:h, :w]
        fits = self._fits(mask)
        if fits:
            masks.append(mask)
        return fits

    def _fits(self, mask: np.ndarray) -> bool:
        smallest = self.recipe.min_area * (LOW_RES / self.recipe.label_stride) ** 2
        return smallest <= mask.sum() <= self.recipe.max_area_ratio * mask.size

    def each_view(self, track: Callable = iter) -> Iterator[tuple[str, np.ndarray]]:
        """Key and (h, w, 3) uint8 of every view; damaged images are skipped.

        track: wraps the list of (data set, image) numbers, to show progress
        """
        for which, number in track([(d, n) for d, data in enumerate(self.datasets) for n in range(len(data))]):
            sample = self._read(which, number)
            if sample is None:
                continue
            for view in range(self.views):
                shown, _, _ = self._numbered_view(sample, which, number, view)
                yield key_of(shown), shown


class EpisodeStream(IterableDataset):
    """As `EpisodeDataset`, from a stream of samples (`sam_hub.data.stream.ShardStream`).

    Each image gives one training sample per round. With several processes, the first reads and distributes; its workers
    share the stream by whole batches, so that their number does not change the samples.
    """

    def __init__(self, samples: Iterable[Sample], recipe: Recipe, length: int, preparation: ViewPreparation) -> None:
        if recipe.augmentation.copy_paste:
            raise ValueError("copy-paste needs random access, which a stream does not have")
        self.samples, self.length = samples, length
        self._maker = EpisodeDataset([[None]], recipe, length, preparation)

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        worker = get_worker_info()
        process, processes = (worker.id, worker.num_workers) if worker else (0, 1)
        batch = self._maker.recipe.images
        length = sum(i // batch % processes == process for i in range(self.length))
        if not length:  # more workers than batches
            return
        made = in_vain = 0
        for number, sample in self._share(process, processes, batch):
            rng = np.random.default_rng([self._maker.recipe.seed, number])
            sample = cleaned(sample, self._maker.recipe.max_area_ratio)
            episode = self._maker.episode_of(sample, rng)
            in_vain = 0 if episode else in_vain + 1
            if in_vain > 20 * TRIES:
                raise DataError(f"{in_vain} consecutive samples had no usable object; check the shards and min_area")
            if episode:
                yield {**episode, "seed": torch.tensor(int(rng.integers(2**62)))}
                made += 1
            if made == length:
                return

    def _share(self, process: int, processes: int, batch: int) -> Iterator[tuple[int, Sample]]:
        if hasattr(self.samples, "share"):
            return self.samples.share(process, processes, batch)
        return ((n, sample) for n, sample in enumerate(self.samples) if n // batch % processes == process)


def key_of(view: np.ndarray) -> str:
    """The name of a view in a cache: a hash of its pixels."""
    return hashlib.sha256(repr(view.shape).encode() + view.tobytes()).hexdigest()[:32]


def collate(samples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Stack samples; per-object tensors are padded to the largest count, and ``valid`` (B, N) marks real objects."""
    counts = [len(s["labels"]) for s in samples]
    most = max(counts)
    batch = {}
    for key in samples[0]:
        values = [s[key] for s in samples]
        if key in ("labels", "boxable"):
            values = [torch.cat([v, v.new_zeros(most - len(v), *v.shape[1:])]) for v in values]
        batch["seeds" if key == "seed" else key] = torch.stack(values)
    batch["valid"] = torch.arange(most)[None] < torch.tensor(counts)[:, None]
    return batch
