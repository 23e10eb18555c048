"""Configurations of SAM: one class for each part, as in ``transformers.models.sam``.

A folder is written with ``model_type: "sam"`` when ``transformers`` can represent the model (a ViT with
SAM's own decoder), so that either library loads it; every other family is ``model_type: "sam_hub"``.
"""

from typing import Any

from transformers import PreTrainedConfig

PAD_LABEL = -10
"""Label of a point that is padding: it is masked out of every attention, so it changes nothing."""

PAD_COORDINATE = -10.0
"""A box whose four coordinates all have this value is padding."""


class SamPromptEncoderConfig(PreTrainedConfig):
    """Points, boxes and masks -> sparse (tokens) and dense (map) embeddings."""

    model_type = "sam_prompt_encoder"
    base_config_key = "prompt_encoder_config"

    hidden_size: int = 256
    image_size: int = 1024
    patch_size: int = 16
    mask_input_channels: int = 16
    num_point_embeddings: int = 4
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-6

    @property
    def image_embedding_size(self) -> int:
        """Side of the embedding grid at ``image_size``."""
        return self.image_size // self.patch_size


class SamMaskDecoderConfig(PreTrainedConfig):
    """The two-way transformer, the upscaling and the two heads.

    ``layer_norm_eps`` belongs to the norms of the two-way transformer: 1e-5, PyTorch's default, which the
    original was trained with. ``transformers`` writes and uses 1e-6 (see `SamConfig`).
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


class SamVisionConfig(PreTrainedConfig):
    """The original ViT: windowed attention, a few global layers, decomposed relative positions.

    ``hidden_size`` and ``mlp_dim`` may be any width (SlimSAM: 168 and 696 with 12 heads of 14).
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

    def __post_init__(self, **kwargs: Any) -> None:
        self.mlp_dim = int(self.hidden_size * self.mlp_ratio) if self.mlp_dim is None else self.mlp_dim
        super().__post_init__(**kwargs)


class PocketVisionConfig(PreTrainedConfig):
    """EfficientNet-Lite0 and a three-level neck: the encoder of the embedded model.

    ``stages`` rows are (expansion, kernel, stride, channels, repeats), from the EfficientNet-Lite0 definition
    (tensorflow/tpu, ``efficientnet_lite_builder.py``); the stem has ``stem_channels`` at stride 2.
    """

    model_type = "sam_hub_pocket"
    base_config_key = "vision_config"

    stages: list[list[int]] | tuple[tuple[int, ...], ...] = (
        (1, 3, 1, 16, 1),
        (6, 3, 2, 24, 2),
        (6, 5, 2, 40, 2),
        (6, 3, 2, 80, 3),
        (6, 5, 1, 112, 3),
        (6, 5, 2, 192, 4),
        (6, 3, 1, 320, 1),
    )
    stem_channels: int = 32
    output_channels: int = 256
    num_channels: int = 3
    image_size: int = 512
    patch_size: int = 16
    batch_norm_eps: float = 1e-3
    layer_norm_eps: float = 1e-6


VISION_CONFIGS = {c.model_type: c for c in (SamVisionConfig, PocketVisionConfig)}


class SamConfig(PreTrainedConfig):
    """Configuration of `SamModel`: ``vision_config``, ``prompt_encoder_config`` and ``mask_decoder_config``.

    ``vision_config["model_type"]`` chooses the encoder; missing or empty (as in the SlimSAM repositories)
    means the ViT. Reads ``transformers`` configurations (``model_type: "sam"``) too. Those state 1e-6 for the
    norms of the two-way transformer, while every published SAM was trained with 1e-5: 1e-6 read from a
    ``"sam"`` configuration becomes 1e-5, which is what is written back, so that both libraries then agree
    with the original.
    """

    model_type = "sam_hub"
    sub_configs_defaults = {
        "vision_config": SamVisionConfig,
        "prompt_encoder_config": SamPromptEncoderConfig,
        "mask_decoder_config": SamMaskDecoderConfig,
    }

    vision_config: dict | PreTrainedConfig | None = None
    prompt_encoder_config: dict | PreTrainedConfig | None = None
    mask_decoder_config: dict | PreTrainedConfig | None = None
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        if isinstance(self.vision_config, dict):
            kind = self.vision_config.get("model_type") or SamVisionConfig.model_type
            if kind not in VISION_CONFIGS:
                raise ValueError(f"unknown encoder {kind!r}; expected one of {sorted(VISION_CONFIGS)}")
            self.vision_config = VISION_CONFIGS[kind](**{**self.vision_config, "model_type": kind})
        if isinstance(self.prompt_encoder_config, dict):  # derived; written by transformers
            self.prompt_encoder_config.pop("image_embedding_size", None)
        super().__post_init__(**kwargs)

    @property
    def is_transformers_native(self) -> bool:
        """Whether ``transformers.SamModel`` computes the same thing from the same weights."""
        return type(self.vision_config) is SamVisionConfig

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        config_dict = dict(config_dict)
        if config_dict.get("model_type") == "sam":
            config_dict["model_type"] = cls.model_type
            decoder = dict(config_dict.get("mask_decoder_config") or {})
            if decoder.get("layer_norm_eps", 1e-6) == 1e-6:
                decoder["layer_norm_eps"] = 1e-5
            config_dict["mask_decoder_config"] = decoder
        return super().from_dict(config_dict, **kwargs)

    def to_dict(self) -> dict[str, Any]:
        output = super().to_dict()
        if self.is_transformers_native:
            output["model_type"] = "sam"
            output["tie_word_embeddings"] = True  # transformers stores the positional matrix once, and ties it
        return output
