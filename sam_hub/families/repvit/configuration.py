"""Configuration of RepViT."""

from transformers import PreTrainedConfig


class RepVitVisionConfig(PreTrainedConfig):
    """RepViT as an image encoder; the defaults are EdgeSAM's M1, whose blocks are not those of RepViT-SAM's M2.3.

    depths: number of reparametrisable blocks per stage, without the block that changes the width between stages
    norm_after_sum: whether the depthwise branches are normed once, after their sum (RepViT-SAM), or each (EdgeSAM)
    fuse_stages: if True, the last stage runs at stride 32, and is upsampled and added to the previous one (EdgeSAM);
        otherwise it runs at stride 16 (RepViT-SAM)
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
