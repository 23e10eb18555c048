"""Configurations of the toy's parts."""

from typing import Any

from transformers import PreTrainedConfig

from sam_hub.models.configuration_sam import SamMaskDecoderConfig


class ToyVisionConfig(PreTrainedConfig):
    """Two convolutions, ``width`` channels between them."""

    model_type = "toy_vision"
    base_config_key = "vision_config"

    width: int = 12
    output_channels: int = 64
    num_channels: int = 3
    image_size: int = 96
    patch_size: int = 16


class ToyMaskDecoderConfig(SamMaskDecoderConfig):
    """SAM's decoder and a finer feature map."""

    model_type = "toy_mask_decoder"

    fine_width: int = 12
    rank_by: str = "stability"

    @property
    def capabilities(self) -> dict[str, Any]:
        return {**super().capabilities, "feature_maps": ("stride8",)}
