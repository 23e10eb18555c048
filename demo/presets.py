"""The presets of everything mode on the page: those of `sam_hub.inference.amg`, for people who filter.

The thresholds are those that suit the model (`sam_hub.annotation.settings`). On the page a person sees scores and
filters by them, so the search keeps masks too that the model is less sure of, and leaves out specks and the background.
"""

from typing import Any

from ..annotation.settings import generator_arguments
from ..inference.thresholds import ORIGINAL

SLACK = 0.15
"""By so much the predicted IoU of a mask may be below the threshold that suits the model."""
USUAL = ORIGINAL["pred_iou_thresh"]

SEARCH_PRESETS = {"fast": "256 clicks", "default": "1,024 clicks", "fine": "2,048 clicks, also in crops"}
"""The presets, and about how many clicks each makes."""


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
