"""Configuration of SAM 3's image encoder, and conversion from and to ``transformers``."""

from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedConfig

from ...errors import CheckpointError
from ..sam2.configuration import after_encoder, prompts_and_masks

TRUNK_EPS = 1e-5
"""Eps of the ViT's norms in the authors' code; ``transformers`` writes and uses 1e-6."""

TRUNK = "sam3_vit_model"

LEVELS = (4.0, 2.0, 1.0)
"""Scales of the neck's maps that are used. Checkpoints have a fourth level, 0.5, whose result the original discards."""


class Sam3VisionConfig(PreTrainedConfig):
    """A ViT with windows and rotary positions, and a neck with maps at 4, 2 and 1 times the ViT's output size.

    pretrain_image_size: image side for the position table, which is tiled
    window_size: of layers not in ``global_attn_indexes``; also the length of a side for rotary positions
    output_trunk: also output the ViT's result, for concept prompts
    """

    model_type = "sam3_vision_model"
    base_config_key = "vision_config"
    no_memory = True  # adds the no-memory embedding

    hidden_size: int = 1024
    mlp_dim: int = 4736
    num_hidden_layers: int = 32
    num_attention_heads: int = 16
    num_channels: int = 3
    image_size: int = 1008
    patch_size: int = 14
    hidden_act: str = "gelu"
    layer_norm_eps: float = TRUNK_EPS
    attention_dropout: float | int = 0.0
    window_size: int = 24
    global_attn_indexes: list[int] | tuple[int, ...] = (7, 15, 23, 31)
    pretrain_image_size: int = 336
    rope_theta: float = 10000.0
    output_channels: int = 256
    output_trunk: bool = False


TRUNK_FIELDS = {
    "hidden_size": "hidden_size",
    "mlp_dim": "intermediate_size",
    "num_hidden_layers": "num_hidden_layers",
    "num_attention_heads": "num_attention_heads",
    "num_channels": "num_channels",
    "image_size": "image_size",
    "patch_size": "patch_size",
    "hidden_act": "hidden_act",
    "layer_norm_eps": "layer_norm_eps",
    "attention_dropout": "attention_dropout",
    "window_size": "window_size",
    "global_attn_indexes": "global_attn_indexes",
    "pretrain_image_size": "pretrain_image_size",
}
"""Our names of the trunk's settings -> names in ``transformers``."""


def vision_settings(vision: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of ``transformers.Sam3VisionConfig`` -> of `Sam3VisionConfig`, with the authors' eps."""
    trunk = dict(vision.get("backbone_config") or {})
    if (kind := trunk.get("model_type") or TRUNK) != TRUNK:
        raise CheckpointError(
            f"its image encoder is of the type {kind!r}, which this version of sam-hub does not know: update it, or "
            "take another model (`sam-hub zoo`)"
        )
    ours = {name: trunk[theirs] for name, theirs in TRUNK_FIELDS.items() if trunk.get(theirs) is not None}
    for name in ("image_size", "patch_size", "pretrain_image_size"):
        if isinstance(ours.get(name), list | tuple):  # a square, written as two numbers
            ours[name] = ours[name][0]
    if ours.get("layer_norm_eps", 1e-6) == 1e-6:
        ours["layer_norm_eps"] = TRUNK_EPS
    if theta := (trunk.get("rope_parameters") or {}).get("rope_theta") or trunk.get("rope_theta"):
        ours["rope_theta"] = theta
    if vision.get("fpn_hidden_size"):
        ours["output_channels"] = vision["fpn_hidden_size"]
    return {"model_type": Sam3VisionConfig.model_type, **ours}


def from_tracker(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of ``transformers.Sam3TrackerConfig``, or of its video variant -> of `SamConfig`."""
    known = {name: settings[name] for name in ("preprocessing", "generation", "dtype") if name in settings}
    vision = vision_settings(settings.get("vision_config") or {})
    parts = {"prompt_encoder_config": {"image_size": 1008, "patch_size": 14}, **settings}
    return {**known, "vision_config": vision, **prompts_and_masks(parts)}


def from_video(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of ``transformers.Sam3VideoConfig``, the layout in which SAM 3 is published, with clicks and words."""
    tracker, detector = (dict(settings.get(f"{part}_config") or {}) for part in ("tracker", "detector"))
    found = from_tracker({**tracker, "vision_config": detector.get("vision_config") or tracker.get("vision_config")})
    found["vision_config"]["output_trunk"] = True
    return found


def from_detector(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse ``transformers.Sam3Config``, a model without clicks. raises: CheckpointError"""
    raise CheckpointError(
        "this model takes text and example boxes, and no clicks: load it with "
        "sam_hub.ConceptFinder.from_pretrained, or take one with both (`sam-hub zoo`)"
    )


def to_tracker(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of `SamConfig` -> of ``transformers.Sam3TrackerConfig``.

    Keeps three of the neck's four levels: ``Sam3TrackerModel`` adds the no-memory embedding to the last one, which then
    matches the authors' code.
    """
    vision = settings["vision_config"]
    grid = vision["image_size"] // vision["patch_size"]
    return {
        "model_type": "sam3_tracker",
        "architectures": ["Sam3TrackerModel"],
        "vision_config": {
            "model_type": "sam3_vision_model",
            "backbone_config": {
                "model_type": TRUNK,
                **{theirs: vision[ours] for ours, theirs in TRUNK_FIELDS.items()},
                "rope_parameters": {"rope_type": "axial", "rope_theta": vision["rope_theta"]},
            },
            "backbone_feature_sizes": [[int(scale * grid)] * 2 for scale in LEVELS],
            "scale_factors": list(LEVELS),
            "fpn_hidden_size": vision["output_channels"],
        },
        **after_encoder(settings, "sam3_tracker"),
    }
