"""Recommended settings of a model: thresholds of everything mode, and how masks are tidied."""

from collections.abc import Mapping
from typing import Any

from ..families.registry import families

ORIGINAL: dict[str, float] = {"pred_iou_thresh": 0.88, "stability_score_thresh": 0.95, "stability_score_offset": 1.0}
"""The defaults of ``automatic_mask_generator.py``, which suit models of SAM's size."""

ENCODERS = {kind: f.name for f in families() for kind, part in f.encoders.items() if part.generation}
"""``model_type`` of an image encoder -> the family whose thresholds it uses."""

THRESHOLDS = {f.name: dict(part.generation) for f in families() for part in f.encoders.values() if part.generation}
"""Thresholds by family, instead of the original's; ``python benchmarks/thresholds.py`` measures their effect."""


def suited(encoder: str | None, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Recommended arguments of `SamAutomaticMaskGenerator` for a model, where they differ from the original's.

    encoder: ``model_type`` of its image encoder
    settings: ``generation`` of its configuration, which takes precedence
    """
    listed = encoder in ENCODERS  # others are of families registered later
    usual = THRESHOLDS.get(ENCODERS[encoder], {}) if listed else _of_family(encoder, "generation", {})
    return {**usual, **(settings or {})}


def tidied(encoder: str | None, given: float | None = None) -> float:
    """Share of a mask's area below which specks and holes are noise: ``tidy`` of its configuration, or its family's."""
    return _of_family(encoder, "tidy", 0.0) if given is None else given


def zooms(encoder: str | None, given: bool | None = None) -> bool:
    """Whether a second look at each object improves its masks: ``zoom`` of its configuration, or its family's."""
    return _of_family(encoder, "zoom", False) if given is None else given


def suits_bfloat16(encoder: str | None) -> bool:
    """Whether ``precision="fast"`` computes an image encoder in bfloat16."""
    return _of_family(encoder, "bfloat16", False)


def _of_family(encoder: str | None, setting: str, otherwise: Any) -> Any:
    """A setting of an image encoder's `Part`; ``otherwise`` for an encoder of no known family."""
    return next((getattr(f.encoders[encoder], setting) for f in families() if encoder in f.encoders), otherwise)
