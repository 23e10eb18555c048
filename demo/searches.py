"""The presets of everything mode on the page: those of `sam_hub.inference.amg`, with thresholds for people who filter.

The original's thresholds (0.88 and 0.95) were made for its own models; a small one that is less sure of itself finds
next to nothing with them. On the page a person sees scores and filters by them, so the search itself keeps what
may be of use, and leaves out specks and the background.
"""

from dataclasses import dataclass
from typing import Any

from ..inference.amg import PRESETS

LENIENT = {
    "pred_iou_thresh": 0.25,
    "stability_score_thresh": 0.6,
    "stability_score_offset": 0.3,
    "max_mask_area_ratio": 0.95,
    "min_mask_region_area": 25,
    "min_mask_area": 25,
}


@dataclass(frozen=True)
class Search:
    """A preset; arguments: of `SamAutomaticMaskGenerator`; clicks: in words, about how many."""

    arguments: dict[str, Any]
    words: str

    def facts(self) -> dict[str, str]:
        """For the page."""
        return {"words": self.words}


SEARCHES = {
    "fast": Search({**PRESETS["fast"], **LENIENT}, "256 clicks"),
    "default": Search({**PRESETS["default"], **LENIENT}, "1,024 clicks"),
    "fine": Search({**PRESETS["fine"], **LENIENT}, "2,048 clicks, also in crops"),
}
