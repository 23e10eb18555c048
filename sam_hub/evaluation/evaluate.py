"""Evaluates how well a model segments the annotated objects of data shards, from clicks and from boxes.

The protocol, repeated in ``protocol`` and ``metrics`` of the JSON report:

- All scores are IoU with the annotated mask at the resolution of the original image. Every object counts once,
  regardless of size; only empty masks are skipped. A shard's score is the mean over its objects; the final mean is over
  shards, except those whose name starts with ``zeroshot-``.
- ``limit`` images of each shard, and ``max_objects`` objects of each image (so that pictures with hundreds of
  cells do not outweigh the rest), are drawn by ``seed``. The draw of one image does not depend on other images, and a
  smaller limit draws a subset of a larger one.
- First click: the object's pixel farthest from its boundary, the image border being boundary too. Of the three
  predicted masks, the one with the highest predicted IoU is scored; the oracle picks the one with the highest true IoU.
- Further clicks: at the farthest pixel (as above) of the largest error component, missed or extra, together with all
  earlier clicks and the previous low-res logits; one mask is predicted. A perfect mask is kept.
- Box: the tight box of the annotated mask (right and bottom exclusive, as in COCO), without clicks; one mask is
  predicted.
- Boundary IoU (Cheng et al. 2021, 2 % of the image's diagonal) of the box's mask and of the first click's mask, and the
  number of additional connected components in the latter.
- Baselines from the same boxes: the inscribed ellipse, and GrabCut with 5 iterations on the image scaled down to
  at most 512 pixels.
- Prompts that a model does not support (EfficientSAM: corrective clicks; MedSAM: clicks) are not measured.
- Unreadable samples and objects are skipped and named in ``skipped``; a shard without any usable object is an error.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.sa1b import PROBLEM, Sa1bDataset, Sample
from ..errors import DataError
from .baselines import GrabCut, inscribed_ellipse
from .clicks import corrective_click, farthest_pixel, tight_box
from .metrics import boundary_iou, islands, mask_iou
from .prompting import ask

if TYPE_CHECKING:
    from ..inference.image_predictor import ImagePredictor

FEWEST_CLICKS = 5
"""At least 5 clicks: the report contains the IoU after 1, 3 and 5."""

GOOD_IOU = 0.90
"""The highest IoU for which the number of clicks is reported."""

BATCH = 16
BATCH_PIXELS = 2**25
"""Objects decoded together: at most ``BATCH``, and at most this many mask pixels (floats), with 3 masks per object."""


@dataclass(frozen=True)
class Protocol:
    """Options of the protocol, which the module's docstring explains.

    limit: images per shard; None: all
    max_objects: objects per image
    clicks: maximum clicks per object, at least 5; more only matter for the number of clicks to an IoU
    baselines: also score the ellipse and GrabCut (as slow as a small model)
    zoom: predict with ``zoom``, see `ImagePredictor.predict`: each object's window is encoded too
    tidy: share of a mask's area; smaller specks and holes are removed before scoring, see `ops.tidying.tidy`
    """

    seed: int = 0
    limit: int | None = None
    max_objects: int = 16
    clicks: int = 5
    baselines: bool = True
    zoom: bool = False
    tidy: float = 0.0

    def __post_init__(self) -> None:
        if self.clicks < FEWEST_CLICKS:
            raise ValueError(f"clicks must be at least {FEWEST_CLICKS}; got {self.clicks}")
        if self.max_objects < 1 or (self.limit is not None and self.limit < 1):
            raise ValueError("limit and max_objects must be at least 1")

    def images(self, count: int) -> list[int]:
        """Indices of the evaluated images among a shard's ``count``, in ascending order."""
        order = np.random.default_rng(self.seed).permutation(count)
        return sorted(order[: self.limit].tolist())

    def objects(self, image: int, count: int) -> list[int]:
        """Indices of the evaluated objects among an image's ``count``, in ascending order."""
        order = np.random.default_rng([self.seed, image]).permutation(count)
        return sorted(order[: self.max_objects].tolist())


@dataclass
class ObjectScores:
    """IoU of one object's masks with the annotated one; empty for prompts that the model does not support.

    box: with the box as prompt
    candidates: (predicted, true) IoU of each mask for the first click
    box_boundary, click_boundary: Boundary IoU of the box's mask, and of the first click's mask
    click_islands: additional connected components in the first click's mask
    clicks: after 1, 2, ... clicks; stops early when both 5 clicks and an IoU of 0.90 are reached
    """

    box: float | None = None
    candidates: list[tuple[float, float]] = field(default_factory=list)
    clicks: list[float] = field(default_factory=list)
    ellipse: float | None = None
    grabcut: float | None = None
    box_boundary: float | None = None
    click_boundary: float | None = None
    click_islands: int | None = None


@dataclass
class ShardScores:
    """The scores of one shard's objects, without ``empty`` masks and ``skipped`` samples and objects."""

    name: str
    images: int = 0
    objects: list[ObjectScores] = field(default_factory=list)
    empty: int = 0
    skipped: list[str] = field(default_factory=list)


