"""Everything mode: all masks of an image (paper, section 5 and appendix B; original: ``automatic_mask_generator.py``).

Same algorithm, arguments, defaults, records and masks as the original, with less work: a mask is computed only if its
predicted IoU passes, and upscaled to the image only if NMS may keep it, in the region that can contain it. Works with
any predictor that implements `ClickPredictor`.
"""

import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from numbers import Integral
from os import PathLike
from typing import Any, Literal, Protocol

import numpy as np

from ..errors import NoMasksWarning
from ..ops.bands import Bands
from ..ops.boxes import box_area, box_iou, near_crop_edge, nms, uncrop_boxes, uncrop_points, xyxy_to_xywh
from ..ops.crops import crop_boxes, layer_point_grids
from ..ops.images import ImageSource, read_image
from ..ops.masks import (
    Rle,
    compress_rle,
    mask_to_box,
    mask_to_uncompressed_rle,
    remove_small_regions,
    rle_area,
    rle_to_mask,
    rle_to_window,
    stability_score,
)
from ..ops.tidying import tidy_window
from ..ops.value_range import ValueRange, range_for
from .image_predictor import ImagePredictor, independent
from .thresholds import ORIGINAL
from .upsample import MaskFrame, Upsampler

MASK_THRESHOLD = 0.0

PRESETS: dict[str, dict[str, Any]] = {
    "fast": {"points_per_side": 16},
    "default": {},
    # The settings for more masks from the original's notebook.
    "fine": {
        "pred_iou_thresh": 0.86,
        "stability_score_thresh": 0.92,
        "crop_n_layers": 1,
        "crop_n_points_downscale_factor": 2,
        "min_mask_region_area": 100,
    },
}
"""Arguments of `SamAutomaticMaskGenerator` by preset: a quarter of the clicks, the original's defaults, with crops."""

Progress = Callable[[int, int], None]
"""Called with the number of clicks done and the total."""


