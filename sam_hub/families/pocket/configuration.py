"""Configuration of `pocket`'s encoder."""

from transformers import PreTrainedConfig


class PocketVisionConfig(PreTrainedConfig):
    """EfficientNet-Lite0 and a three-level neck: the encoder of the embedded model.

    ``stages`` rows are (expansion, kernel, stride, channels, repeats), from the EfficientNet-Lite0 definition
    (tensorflow/tpu, ``efficientnet_lite_builder.py``); the stem has ``stem_channels`` at stride 2.
    ``output_fine_features`` passes the features at strides 8 and 4 to the decoder (`FineMaskDecoder`).
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
    output_fine_features: bool = False
