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
    usual: Mapping[str, Any] = {}
    if encoder in ENCODERS:
        usual = THRESHOLDS.get(ENCODERS[encoder], {})
    elif encoder:  # of a family registered later
        usual = next((f.encoders[encoder].generation for f in families() if encoder in f.encoders), {})
    return {**usual, **(settings or {})}


def tidied(encoder: str | None, given: float | None = None) -> float:
    """Share of a mask's area below which specks and holes are noise: ``tidy`` of its configuration, or its family's."""
    if given is not None:
        return given
    return next((f.encoders[encoder].tidy for f in families() if encoder in f.encoders), 0.0)


def zooms(encoder: str | None, given: bool | None = None) -> bool:
    """Whether a second look at each object improves its masks: ``zoom`` of its configuration, or its family's."""
    if given is not None:
        return given
    return next((f.encoders[encoder].zoom for f in families() if encoder in f.encoders), False)
