"""Conversion of ``transformers`` configurations to our settings and back."""

from typing import Any

PARTS = ("vision_config", "prompt_encoder_config", "mask_decoder_config")


def from_transformers(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of ``transformers.SamConfig`` -> of `SamConfig`, with the eps used to train the published SAMs."""
    parts = {name: dict(settings.get(name) or {}) for name in PARTS}
    decoder = parts["mask_decoder_config"]
    if decoder.get("layer_norm_eps", 1e-6) == 1e-6:
        decoder["layer_norm_eps"] = 1e-5
    return {**settings, **parts}


def to_transformers(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings that differ in ``transformers.SamConfig``: the positional matrix is stored once, and tied."""
    return {"model_type": "sam", "tie_word_embeddings": True}