def evaluate_image(
    predictor: "ImagePredictor", image: np.ndarray, masks: np.ndarray, protocol: Protocol
) -> list[ObjectScores]:
    """Score the N objects of one image, which is encoded once.

    image: (H, W, 3) uint8 RGB; masks: (N, H, W) bool, none of them empty
    """
    predictor.set_image(image)
    kinds = predictor.capabilities.prompt_kinds
    scores = [ObjectScores() for _ in masks]
    look = {"zoom": protocol.zoom, "tidy": protocol.tidy}
    batch = max(1, min(BATCH, BATCH_PIXELS // (3 * masks[0].size)))
    for start in range(0, len(masks), batch):
        part = slice(start, start + batch)
        if "boxes" in kinds:
            _score_boxes(predictor, masks[part], scores[part], look)
        if "points" in kinds:
            limit = protocol.clicks if {"background points", "masks"} <= set(kinds) else 1
            _score_clicks(predictor, masks[part], scores[part], limit, look)
    if protocol.baselines:
        grabcut = GrabCut(image)
        for mask, score in zip(masks, scores, strict=True):
            box = tight_box(mask)
            score.ellipse = float(mask_iou(inscribed_ellipse(box, mask.shape), mask))
            score.grabcut = float(mask_iou(grabcut.segment(box), mask))
    return scores


def _score_boxes(
    predictor: "ImagePredictor", masks: np.ndarray, scores: list[ObjectScores], look: Mapping[str, Any]
) -> None:
    """Fill in the scores of box prompts for (N, H, W) masks. look: options of `ask`"""
    answer = ask(predictor, boxes=np.array([tight_box(m) for m in masks]), **look)
    found = answer.masks[:, 0]
    for score, iou, mine, mask in zip(scores, mask_iou(found, masks).tolist(), found, masks, strict=True):
        score.box, score.box_boundary = iou, boundary_iou(mine, mask)


def _score_clicks(
    predictor: "ImagePredictor", masks: np.ndarray, scores: list[ObjectScores], limit: int, look: Mapping[str, Any]
) -> None:
    """Fill in the scores of 1, 2, ... ``limit`` clicks for (N, H, W) masks. look: options of `ask`"""
    points = np.array([[farthest_pixel(m)] for m in masks])  # (N, 1, 2)
    labels = np.ones((len(masks), 1), np.int64)
    answer = ask(predictor, points, labels, multimask=True, **look)
    choice = answer.best()
    true = mask_iou(answer.masks, masks[:, None])
    for score, predicted, ious, best in zip(scores, answer.scores.tolist(), true.tolist(), choice, strict=True):
        score.candidates = list(zip(predicted, ious, strict=True))
        score.clicks = [ious[best]]

    current, low_res = answer.choose(choice)
    for score, mine, mask in zip(scores, current, masks, strict=True):
        score.click_boundary, score.click_islands = boundary_iou(mine, mask), islands(mine)
    for _ in range(1, limit):
        clicks = [corrective_click(mine, mask) for mine, mask in zip(current, masks, strict=True)]
        for score, click in zip(scores, clicks, strict=True):
            if click is None:
                score.clicks += [1.0] * (limit - len(score.clicks))
        rows = [i for i, score in enumerate(scores) if clicks[i] and _goes_on(score.clicks)]
        if not rows:
            break
        # Continue with the objects that get another click.
        masks, scores = masks[rows], [scores[i] for i in rows]
        added = np.array([clicks[i] for i in rows])[:, None]  # (N, 1, 3)
        points = np.concatenate([points[rows], added[..., :2]], axis=1)
        labels = np.concatenate([labels[rows], added[..., 2]], axis=1)
        answer = ask(predictor, points, labels, mask_input=low_res[rows], **look)
        current, low_res = answer.choose(np.zeros(len(rows), int))
        for score, iou in zip(scores, mask_iou(current, masks).tolist(), strict=True):
            score.clicks.append(iou)


def _goes_on(ious: Sequence[float]) -> bool:
    """Whether another click can change a reported number."""
    return len(ious) < FEWEST_CLICKS or max(ious) < GOOD_IOU


def read_objects(
    dataset: Sa1bDataset, index: int, protocol: Protocol, problems: list[str] | None = None
) -> tuple[Sample, list[np.ndarray]]:
    """Read one image and the masks, (H, W) bool, of its sampled objects.

    problems: list to which a sentence is appended for each damaged object, which is skipped
    raises: DataError if the image or all of its sampled objects are damaged
    """
    sample = dataset[index]
    masks, damaged = [], []
    for i in protocol.objects(index, len(sample.annotations)):
        try:
            if why := sample.annotations[i].get(PROBLEM):
                raise DataError(why)
            masks.append(sample.mask(i))
        except DataError as e:
            damaged.append(str(e))
    if damaged and not masks:
        raise DataError(damaged[0])
    if problems is not None:
        problems += damaged
    return sample, masks


def evaluate_shard(
    predictor: "ImagePredictor",
    dataset: Sa1bDataset,
    protocol: Protocol,
    track: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> ShardScores:
    """Score the sampled objects of a shard.

    track: wraps the list of image indices, to show progress
    raises: DataError if no object could be evaluated
    """
    result = ShardScores(dataset.name, skipped=list(getattr(dataset, "remarks", ())))
    for index in track(protocol.images(len(dataset))):
        try:
            sample, masks = read_objects(dataset, index, protocol, result.skipped)
        except DataError as e:
            result.skipped.append(str(e))
            continue
        full = [m for m in masks if m.any()]
        result.empty += len(masks) - len(full)
        if full:
            result.images += 1
            result.objects += evaluate_image(predictor, sample.image, np.stack(full), protocol)
    if not result.objects:
        reason = result.skipped[0] if result.skipped else "no image has an object that is not empty"
        raise DataError(f"{dataset.path}: it has no image to evaluate ({reason})")
    return result
