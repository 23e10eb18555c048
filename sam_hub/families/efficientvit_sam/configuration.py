"""Configuration of EfficientViT."""

from transformers import PreTrainedConfig


class EfficientVitVisionConfig(PreTrainedConfig):
    """EfficientViT-SAM (L0 by default): convolutions, then linear attention, then a neck over three stages.

    Per stage, at strides 2, 4, 8, ...: ``widths``; ``depths``, the number of blocks after the one that halves the map;
    ``blocks``, their kind ("res", "fmb" fused MBConv, "mb" MBConv, "att" attention); ``expansions``. The attention
    aggregates neighbours with a depthwise convolution of size ``attention_kernel``. ``patch_size`` is the number of
    input pixels per embedding cell, along a side. Every norm of this family has an eps of 1e-6.
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
