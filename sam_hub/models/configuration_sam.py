"""Configurations of SAM: one class for each part, as in ``transformers.models.sam``.

A folder is written with ``model_type: "sam"`` when ``transformers`` can represent the model (a ViT with
SAM's own decoder), so that either library loads it; every other family is ``model_type: "sam_hub"``.
"""

from pathlib import Path
from typing import Any, Literal

from transformers import PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from ..errors import ModelNotFoundError
from ..hub.download import Repository
from ..hub.places import locate
from ..ops.bounds import buildable, check_settings, trusting_size
from ..zoo import Variant

PAD_LABEL = -10
"""Label of a point that is padding: it is masked out of every attention, so it changes nothing."""

PAD_COORDINATE = -10.0
"""A box whose four coordinates all have this value is padding."""

PROMPT_KINDS = ("points", "background points", "boxes", "masks")
"""What SAM understands; a model that understands less says so in its ``prompt_kinds``."""


class SamPromptEncoderConfig(PreTrainedConfig):
    """Points, boxes and masks -> sparse (tokens) and dense (map) embeddings.

    ``image_size`` is the side of the frame in which coordinates live: that of the encoder's input in every
    model but EfficientViT-SAM L0-L2, which encode at 512 and count coordinates to 1024. ``prompt_kinds``, a
    part of `PROMPT_KINDS`, is what the weights were trained on: anything else is refused.
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
    def image_embedding_size(self) -> int:
        """Side of the embedding grid at ``image_size``."""
        return self.image_size // self.patch_size


class EfficientSamPromptEncoderConfig(SamPromptEncoderConfig):
    """EfficientSAM's: points and box corners share ``num_slots`` slots; no background points, no masks."""

    model_type = "sam_hub_efficient_sam_prompt_encoder"

    prompt_kinds: list[str] | tuple[str, ...] = ("points", "boxes")
    num_slots: int = 6


class SamMaskDecoderConfig(PreTrainedConfig):
    """The two-way transformer, the upscaling and the two heads.

    ``layer_norm_eps`` belongs to the norms of the two-way transformer: 1e-5, PyTorch's default, which the
    original was trained with. ``transformers`` writes and uses 1e-6 (see `SamConfig`). ``rank_by`` says what
    the best of several masks is chosen by: "iou", the predicted one, or "stability" where the IoU head was not
    trained (EdgeSAM). With ``always_multimask`` the token of the single mask was not trained (TinySAM).
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


class HqMaskDecoderConfig(SamMaskDecoderConfig):
    """SAM-HQ's: one more token and early features of the encoder, ``vit_dim`` channels wide."""

    model_type = "sam_hub_hq_mask_decoder"

    vit_dim: int = 768


class EfficientSamMaskDecoderConfig(SamMaskDecoderConfig):
    """EfficientSAM's: GELU in every MLP."""

    model_type = "sam_hub_efficient_sam_mask_decoder"

    hidden_act: str = "gelu"


