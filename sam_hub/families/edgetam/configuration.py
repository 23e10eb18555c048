"""Configuration of EdgeTAM's encoder, and conversion from and to ``transformers``."""

from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedConfig

from ..sam2.configuration import after_encoder, feature_sizes, prompts_and_masks


class EdgeTamVisionConfig(PreTrainedConfig):
    """RepViT-M1 as in timm, and SAM 2's feature pyramid.

    hidden_sizes, depths: per stage; ``depths`` excludes the blocks that halve the map
    """

    model_type = "edgetam_vision_model"
    base_config_key = "vision_config"
    no_memory = True  # adds the no-memory embedding

    hidden_sizes: list[int] | tuple[int, ...] = (48, 96, 192, 384)
    depths: list[int] | tuple[int, ...] = (2, 2, 14, 2)
    output_channels: int = 256
    num_channels: int = 3
    image_size: int = 1024
    patch_size: int = 16
    batch_norm_eps: float = 1e-5


def from_transformers(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of ``transformers.EdgeTamConfig``, or of its video variant -> of `SamConfig`."""
    parts = prompts_and_masks(settings)
    vision, frame = dict(settings.get("vision_config") or {}), parts["prompt_encoder_config"]
    ours = {name: vision[name] for name in ("hidden_sizes", "depths") if name in vision}
    ours |= {"image_size": frame["image_size"], "patch_size": frame["patch_size"]}
    ours["output_channels"] = vision.get("fpn_hidden_size", 256)
    known = {name: settings[name] for name in ("preprocessing", "generation", "dtype") if name in settings}
    return {**known, "vision_config": {"model_type": EdgeTamVisionConfig.model_type, **ours}, **parts}


def to_transformers(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of `SamConfig` -> of ``transformers.EdgeTamConfig``, whose encoder is timm's."""
    vision = settings["vision_config"]
    return {
        "model_type": "edgetam",
        "architectures": ["EdgeTamModel"],
        "vision_config": {
            "model_type": "edgetam_vision_model",
            "backbone_config": {
                "model_type": "timm_wrapper",
                "architecture": "repvit_m1",
                "label_names": ["LABEL_0", "LABEL_1"],  # unused, but required by transformers' reader
                "num_classes": 2,
                "model_args": {"in_chans": vision["num_channels"], "features_only": True, "out_indices": [0, 1, 2, 3]},
            },
            "backbone_channel_list": list(vision["hidden_sizes"])[::-1],
            "backbone_feature_sizes": feature_sizes(vision),
            "fpn_hidden_size": vision["output_channels"],
            "hidden_sizes": list(vision["hidden_sizes"]),
            "depths": list(vision["depths"]),
        },
        **after_encoder(settings, "edgetam"),
    }