class ClickPredictor(Protocol):
    """What everything mode needs from a predictor."""

    mask_frame: MaskFrame

    def set_image(self, image: np.ndarray) -> None: ...

    def reset_image(self) -> None: ...

    def click_each(
        self, points: np.ndarray, select: Callable[[np.ndarray], np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Decode N clicks, each for a separate object.

        points: (N, 2), x then y, in pixels of the image
        select: predicted IoU (n, M) -> bool (n, M), the masks to return
        returns: predicted IoU (N, M); the masks wanted, (K, 2) int click and mask, in that order; their low-res
            logits (K, h, w), which count only where the image reads them (see `Upsampler.visible`)
        """
        ...


@dataclass
class Candidate:
    """A mask whose predicted IoU passes, before upscaling.

    logits: the low-res logits of the margin of ``window`` (see `Upsampler`)
    point: (2,) x, y in pixels of the crop
    """

    predicted_iou: float
    point: np.ndarray
    window: tuple[slice, slice]
    logits: np.ndarray


@dataclass
class Found:
    """A mask with all its properties, in pixels of the image; boxes XYXY with inclusive edges."""

    rle: Rle
    box: np.ndarray
    predicted_iou: float
    stability_score: float
    point: np.ndarray
    crop_box: list[int]


@dataclass
class Dropped:
    """How many masks each filter removed, for the warning when none is left."""

    counts: dict[str, int] = field(default_factory=dict)

    def add(self, why: str, count: int = 1) -> None:
        self.counts[why] = self.counts.get(why, 0) + int(count)

    def __str__(self) -> str:
        return ", ".join(f"{count} by {why}" for why, count in self.counts.items() if count)


_FOREIGN = threading.RLock()
"""Held while a generator uses a predictor that cannot be copied."""


@contextmanager
def _borrowed(predictor: Any) -> Iterator[Any]:
    """A predictor whose image no other thread can replace meanwhile."""
    if isinstance(predictor, ImagePredictor):
        yield independent(predictor)
    else:
        with _FOREIGN:
            yield predictor


def _suited(predictor: Any) -> dict[str, Any]:
    """The generator arguments that the model recommends."""
    return dict(getattr(getattr(predictor, "capabilities", None), "generation", {}))


class SamAutomaticMaskGenerator:
    """Prompts with a grid of points and keeps the masks that are confident, stable and not duplicates.

    model: a `SamModel`, a predictor, or a name as for `open_predictor`
    points_per_side: clicks per side of the grid over the image; None if ``point_grids`` are given
    points_per_batch: clicks decoded at once; more is faster and needs more memory
    pred_iou_thresh: keep masks with a higher predicted IoU
    stability_score_thresh, stability_score_offset: keep masks whose `stability_score` with this offset is at least
        this; empty masks are always dropped (the original keeps them if this is 0)
        The defaults of these three are the model's own, or else the original's 0.88, 0.95 and 1.0
    box_nms_thresh: of two masks in a crop whose boxes have a higher IoU, keep the better one
    crop_n_layers: layers of 4, 16, ... crops, to find smaller objects
    crop_nms_thresh: as ``box_nms_thresh``, between crops; keeps the mask of the smaller crop
    crop_overlap_ratio: overlap of crops, as a share of the image's short side
    crop_n_points_downscale_factor: the points per side are divided by this in each further layer
    point_grids: for the image and each layer (N, 2), x then y, in [0, 1]
    min_mask_region_area: remove holes and islands with fewer pixels (objects of any size stay)
    output_mode: segmentations as "binary_mask" (H, W) bool, "uncompressed_rle" or "coco_rle"

    Not in the original:
    min_mask_area: drop masks with fewer pixels
    max_mask_area_ratio: drop masks that cover a larger share of the image, mostly background (SA-1B: 0.95)
    non_overlapping: give each pixel to the smallest mask that contains it; drop masks left empty
    skip_full_image: only search the crops
    tidy: share of a mask's area; drop smaller specks and fill smaller holes, except the clicked one, see
        `ops.tidying.tidy`; ``capabilities.tidy`` is the model's recommended value

    Several threads may share a generator: each call works on its own image.
    """

    def __init__(
        self,
        model: Any,
        points_per_side: int | None = 32,
        points_per_batch: int = 64,
        pred_iou_thresh: float | None = None,
        stability_score_thresh: float | None = None,
        stability_score_offset: float | None = None,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        crop_nms_thresh: float = 0.7,
        crop_overlap_ratio: float = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        point_grids: list[np.ndarray] | None = None,
        min_mask_region_area: int = 0,
        output_mode: Literal["binary_mask", "uncompressed_rle", "coco_rle"] = "binary_mask",
        *,
        min_mask_area: int = 0,
        max_mask_area_ratio: float = 1.0,
        non_overlapping: bool = False,
        skip_full_image: bool = False,
        tidy: float = 0.0,
    ) -> None:
        if not 0 <= tidy < 1:
            raise ValueError(f"tidy must be at least 0 and below 1; got {tidy}")
        least = {
            "points_per_batch": (points_per_batch, 1),
            "crop_n_layers": (crop_n_layers, 0),
            "crop_n_points_downscale_factor": (crop_n_points_downscale_factor, 1),
        }
        for name, (value, lowest) in least.items():
            if not isinstance(value, Integral) or value < lowest:
                raise ValueError(f"{name} must be a whole number of at least {lowest}; got {value}")
        given = {
            "pred_iou_thresh": pred_iou_thresh,
            "stability_score_thresh": stability_score_thresh,
            "stability_score_offset": stability_score_offset,
        }
        for name, value in {**given, "box_nms_thresh": box_nms_thresh, "crop_nms_thresh": crop_nms_thresh}.items():
            if value is not None and np.isnan(value):  # every comparison with it is false
                raise ValueError(f"{name} must be a number; got {value}")
        if not 0 <= crop_overlap_ratio < 1:
            raise ValueError(f"crop_overlap_ratio must be at least 0 and below 1; got {crop_overlap_ratio}")
        if (points_per_side is None) == (point_grids is None):
            raise ValueError("give exactly one of points_per_side and point_grids")
        if output_mode not in ("binary_mask", "uncompressed_rle", "coco_rle"):
            raise ValueError(f"unknown output_mode {output_mode!r}; expected binary_mask, uncompressed_rle or coco_rle")
        if skip_full_image and crop_n_layers < 1:
            raise ValueError("skip_full_image needs crops; set crop_n_layers to 1 or more")
        if point_grids is None:
            point_grids = layer_point_grids(points_per_side, crop_n_layers, crop_n_points_downscale_factor)
        if len(point_grids) <= crop_n_layers:
            needed = crop_n_layers + 1
            raise ValueError(f"crop_n_layers of {crop_n_layers} needs {needed} point_grids; got {len(point_grids)}")
        if isinstance(model, str | PathLike):
            from .opening import open_predictor

            model = open_predictor(str(model))
        elif not hasattr(model, "click_each"):
            from .predictor import SamPredictor

            model = SamPredictor(model)
        self.predictor: ClickPredictor = model
        usual = {**ORIGINAL, **_suited(model)}
        pred_iou_thresh, stability_score_thresh, stability_score_offset = (
            usual[name] if value is None else value for name, value in given.items()
        )
        self.point_grids = point_grids
        self.points_per_batch = points_per_batch
        self.pred_iou_thresh = pred_iou_thresh
        self.stability_score_thresh = stability_score_thresh
        self.stability_score_offset = stability_score_offset
        self.box_nms_thresh = box_nms_thresh
        self.crop_n_layers = crop_n_layers
        self.crop_nms_thresh = crop_nms_thresh
        self.crop_overlap_ratio = crop_overlap_ratio
        self.min_mask_region_area = min_mask_region_area
        self.output_mode = output_mode
        self.warns_when_empty = True
        self.min_mask_area = min_mask_area
        self.max_mask_area_ratio = max_mask_area_ratio
        self.non_overlapping = non_overlapping
        self.skip_full_image = skip_full_image
        self.tidy = tidy

    @classmethod
    def from_preset(cls, model: Any, preset: str = "default", **arguments: Any) -> "SamAutomaticMaskGenerator":
        """A generator with the arguments of a preset, overridden by the model's own, then by those given here."""
        if preset not in PRESETS:
            raise ValueError(f"unknown preset {preset!r}; expected one of {sorted(PRESETS)}")
        generator = cls(model, **{**PRESETS[preset], **arguments})
        own = {"tidy": getattr(getattr(generator.predictor, "capabilities", None), "tidy", 0.0)}
        for name, value in {**_suited(generator.predictor), **own}.items():
            if arguments.get(name) is None:
                setattr(generator, name, value)
        return generator

    def generate(
        self,
        image: ImageSource,
        progress: Progress | None = None,
        stop: Callable[[], bool] | None = None,
        value_range: ValueRange = None,
        bands: Bands = None,
    ) -> list[dict[str, Any]]:
        """All masks of one image, highest predicted IoU first; with crops, masks of the smallest crops first.

        image: anything that `read_image` takes, such as an array (H, W, 3) uint8 RGB
        progress: see `Progress`
        stop: called before each batch of clicks; if it returns True, the masks found so far are returned
        value_range: the values that are black and white, see `ValueRange`; by default the predictor's
        bands: the one or three to use, counted from 0, see `read_image`
        returns: a record for each mask, with coordinates in pixels of the image
            segmentation: see ``output_mode``; area: its pixels
            bbox: x, y, w, h, where w and h are the distance between the outermost pixels, as in the original
            predicted_iou, stability_score: the scores that the thresholds apply to
            point_coords: [[x, y]], the click; crop_box: x, y, w, h of the crop
        raises: ImageError
        """
        own = getattr(self.predictor, "value_range", None)
        pixels = read_image(image, range_for(image, value_range, own), bands)
        dropped = Dropped()
        found = self._find(pixels, progress, stop or (lambda: False), dropped)
        if self.min_mask_region_area > 0 or self.tidy > 0:
            found = self._clean(found)
        if self.non_overlapping:
            found = self._separate(found)
        if self.min_mask_area:
            found = [f for f in found if rle_area(f.rle) >= self.min_mask_area]
        if not found and self.warns_when_empty and (why := str(dropped)):
            text = f"no mask is left: {why} were removed; lower the thresholds"
            warnings.warn(text, NoMasksWarning, stacklevel=2)
        return [self._record(f) for f in found]

    def generate_many(
        self,
        images: Iterable[ImageSource],
        progress: Progress | None = None,
        stop: Callable[[], bool] | None = None,
        value_range: ValueRange = None,
        bands: Bands = None,
    ) -> Iterator[list[dict[str, Any]]]:
        """`generate` for each of several images, in turn, until ``stop`` returns True."""
        for image in images:
            if stop is not None and stop():
                return
            yield self.generate(image, progress, stop, value_range, bands)

    def _find(
        self, image: np.ndarray, progress: Progress | None, stop: Callable[[], bool], dropped: Dropped
    ) -> list[Found]:
        with _borrowed(self.predictor) as predictor:
            return self._search(predictor, image, progress, stop, dropped)

    def _search(
        self,
        predictor: ClickPredictor,
        image: np.ndarray,
        progress: Progress | None,
        stop: Callable[[], bool],
        dropped: Dropped,
    ) -> list[Found]:
        size = image.shape[:2]
        crops = list(zip(*crop_boxes(size, self.crop_n_layers, self.crop_overlap_ratio), strict=True))
        if self.skip_full_image:
            crops = crops[1:] or crops  # a one-pixel image has no crops
        total, done = sum(len(self.point_grids[layer]) for _, layer in crops), 0
        found: list[Found] = []
        for crop_box, layer in crops:
            x0, y0, x1, y1 = crop_box
            if stop():
                break
            predictor.set_image(image[y0:y1, x0:x1])
            try:
                upsampler = None
                candidates: list[Candidate] = []
                points = self.point_grids[layer] * [x1 - x0, y1 - y0]
                for start in range(0, len(points), self.points_per_batch):
                    if stop():
                        break
                    batch = points[start : start + self.points_per_batch]
                    iou, which, low_res = predictor.click_each(batch, self._promising)
                    upsampler = upsampler or Upsampler(low_res.shape[-2:], predictor.mask_frame)
                    dropped.add(f"pred_iou_thresh={self.pred_iou_thresh:g}", iou.size - len(which))
                    candidates += self._candidates(upsampler, batch, iou, which, low_res, dropped)
                    done += len(batch)
                    if progress is not None:
                        progress(done, total)
            finally:
                predictor.reset_image()
            if candidates:
                found += self._best(candidates, upsampler, crop_box, size, dropped)
        if len(crops) > 1 and found:
            area = box_area(np.array([f.crop_box for f in found]))
            keep = nms(np.stack([f.box for f in found]), (1 / area).astype(np.float32), self.crop_nms_thresh)
            found = [found[i] for i in keep]
        return found

    def _promising(self, iou: np.ndarray) -> np.ndarray:
        return iou > self.pred_iou_thresh if self.pred_iou_thresh > 0 else np.ones(iou.shape, dtype=bool)

    def _candidates(
        self,
        upsampler: Upsampler,
        points: np.ndarray,
        iou: np.ndarray,
        which: np.ndarray,
        low_res: np.ndarray,
        dropped: Dropped,
    ) -> Iterator[Candidate]:
        """Masks that are not empty and may pass the stability threshold once upscaled."""
        for (i, j), logits in zip(which, low_res, strict=True):
            window = upsampler.window(logits, MASK_THRESHOLD - max(self.stability_score_offset, 0))
            if window is None:
                dropped.add("being empty")
                continue
            around = logits[upsampler.margin(window)]
            if self._maybe_stable(upsampler, around, window):
                yield Candidate(float(iou[i, j]), points[i], window, around.copy())
            else:
                dropped.add(f"stability_score_thresh={self.stability_score_thresh:g}")

    def _maybe_stable(self, upsampler: Upsampler, logits: np.ndarray, window: tuple[slice, slice]) -> bool:
        """Whether the mask's stability score at image size can reach the threshold."""
        bound = upsampler.stability_bound(logits, window, MASK_THRESHOLD, self.stability_score_offset)
        return bound >= self.stability_score_thresh

    def _best(
        self,
        candidates: list[Candidate],
        upsampler: Upsampler,
        crop_box: list[int],
        size: tuple[int, int],
        dropped: Dropped,
    ) -> list[Found]:
        """The filters and NMS within a crop, highest predicted IoU first.

        A mask that a better one suppresses need not be enlarged: only masks that are kept suppress others.
        """
        order = np.argsort([-c.predicted_iou for c in candidates], kind="stable")
        boxes = np.zeros((len(candidates), 4), dtype=np.float32)  # boxes of the kept masks, in pixels of the crop
        found: list[Found] = []
        for i in order:
            c, kept = candidates[i], boxes[: len(found)]
            if self._surely_suppressed(upsampler, c, kept):
                continue
            logits, (x, y) = upsampler(c.logits, c.window)
            mask = logits > MASK_THRESHOLD
            stability = float(stability_score(logits, MASK_THRESHOLD, self.stability_score_offset))
            if not mask.any():
                dropped.add("being empty")
                continue
            if stability < self.stability_score_thresh:
                dropped.add(f"stability_score_thresh={self.stability_score_thresh:g}")
                continue
            box = mask_to_box(mask) + np.array([x, y, x, y])
            area = np.count_nonzero(mask)
            if area < self.min_mask_area:
                dropped.add(f"min_mask_area={self.min_mask_area}")
                continue
            if area > self.max_mask_area_ratio * size[0] * size[1]:
                dropped.add(f"max_mask_area_ratio={self.max_mask_area_ratio:g}")
                continue
            if near_crop_edge(box[None], crop_box, [0, 0, size[1], size[0]])[0]:
                dropped.add("touching the edge of a crop")
                continue
            if (box_iou(box[None].astype(np.float32), kept) > np.float64(self.box_nms_thresh)).any():
                continue
            boxes[len(found)] = box
            origin = (crop_box[0] + x, crop_box[1] + y)
            found.append(
                Found(
                    rle=mask_to_uncompressed_rle(mask, size, origin),
                    box=uncrop_boxes(box, crop_box),
                    predicted_iou=c.predicted_iou,
                    stability_score=stability,
                    point=uncrop_points(c.point, crop_box),
                    crop_box=crop_box,
                )
            )
        return found

    def _surely_suppressed(self, upsampler: Upsampler, c: Candidate, kept: np.ndarray) -> bool:
        """Whether any box within these bounds overlaps one of the kept boxes (K, 4) too much."""
        bounds = upsampler.box_bounds(c.logits, c.window, MASK_THRESHOLD)
        if bounds is None or len(kept) == 0:
            return False
        inner, outer = bounds
        low, high = np.maximum(inner[:2], kept[:, :2]), np.minimum(inner[2:], kept[:, 2:])
        both = (high - low).clip(min=0).prod(axis=1)
        return bool((both > self.box_nms_thresh * (box_area(outer) + box_area(kept) - both)).any())

    def _clean(self, found: list[Found]) -> list[Found]:
        """Remove small holes and islands, then duplicates; of two duplicates, a changed mask is dropped first."""
        scores = []
        for f in found:
            changed = self._tidy(f)
            if self.min_mask_region_area > 0:
                mask, filled = remove_small_regions(rle_to_mask(f.rle), self.min_mask_region_area, "holes")
                mask, cut = remove_small_regions(mask, self.min_mask_region_area, "islands")
                if filled or cut:
                    f.rle, f.box = mask_to_uncompressed_rle(mask), mask_to_box(mask)
                    changed = True
            scores.append(float(not changed))
        if not found:
            return []
        keep = nms(np.stack([f.box for f in found]), np.array(scores), max(self.box_nms_thresh, self.crop_nms_thresh))
        return [found[i] for i in keep]

    def _tidy(self, f: Found) -> bool:
        """Remove specks and holes; True if there were any."""
        if not self.tidy:
            return False
        mask, origin = rle_to_window(f.rle)
        tidied = tidy_window(mask, origin, self.tidy, f.point[None])
        if np.array_equal(tidied, mask):
            return False
        f.rle = mask_to_uncompressed_rle(tidied, tuple(f.rle["size"]), origin)
        f.box = mask_to_box(tidied) + np.tile(origin, 2)
        return True

    def _separate(self, found: list[Found]) -> list[Found]:
        """Give each pixel to the smallest mask that contains it."""
        taken, left = None, []
        for i in sorted(range(len(found)), key=lambda i: rle_area(found[i].rle)):
            f, mask = found[i], rle_to_mask(found[i].rle)
            if taken is None:
                taken = np.zeros_like(mask)
            mask &= ~taken
            if mask.any():
                taken |= mask
                f.rle, f.box = mask_to_uncompressed_rle(mask), mask_to_box(mask)
                left.append(i)
        return [found[i] for i in sorted(left)]

    def _record(self, f: Found) -> dict[str, Any]:
        if self.output_mode == "binary_mask":
            segmentation: Any = rle_to_mask(f.rle)
        else:
            segmentation = compress_rle(f.rle) if self.output_mode == "coco_rle" else f.rle
        return {
            "segmentation": segmentation,
            "area": rle_area(f.rle),
            "bbox": xyxy_to_xywh(f.box).tolist(),
            "predicted_iou": f.predicted_iou,
            "point_coords": [f.point.tolist()],
            "stability_score": f.stability_score,
            "crop_box": xyxy_to_xywh(np.array(f.crop_box)).tolist(),
        }
