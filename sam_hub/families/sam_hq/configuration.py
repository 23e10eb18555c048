"""Configuration of SAM-HQ's decoder."""

from typing import Any

from ...models.configuration_parts import SamMaskDecoderConfig, SamPromptEncoderConfig, SamVisionConfig
from ..sam.configuration import from_transformers as from_sam


class HqMaskDecoderConfig(SamMaskDecoderConfig):
    """SAM-HQ's: an additional token, and early encoder features with ``vit_dim`` channels."""

    model_type = "sam_hub_hq_mask_decoder"

    vit_dim: int = 768

    @property
    def capabilities(self) -> dict[str, Any]:
        return {**super().capabilities, "masks": (1,), "extra_tokens": ("hq",), "feature_maps": ("early",)}


def from_transformers(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of ``transformers.SamHQConfig`` -> of `SamConfig`."""
    ours = from_sam(settings)
    ours["vision_config"].update(model_type=SamVisionConfig.model_type, output_intermediate=True)
    ours["prompt_encoder_config"]["model_type"] = SamPromptEncoderConfig.model_type
    ours["mask_decoder_config"]["model_type"] = HqMaskDecoderConfig.model_type
    return ours
