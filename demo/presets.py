"""The page's presets of everything mode: those of `sam_hub.inference.amg`, for results that users filter.

Thresholds are tuned for the model (`sam_hub.annotation.settings`). Users of the page filter by score, so the search
also keeps less certain masks, but drops specks and the background.
"""

from typing import Any

from ..annotation.settings import generator_arguments
from ..inference.thresholds import ORIGINAL

SLACK = 0.15
"""How far a mask's predicted IoU may be below the model's threshold."""
USUAL = ORIGINAL["pred_iou_thresh"]

SEARCH_PRESETS = {"fast": "256 clicks", "default": "1,024 clicks", "fine": "2,048 clicks, also in crops"}
"""The presets, and the approximate number of clicks of each."""


def preset_arguments(encoder: str | None, preset: str, tidy: float | None = None) -> dict[str, Any]:
    """Arguments of `SamAutomaticMaskGenerator`.

    encoder: ``model_type`` of the image encoder; tidy: share of a mask's area, see `generator_arguments`
    """
    suited = generator_arguments(encoder, preset, {}, tidy)
    return {
        **suited,
        "pred_iou_thresh": suited.get("pred_iou_thresh", USUAL) - SLACK,
        "max_mask_area_ratio": 0.95,
        "min_mask_region_area": 25,
        "min_mask_area": 25,
    }