class SamVisionConfig(PreTrainedConfig):
    """The original ViT: windowed attention, a few global layers, decomposed relative positions.

    ``hidden_size`` and ``mlp_dim`` may be any width (SlimSAM: 168 and 696 with 12 heads of 14).
    ``output_intermediate`` hands the features after the first global layer to the decoder (SAM-HQ).
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


class EfficientSamVisionConfig(SamVisionConfig):
    """EfficientSAM's plain ViT (Ti by default; S is 384 wide with 6 heads): every layer is global.

    ``pretrained_grid`` is the side of the position table, to which a class token belongs (ViT at 224 pixels).
    """

    model_type = "sam_hub_efficient_sam"

    hidden_size: int = 192
    num_attention_heads: int = 3
    use_rel_pos: bool = False
    window_size: int = 0
    global_attn_indexes: list[int] | tuple[int, ...] = ()
    pretrained_grid: int = 14


class EfficientVitVisionConfig(PreTrainedConfig):
    """EfficientViT-SAM (L0 by default): convolutions, then linear attention, then a neck over three stages.

    Per stage, at strides 2, 4, 8, ...: ``widths``; ``depths``, the blocks after the one that halves the map;
    ``blocks``, their kind ("res", "fmb" fused MBConv, "mb" MBConv, "att" attention); ``expansions``. The
    attention gathers its neighbours by a depthwise convolution of ``attention_kernel``. ``patch_size`` is the
    number of input pixels to a cell of the embedding. Every norm of this family has an eps of 1e-6.
    Source: mit-han-lab/efficientvit, ``models/efficientvit/backbone.py`` and ``sam.py``.
    """

    model_type = "sam_hub_efficientvit"
    base_config_key = "vision_config"

    widths: list[int] | tuple[int, ...] = (32, 64, 128, 256, 512)
    depths: list[int] | tuple[int, ...] = (1, 1, 1, 4, 4)
    blocks: list[str] | tuple[str, ...] = ("res", "fmb", "fmb", "mb", "att")
    expansions: list[int] | tuple[int, ...] = (1, 4, 4, 4, 6)
    attention_head_dim: int = 32
    attention_kernel: int = 5
    neck_width: int = 256
    neck_depth: int = 4
    neck_expansion: int = 1
    output_channels: int = 256
    num_channels: int = 3
    image_size: int = 512
    patch_size: int = 8
    batch_norm_eps: float = 1e-6
    layer_norm_eps: float = 1e-6


class TinyVitVisionConfig(PreTrainedConfig):
    """TinyViT-5M as MobileSAM changed it: the last merge keeps the grid, so four stages end at stride 16.

    The first stage is convolutional; ``num_attention_heads`` and ``window_sizes`` are of the stages after it.
    ``merge_strides`` are of the patch merging between two stages. ``output_intermediate`` hands the second
    stage's output to the decoder (SAM-HQ Light). Source: ``mobile_sam/modeling/tiny_vit_sam.py``.
    """

    model_type = "sam_hub_tiny_vit"
    base_config_key = "vision_config"

    hidden_sizes: list[int] | tuple[int, ...] = (64, 128, 160, 320)
    depths: list[int] | tuple[int, ...] = (2, 2, 6, 2)
    num_attention_heads: list[int] | tuple[int, ...] = (4, 5, 10)
    window_sizes: list[int] | tuple[int, ...] = (7, 14, 7)
    merge_strides: list[int] | tuple[int, ...] = (2, 2, 1)
    expansion: int = 4
    mlp_ratio: float = 4.0
    output_intermediate: bool = False
    output_channels: int = 256
    num_channels: int = 3
    image_size: int = 1024
    patch_size: int = 16
    batch_norm_eps: float = 1e-5
    layer_norm_eps: float = 1e-5
    neck_layer_norm_eps: float = 1e-6


class RepVitVisionConfig(PreTrainedConfig):
    """RepViT as an image encoder; the defaults are EdgeSAM's M1, whose blocks are not those of RepViT-SAM's M2.3.

    depths: reparametrisable blocks of each stage, without the block that changes the width between two stages
    norm_after_sum: the depthwise branches are normed once, after their sum (RepViT-SAM), or each (EdgeSAM)
    fuse_stages: the last stage runs at stride 32, and is upsampled and added to the one before (EdgeSAM);
        else it keeps stride 16 (RepViT-SAM)
    """

    model_type = "sam_hub_repvit"
    base_config_key = "vision_config"

    hidden_sizes: list[int] | tuple[int, ...] = (48, 96, 192, 384)
    depths: list[int] | tuple[int, ...] = (3, 3, 15, 2)
    norm_after_sum: bool = False
    fuse_stages: bool = True
    output_channels: int = 256
    num_channels: int = 3
    image_size: int = 1024
    patch_size: int = 16
    batch_norm_eps: float = 1e-5
    layer_norm_eps: float = 1e-6


VISION_CONFIGS = {
    c.model_type: c
    for c in (
        SamVisionConfig,
        PocketVisionConfig,
        EfficientSamVisionConfig,
        EfficientVitVisionConfig,
        TinyVitVisionConfig,
        RepVitVisionConfig,
    )
}
PROMPT_ENCODER_CONFIGS = {c.model_type: c for c in (SamPromptEncoderConfig, EfficientSamPromptEncoderConfig)}
MASK_DECODER_CONFIGS = {
    c.model_type: c for c in (SamMaskDecoderConfig, HqMaskDecoderConfig, EfficientSamMaskDecoderConfig)
}


def _typed(part: str, settings: dict[str, Any], choices: dict[str, type], default: str) -> PreTrainedConfig:
    """The configuration class that ``settings["model_type"]`` names; missing or empty means ``default``."""
    kind = settings.get("model_type") or default
    if kind not in choices:
        raise ValueError(f"unknown {part} {kind!r}; expected one of {sorted(choices)}")
    return choices[kind](**{**settings, "model_type": kind})


class SamConfig(PreTrainedConfig):
    """Configuration of `SamModel`: ``vision_config``, ``prompt_encoder_config`` and ``mask_decoder_config``.

    The ``model_type`` of each part chooses its class; missing or empty (as in the SlimSAM repositories) means
    SAM's own: the ViT, the prompt encoder, the mask decoder. Reads ``transformers`` configurations
    (``model_type: "sam"`` and ``"sam_hq"``) too. Those state 1e-6 for the norms of the two-way transformer, while
    every published SAM was trained with 1e-5: 1e-6 read from a ``"sam"`` configuration becomes 1e-5, which is what
    is written back, so that both libraries then agree with the original.

    ``preprocessing`` are settings of `SamImageProcessor`, where images were not prepared as the encoder implies.
    ``text_embedding_size`` is the width of CLIP's embeddings in a model that takes text prompts (paper, appendix D.5),
    else 0.
    """

    model_type = "sam_hub"
    sub_configs_defaults = {
        "vision_config": SubConfigSpec(SamVisionConfig),
        "prompt_encoder_config": SubConfigSpec(SamPromptEncoderConfig),
        "mask_decoder_config": SubConfigSpec(SamMaskDecoderConfig),
    }

    vision_config: dict | PreTrainedConfig | None = None
    prompt_encoder_config: dict | PreTrainedConfig | None = None
    mask_decoder_config: dict | PreTrainedConfig | None = None
    preprocessing: dict | None = None
    text_embedding_size: int = 0
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        if isinstance(self.vision_config, dict):
            self.vision_config = _typed("encoder", self.vision_config, VISION_CONFIGS, SamVisionConfig.model_type)
        if isinstance(self.prompt_encoder_config, dict):
            settings = {k: v for k, v in self.prompt_encoder_config.items() if k != "image_embedding_size"}  # derived
            self.prompt_encoder_config = _typed(
                "prompt encoder", settings, PROMPT_ENCODER_CONFIGS, SamPromptEncoderConfig.model_type
            )
        if isinstance(self.mask_decoder_config, dict):
            self.mask_decoder_config = _typed(
                "mask decoder", self.mask_decoder_config, MASK_DECODER_CONFIGS, SamMaskDecoderConfig.model_type
            )
        super().__post_init__(**kwargs)

    @property
    def is_transformers_native(self) -> bool:
        """Whether ``transformers.SamModel`` computes the same thing from the same weights."""
        return (
            type(self.vision_config) is SamVisionConfig
            and type(self.prompt_encoder_config) is SamPromptEncoderConfig
            and type(self.mask_decoder_config) is SamMaskDecoderConfig
            and not self.text_embedding_size
        )

    def take_from(self, variant: Variant) -> None:
        """Settings that neither weights nor published configurations tell, from the catalogue.

        That is all but the encoder's: how images were prepared, which prompts and masks were trained.
        """
        for name, value in variant.config.items():
            part = getattr(self, name)
            if not isinstance(part, PreTrainedConfig):
                setattr(self, name, value)
            elif name != "vision_config":
                part.update({key: v for key, v in value.items() if key != "model_type"})

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> Any:
        """Load from a catalogue name, a folder, a ``.json`` file or a Hub repository; no weights are fetched.

        trust_size: lift the bounds on numbers of the file
        raises: ModelNotFoundError, HubError, CheckpointError
        """
        with buildable():
            config = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        if Path(pretrained_model_name_or_path).suffix != ".json" and isinstance(config, cls):
            variant = locate(pretrained_model_name_or_path, kwargs.get("subfolder") or "").variant
            if variant:
                config.take_from(variant)
        return config

    @classmethod
    def get_config_dict(
        cls, pretrained_model_name_or_path: str | Path, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        trust_size = kwargs.pop("trust_size", False)
        source = str(pretrained_model_name_or_path)
        if Path(source).suffix != ".json":
            place = locate(source, kwargs.get("subfolder") or "")
            if place.original:
                return cls(**place.variant.config).to_dict(), kwargs
            if place.file:
                raise ModelNotFoundError(
                    f"{source} holds weights alone; SamModel.from_pretrained reads its settings off them"
                )
            if place.repo:
                repository = Repository.of(place.repo, kwargs, place.variant.revision if place.variant else "")
                kwargs["revision"] = repository.fetch_model(weights=False)
            source = place.repo or str(place.folder)
        config_dict, kwargs = super().get_config_dict(source, **kwargs)
        with trusting_size(trust_size):
            check_settings(config_dict, source)
        return cls._from_transformers(config_dict), kwargs

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        return super().from_dict(cls._from_transformers(config_dict), **kwargs)

    @classmethod
    def _from_transformers(cls, config_dict: dict[str, Any]) -> dict[str, Any]:
        """The settings of a ``transformers`` configuration as ours; ours as they are."""
        kind = config_dict.get("model_type")
        if kind not in ("sam", "sam_hq"):
            return config_dict
        parts = {name: dict(config_dict.get(name) or {}) for name in cls.sub_configs_defaults}
        decoder = parts["mask_decoder_config"]
        if decoder.get("layer_norm_eps", 1e-6) == 1e-6:
            decoder["layer_norm_eps"] = 1e-5
        if kind == "sam_hq":
            parts["vision_config"].update(model_type=SamVisionConfig.model_type, output_intermediate=True)
            parts["prompt_encoder_config"]["model_type"] = SamPromptEncoderConfig.model_type
            decoder["model_type"] = HqMaskDecoderConfig.model_type
        return {**config_dict, **parts, "model_type": cls.model_type}

    def to_dict(self) -> dict[str, Any]:
        output = super().to_dict()
        if self.is_transformers_native:
            output["model_type"] = "sam"
            output["tie_word_embeddings"] = True  # transformers stores the positional matrix once, and ties it
        return output
