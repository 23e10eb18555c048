"""Configuration of SAM 3's image encoder, and those of ``transformers`` to and fro."""

from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedConfig

TRUNK_EPS = 1e-5
"""Of the ViT's norms in the authors' code; ``transformers`` writes and uses 1e-6."""

LEVELS = (4.0, 2.0, 1.0)
"""Scales of the neck's maps that are read. Checkpoints hold a fourth level, 0.5, which is computed and dropped."""


class Sam3VisionConfig(PreTrainedConfig):
    """A ViT with windows and rotary positions, and a neck with maps at 4, 2 and 1 times the size of its output.

    pretrain_image_size: side of the image that the table of positions is for; the table is repeated
    window_size: of layers that are not in ``global_attn_indexes``; also the length of a side for rotary positions
    output_trunk: hand the ViT's output on, for concept prompts
    """

    model_type = "sam3_vision_model"
    base_config_key = "vision_config"
    no_memory = True  # the embedding of "no frame before" is added

    hidden_size: int = 1024
    mlp_dim: int = 4736
    num_hidden_layers: int = 32
    num_attention_heads: int = 16
    num_channels: int = 3
    image_size: int = 1008
    patch_size: int = 14
    hidden_act: str = "gelu"
    layer_norm_eps: float = TRUNK_EPS
    attention_dropout: float | int = 0.0
    window_size: int = 24
    global_attn_indexes: list[int] | tuple[int, ...] = (7, 15, 23, 31)
    pretrain_image_size: int = 336
    rope_theta: float = 10000.0
    output_channels: int = 256
    output_trunk: bool = False


TRUNK_FIELDS = {
    "hidden_size": "hidden_size",
    "mlp_dim": "intermediate_size",
    "num_hidden_layers": "num_hidden_layers",
    "num_attention_heads": "num_attention_heads",
    "num_channels": "num_channels",
    "image_size": "image_size",
    "patch_size": "patch_size",
    "hidden_act": "hidden_act",
    "layer_norm_eps": "layer_norm_eps",
    "attention_dropout": "attention_dropout",
    "window_size": "window_size",
    "global_attn_indexes": "global_attn_indexes",
    "pretrain_image_size": "pretrain_image_size",
}
"""Our names of the trunk's settings -> those of ``transformers``."""


def vision_settings(vision: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of ``transformers.Sam3VisionConfig`` -> of `Sam3VisionConfig`, with the authors' eps."""
    trunk = dict(vision.get("backbone_config") or {})
    ours = {name: trunk[theirs] for name, theirs in TRUNK_FIELDS.items() if trunk.get(theirs) is not None}
    for name in ("image_size", "patch_size", "pretrain_image_size"):
        if isinstance(ours.get(name), list | tuple):  # a square, written twice
            ours[name] = ours[name][0]
    if ours.get("layer_norm_eps", 1e-6) == 1e-6:
        ours["layer_norm_eps"] = TRUNK_EPS
    if theta := (trunk.get("rope_parameters") or {}).get("rope_theta") or trunk.get("rope_theta"):
        ours["rope_theta"] = theta
    if vision.get("fpn_hidden_size"):
        ours["output_channels"] = vision["fpn_hidden_size"]
    return {"model_type": Sam3VisionConfig.model_type, **ours}
