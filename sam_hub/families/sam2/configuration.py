"""Configurations of SAM 2's parts, and conversion from and to ``transformers``."""

from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedConfig

from ...models.configuration_parts import SamMaskDecoderConfig, SamPromptEncoderConfig


class Sam2VisionConfig(PreTrainedConfig):
    """Hiera and a feature pyramid; the defaults are those of tiny.

    hidden_sizes, depths, num_attention_heads, window_sizes: per stage. The first block of a stage uses the previous
        stage's window size and pools its queries, which halves the map.
    global_attn_indexes: blocks without windows
    position_grid: size of the position table, which is resized; a window-sized table is added to it
    """

    model_type = "sam2_vision_model"
    base_config_key = "vision_config"
    no_memory = True  # adds the no-memory embedding

    hidden_sizes: list[int] | tuple[int, ...] = (96, 192, 384, 768)
    depths: list[int] | tuple[int, ...] = (1, 2, 7, 2)
    num_attention_heads: list[int] | tuple[int, ...] = (1, 2, 4, 8)
    window_sizes: list[int] | tuple[int, ...] = (8, 4, 14, 7)
    global_attn_indexes: list[int] | tuple[int, ...] = (5, 7, 9)
    position_grid: list[int] | tuple[int, ...] = (7, 7)
    mlp_ratio: float = 4.0
    output_channels: int = 256
    num_channels: int = 3
    image_size: int = 1024
    patch_size: int = 16
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-6


class Sam2PromptEncoderConfig(SamPromptEncoderConfig):
    """SAM's settings; see `Sam2PromptEncoder`."""

    model_type = "sam2_prompt_encoder"


class Sam2MaskDecoderConfig(SamMaskDecoderConfig):
    """SAM's settings, and when to replace the single mask by the best of the three.

    It is replaced if its stability is below ``dynamic_multimask_stability_thresh``: the number of pixels above
    ``dynamic_multimask_stability_delta``, divided by those above its negative.
    """

    model_type = "sam2_mask_decoder"

    dynamic_multimask_via_stability: bool = True
    dynamic_multimask_stability_delta: float = 0.05
    dynamic_multimask_stability_thresh: float = 0.98

    @property
    def stride_8_channels(self) -> int:
        """Width of the map, before the projection."""
        return self.hidden_size

    @property
    def stride_4_channels(self) -> int:
        return self.hidden_size

    @property
    def capabilities(self) -> dict[str, Any]:
        return {**super().capabilities, "object_score": True, "feature_maps": ("stride_8", "stride_4")}


PROMPT_FIELDS = ("hidden_size", "image_size", "patch_size", "mask_input_channels", "num_point_embeddings",
                 "hidden_act", "layer_norm_eps")  # fmt: skip
DECODER_FIELDS = ("hidden_size", "mlp_dim", "num_hidden_layers", "num_attention_heads", "attention_downsample_rate",
                  "num_multimask_outputs", "iou_head_depth", "iou_head_hidden_dim", "dynamic_multimask_via_stability",
                  "dynamic_multimask_stability_delta", "dynamic_multimask_stability_thresh")  # fmt: skip
"""Settings with the same name in ``transformers``."""

TRUNK_FIELDS = {
    "hidden_sizes": "embed_dim_per_stage",
    "depths": "blocks_per_stage",
    "num_attention_heads": "num_attention_heads_per_stage",
    "window_sizes": "window_size_per_stage",
    "global_attn_indexes": "global_attention_blocks",
    "position_grid": "window_positional_embedding_background_size",
    "mlp_ratio": "mlp_ratio",
    "num_channels": "num_channels",
    "hidden_act": "hidden_act",
    "layer_norm_eps": "layer_norm_eps",
}
"""Our names of the trunk's settings -> names in ``transformers``."""


KEPT = ("preprocessing", "generation", "dtype", "original_layout")
"""Settings of ours beside those of ``transformers``."""


def side(size: Any, default: int) -> int:
    """Side of a square, which ``transformers`` writes as one number or two."""
    if size is None:
        return default
    return size[0] if isinstance(size, list | tuple) else size


def prompts_and_masks(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of prompt encoder and mask decoder, shared by SAM 2, EdgeTAM and SAM 3's click predictor."""
    prompts, decoder = (dict(settings.get(f"{part}_config") or {}) for part in ("prompt_encoder", "mask_decoder"))
    prompts = {name: prompts[name] for name in PROMPT_FIELDS if name in prompts}
    for name, default in (("image_size", 1024), ("patch_size", 16)):
        prompts[name] = side(prompts.get(name), default)
    decoder = {name: decoder[name] for name in DECODER_FIELDS if name in decoder}
    return {
        "prompt_encoder_config": {"model_type": Sam2PromptEncoderConfig.model_type, **prompts},
        "mask_decoder_config": {"model_type": Sam2MaskDecoderConfig.model_type, **decoder},
    }


def from_transformers(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of ``transformers.Sam2Config``, or of its video variant -> of `SamConfig`."""
    parts = prompts_and_masks(settings)
    vision = dict(settings.get("vision_config") or {})
    trunk = dict(vision.get("backbone_config") or {})
    ours = {name: trunk[theirs] for name, theirs in TRUNK_FIELDS.items() if theirs in trunk}
    frame = parts["prompt_encoder_config"]
    ours |= {"image_size": frame["image_size"], "patch_size": frame["patch_size"]}
    ours["output_channels"] = vision.get("fpn_hidden_size", 256)
    known = {name: settings[name] for name in KEPT if name in settings}
    return {**known, "vision_config": {"model_type": Sam2VisionConfig.model_type, **ours}, **parts}


def after_encoder(settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Inverse of `prompts_and_masks`; ``name``: the model's, used as a prefix of each part's."""
    prompts, decoder = settings["prompt_encoder_config"], settings["mask_decoder_config"]
    return {
        "prompt_encoder_config": {
            "model_type": f"{name}_prompt_encoder",
            **{field: prompts[field] for field in PROMPT_FIELDS},
        },
        "mask_decoder_config": {
            "model_type": f"{name}_mask_decoder",
            **{field: decoder[field] for field in DECODER_FIELDS},
        },
    }


def feature_sizes(vision: Mapping[str, Any]) -> list[list[int]]:
    """Sizes (h, w) of the maps at strides 4, 8 and 16."""
    return [[vision["image_size"] // stride] * 2 for stride in (4, 8, 16)]


def to_transformers(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of `SamConfig` -> of ``transformers.Sam2Config``."""
    vision = settings["vision_config"]
    trunk = {theirs: vision[ours] for ours, theirs in TRUNK_FIELDS.items()}
    first = {"hidden_size": vision["hidden_sizes"][0], "num_attention_heads": vision["num_attention_heads"][0]}
    return {
        "model_type": "sam2",
        "architectures": ["Sam2Model"],
        "vision_config": {
            "model_type": "sam2_vision_model",
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "image_size": [vision["image_size"]] * 2,
                **first,
                **trunk,
            },
            "backbone_channel_list": list(vision["hidden_sizes"])[::-1],
            "backbone_feature_sizes": feature_sizes(vision),
            "fpn_hidden_size": vision["output_channels"],
        },
        **after_encoder(settings, "sam2"),
    }
