"""Configurations of EfficientSAM's parts."""

from typing import Any

from ...models.configuration_parts import SamMaskDecoderConfig, SamPromptEncoderConfig, SamVisionConfig


class EfficientSamPromptEncoderConfig(SamPromptEncoderConfig):
    """EfficientSAM's: points and box corners share ``num_slots`` slots; no background points, no masks."""

    model_type = "sam_hub_efficient_sam_prompt_encoder"

    prompt_kinds: list[str] | tuple[str, ...] = ("points", "boxes")
    num_slots: int = 6

    @property
    def capabilities(self) -> dict[str, Any]:
        return {**super().capabilities, "prompt_slots": self.num_slots}


class EfficientSamMaskDecoderConfig(SamMaskDecoderConfig):
    """EfficientSAM's: GELU in every MLP."""

    model_type = "sam_hub_efficient_sam_mask_decoder"

    hidden_act: str = "gelu"


class EfficientSamVisionConfig(SamVisionConfig):
    """EfficientSAM's plain ViT (Ti by default; S is 384 wide with 6 heads): every layer is global.

    ``pretrained_grid`` is the side of the position table, which also has an entry for the class token
    (ViT at 224 pixels).
    """

    model_type = "sam_hub_efficient_sam"

    hidden_size: int = 192
    num_attention_heads: int = 3
    use_rel_pos: bool = False
    window_size: int = 0
    global_attn_indexes: list[int] | tuple[int, ...] = ()
    pretrained_grid: int = 14
