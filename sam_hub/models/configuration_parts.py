"""Configurations of SAM's own parts, which those of other families extend."""

from typing import Any, Literal

from transformers import PreTrainedConfig

from ..families.family import PROMPT_KINDS

PAD_COORDINATE = -10.0
"""A box whose four coordinates all have this value is padding."""


class SamPromptEncoderConfig(PreTrainedConfig):
    """Points, boxes and masks -> sparse (tokens) and dense (map) embeddings.

    ``image_size`` is the side of the coordinate frame: the encoder's input in every model but EfficientViT-SAM L0-L2,
    which encode at 512 and use coordinates up to 1024. ``prompt_kinds``, a subset of `PROMPT_KINDS`, are those that the
    weights were trained on; others are refused.
    """

    model_type = "sam_prompt_encoder"
    base_config_key = "prompt_encoder_config"

    hidden_size: int = 256
    image_size: int = 1024
    patch_size: int = 16
    mask_input_channels: int = 16
    num_point_embeddings: int = 4
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-6
    prompt_kinds: list[str] | tuple[str, ...] = PROMPT_KINDS

    @property
    def capabilities(self) -> dict[str, Any]:
        """Fields of `ModelCapabilities` that these settings decide."""
        return {"prompts": tuple(self.prompt_kinds)}

    @property
    def image_embedding_size(self) -> int:
        """Side of the embedding grid at ``image_size``."""
        return self.image_size // self.patch_size


class SamMaskDecoderConfig(PreTrainedConfig):
    """The two-way transformer, the upscaling and the two heads.

    ``layer_norm_eps`` is for the norms of the two-way transformer: 1e-5, PyTorch's default, which the original was
    trained with. ``transformers`` writes and uses 1e-6 (see `SamConfig`). ``rank_by`` is the score that ranks several
    masks: "iou", the predicted one, or "stability" if the IoU head was not trained (EdgeSAM). ``always_multimask``
    means that the token of the single mask was not trained (TinySAM).
    """

    model_type = "sam_mask_decoder"
    base_config_key = "mask_decoder_config"

    hidden_size: int = 256
    hidden_act: str = "relu"
    mlp_dim: int = 2048
    num_hidden_layers: int = 2
    num_attention_heads: int = 8
    attention_downsample_rate: int = 2
    num_multimask_outputs: int = 3
    iou_head_depth: int = 3
    iou_head_hidden_dim: int = 256
    layer_norm_eps: float = 1e-5
    rank_by: Literal["iou", "stability"] = "iou"
    always_multimask: bool = False

    @property
    def capabilities(self) -> dict[str, Any]:
        """Fields of `ModelCapabilities` that these settings decide."""
        return {
            "masks": (1, self.num_multimask_outputs),
            "single_mask": not self.always_multimask,
            "rank_by": self.rank_by,
        }


class FineMaskDecoderConfig(SamMaskDecoderConfig):
    """SAM's decoder that also reads features at strides 8 and 4, with the widths of `pocket`'s encoder."""

    model_type = "sam_hub_fine_mask_decoder"

    stride_8_channels: int = 40
    stride_4_channels: int = 24

    @property
    def capabilities(self) -> dict[str, Any]:
        return {**super().capabilities, "feature_maps": ("stride_8", "stride_4")}


class SamVisionConfig(PreTrainedConfig):
    """The original ViT: windowed attention, a few global layers, decomposed relative positions.

    ``hidden_size`` and ``mlp_dim`` may be any width (SlimSAM: 168 and 696 with 12 heads of 14).
    ``output_intermediate`` also passes the features after the first global layer to the decoder (SAM-HQ).
    """

    model_type = "sam_vision_model"
    base_config_key = "vision_config"

    hidden_size: int = 768
    output_channels: int = 256
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    num_channels: int = 3
    image_size: int = 1024
    patch_size: int = 16
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-6
    attention_dropout: float | int = 0.0
    qkv_bias: bool = True
    mlp_ratio: float = 4.0
    use_abs_pos: bool = True
    use_rel_pos: bool = True
    window_size: int = 14
    global_attn_indexes: list[int] | tuple[int, ...] = (2, 5, 8, 11)
    num_pos_feats: int = 128
    mlp_dim: int | None = None
    output_intermediate: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        self.mlp_dim = int(self.hidden_size * self.mlp_ratio) if self.mlp_dim is None else self.mlp_dim
        super().__post_init__(**kwargs)
