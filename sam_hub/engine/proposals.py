"""Masks found without prompts: confident ones that pre-fill photos, and the paper's fully automatic stage."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..data.sa1b import Sample
from ..evaluation.metrics import mask_iou
from ..inference.amg import SamAutomaticMaskGenerator
from ..inference.image_predictor import ImagePredictor
from ..inference.thresholds import ORIGINAL, suited
from ..ops.run_lengths import rle_to_mask

FULL: dict[str, Any] = {
    "points_per_side": 32,
    "crop_n_layers": 2,
    "crop_n_points_downscale_factor": 2,
    "box_nms_thresh": 0.7,
    "crop_nms_thresh": 0.7,
    "max_mask_area_ratio": 0.95,
    "min_mask_region_area": 100,
    **ORIGINAL,
}
"""The paper's appendix B, "Automatic mask generation": a grid of 32 x 32 on the image, of 16 x 16 and 8 x 8 on its 4
and 16 crops; predicted IoU of 0.88 and stability of 0.95 at an offset of 1; masks of more than 95 % dropped, islands
and holes of fewer than 100 pixels removed and filled. `full_arguments` scales the thresholds."""

SEMI: dict[str, Any] = {"points_per_side": 24, "min_mask_region_area": 20, "max_mask_area_ratio": 0.95}
"""Everything mode's arguments for confident masks, without the thresholds, which `thresholds_for` chooses."""

LOOSE: dict[str, float] = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.5}
"""Low thresholds for the candidates of `thresholds_for`."""

RIGHT = 0.85
"""Minimum IoU with an accepted mask for a proposal to count as correct."""


@dataclass(frozen=True)
class Confidence:
    """Thresholds, and their precision on photos annotated by people.

    precision, kept: share of correct masks above the thresholds, and number of masks above them, on the photos used to
    choose the thresholds; held_*: the same on held-out photos. Objects that annotators missed lower the precision.
    """

    pred_iou_thresh: float
    stability_score_thresh: float
    stability_score_offset: float
    precision: float
    kept: int
    held_precision: float | None
    held_kept: int

    def arguments(self) -> dict[str, float]:
        """Arguments for `SamAutomaticMaskGenerator`."""
        return {k: v for k, v in asdict(self).items() if k in ORIGINAL}

    def words(self) -> str:
        held = "none are annotated" if self.held_precision is None else f"{self.held_precision:.2f} of {self.held_kept}"
        return (
            f"predicted IoU >= {self.pred_iou_thresh:.2f} and stability >= {self.stability_score_thresh:.2f}: "
            f"{self.precision:.2f} of {self.kept} masks are right on annotated photos; on photos held out, {held}"
        )


def full_arguments(encoder: str | None) -> dict[str, Any]:
    """Arguments for the fully automatic stage; thresholds are the paper's, or those tuned for the model's family.

    encoder: ``model_type`` of its image encoder
    """
    return {**FULL, **suited(encoder)}


def semi_arguments(encoder: str | None, chosen: Confidence | None = None) -> dict[str, Any]:
    """Arguments to find confident masks."""
    return {**SEMI, **suited(encoder), **(chosen.arguments() if chosen else {})}


def confident_masks(predictor: ImagePredictor, image: np.ndarray, chosen: Confidence) -> list[dict[str, Any]]:
    """Records of everything mode, with ``segmentation`` as compressed RLE."""
    arguments = semi_arguments(predictor.encoder_kind, chosen)
    return SamAutomaticMaskGenerator(predictor, **arguments, output_mode="coco_rle").generate(image)


def thresholds_for(
    predictor: ImagePredictor,
    learnt: Sequence[Sample],
    held: Sequence[Sample],
    precision: float = 0.8,
    most: int = 6,
) -> Confidence:
    """Choose the thresholds that keep most correct masks at ``precision``, or else the most precise ones.

    learnt: annotated photos to choose on; held: held-out photos to measure precision on; most: number of photos used of
        each
    """
    offset = suited(predictor.encoder_kind).get("stability_score_offset", ORIGINAL["stability_score_offset"])
    table = _judged(predictor, learnt, most, offset)
    chosen = _choose(table, precision)
    held_table = _judged(predictor, held, most, offset)
    kept = held_table[_above(held_table, *chosen)]
    mine = table[_above(table, *chosen)]
    return Confidence(
        *chosen,
        offset,
        float(mine[:, 2].mean()) if len(mine) else 0.0,
        len(mine),
        float(kept[:, 2].mean()) if len(kept) else None,
        len(kept),
    )


def _judged(predictor: ImagePredictor, samples: Sequence[Sample], most: int, offset: float) -> np.ndarray:
    """(N, 3): predicted IoU, stability, and whether the mask is correct, for all masks of up to ``most`` photos."""
    arguments = {**SEMI, **LOOSE, "stability_score_offset": offset}
    generator = SamAutomaticMaskGenerator(predictor, **arguments, output_mode="coco_rle")
    rows = []
    for index in range(min(most, len(samples))):
        sample = samples[index]
        truths = [sample.mask(i) for i in range(len(sample.annotations))]
        if not truths:
            continue
        for record in generator.generate(sample.image):
            mask = rle_to_mask(record["segmentation"])
            right = max(float(mask_iou(mask, truth)) for truth in truths) >= RIGHT
            rows.append((record["predicted_iou"], record["stability_score"], right))
    return np.array(rows, float).reshape(-1, 3)


GRID = tuple(np.round(np.arange(0.3, 1.0, 0.05), 2)), (0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
"""Candidate thresholds of predicted IoU and stability."""


def _choose(table: np.ndarray, precision: float) -> tuple[float, float]:
    """The pair that keeps most correct masks among those that reach the precision, else the most precise pair."""
    best, best_rank = (float(GRID[0][-1]), GRID[1][-1]), (-1.0, -1.0)
    for iou in GRID[0]:
        for stability in GRID[1]:
            kept = table[_above(table, iou, stability), 2]
            if len(kept) < 3:
                continue
            reached = kept.mean() >= precision
            rank = (1.0, float(kept.sum())) if reached else (0.0, float(kept.mean()))
            if rank > best_rank:
                best, best_rank = (float(iou), float(stability)), rank
    return best


def _above(table: np.ndarray, iou: float, stability: float) -> np.ndarray:
    return (table[:, 0] >= iou) & (table[:, 1] >= stability)
