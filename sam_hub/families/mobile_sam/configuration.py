"""Configuration of TinyViT."""

from transformers import PreTrainedConfig


class TinyVitVisionConfig(PreTrainedConfig):
    """TinyViT-5M as modified by MobileSAM: the last merge keeps the grid, so the four stages end at stride 16.

    The first stage is convolutional; ``num_attention_heads`` and ``window_sizes`` are those of the later stages.
    ``merge_strides`` are those of patch merging between stages. ``output_intermediate`` passes the second stage's
    output to the decoder (SAM-HQ Light). Source: ``mobile_sam/modeling/tiny_vit_sam.py``.
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
