"""The settings that affect results: the generator's arguments, the model's thresholds, and the weights."""

import hashlib
from typing import Any

from ..inference.amg import PRESETS
from ..inference.image_predictor import ImagePredictor
from ..inference.runtime import OnnxPredictor
from ..inference.thresholds import ENCODERS, THRESHOLDS, suited, tidied
from ..ops.files import sha256

__all__ = ["BATCH", "ENCODERS", "THRESHOLDS", "generator_arguments", "settings_of", "weights_id"]

BATCH = "points_per_batch"
"""An argument that trades memory for speed; it affects results only by rounding."""


def generator_arguments(
    encoder: str | None, preset: str, given: dict[str, Any], tidy: float | None = None
) -> dict[str, Any]:
    """Arguments for `SamAutomaticMaskGenerator`: the preset's, overridden by the model's, then by ``given``.

    encoder: ``model_type`` of the image encoder
    given: name -> value, or None if not given
    tidy: share of a mask's area, from the model's configuration; default: the family's
    """
    share = tidied(encoder, tidy)
    own = {**suited(encoder), **({"tidy": share} if share else {})}
    return {**PRESETS[preset], **own, **{k: v for k, v in given.items() if v is not None}}


def settings_of(model: str, weights: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The settings, as JSON, that two runs must share for their results to be combined."""
    return {"model": model, "weights": weights, **{k: v for k, v in sorted(arguments.items()) if k != BATCH}}


def weights_id(predictor: ImagePredictor) -> str:
    """Sixteen hexadecimal digits that change when weights are trained further or replaced.

    Hashes the shape and up to 64 evenly spaced values of each tensor, which is fast even for the largest model; ONNX
    files are hashed completely.
    """
    digest = hashlib.sha256()
    if isinstance(predictor, OnnxPredictor):
        for path in predictor.files:
            digest.update(bytes.fromhex(sha256(path)))
        return digest.hexdigest()[:16]
    if not hasattr(predictor, "model"):  # neither torch nor ONNX
        return hashlib.sha256(predictor.backend.identity().encode()).hexdigest()[:16]
    model = predictor.model
    for name, tensor in sorted(model.state_dict().items()):
        flat = tensor.detach().flatten()
        values = flat[:: max(1, flat.numel() // 64)][:64].cpu().double().numpy()
        digest.update(f"{name} {tuple(tensor.shape)} ".encode() + values.tobytes())
    return digest.hexdigest()[:16]
