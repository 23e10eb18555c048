"""The layout of MobileSAM's and TinySAM's checkpoints."""

import math
from typing import Any

from ..layout import OriginalLayout, Rules, Shapes, conv_norm, count
from ..sam.original import MASK_DECODER, NECK, PROMPT_ENCODER

UNUSED_CLASSIFIER = {
    "image_encoder.norm_head.weight": (320,),
    "image_encoder.norm_head.bias": (320,),
    "image_encoder.head.weight": (1000, 320),
    "image_encoder.head.bias": (1000,),
}
"""TinyViT's ImageNet head: present in the original files and required by their strict loaders, but unused."""

TINY_VIT: Rules = [
    *conv_norm("image_encoder.patch_embed.seq.0", "vision_encoder.patch_embed.conv1"),
    *conv_norm("image_encoder.patch_embed.seq.2", "vision_encoder.patch_embed.conv2"),
    *conv_norm("image_encoder.layers.{n}.blocks.{n}.conv{n}", "vision_encoder.layers.{n}.blocks.{n}.conv{n}"),
    *conv_norm("image_encoder.layers.{n}.blocks.{n}.local_conv", "vision_encoder.layers.{n}.blocks.{n}.local_conv"),
    *conv_norm("image_encoder.layers.{n}.downsample.conv{n}", "vision_encoder.layers.{n}.downsample.conv{n}"),
    ("image_encoder.layers.{n}.blocks.{n}.attn.norm.{r}", "vision_encoder.layers.{n}.blocks.{n}.layer_norm1.{r}"),
    ("image_encoder.layers.{n}.blocks.{n}.attn.{r}", "vision_encoder.layers.{n}.blocks.{n}.attn.{r}"),
    ("image_encoder.layers.{n}.blocks.{n}.mlp.norm.{r}", "vision_encoder.layers.{n}.blocks.{n}.layer_norm2.{r}"),
    ("image_encoder.layers.{n}.blocks.{n}.mlp.fc{n}.{r}", "vision_encoder.layers.{n}.blocks.{n}.mlp.lin{n}.{r}"),
    *NECK,
]


def tiny_vit_config(shapes: Shapes) -> dict[str, Any]:
    """Widths, depths, heads and windows of TinyViT, from the shapes."""
    stages = range(1, count(shapes, "image_encoder.layers.{n}.blocks.0.attn.qkv.weight") + 1)
    biases = [shapes[f"image_encoder.layers.{i}.blocks.0.attn.attention_biases"] for i in stages]
    return {
        "vision_config": {
            "model_type": "sam_hub_tiny_vit",
            "hidden_sizes": [
                shapes["image_encoder.patch_embed.seq.2.c.weight"][0],
                *(shapes[f"image_encoder.layers.{i}.blocks.0.attn.qkv.weight"][1] for i in stages),
            ],
            "depths": [
                count(shapes, "image_encoder.layers.0.blocks.{n}.conv1.c.weight"),
                *(count(shapes, f"image_encoder.layers.{i}.blocks.{{n}}.attn.qkv.weight") for i in stages),
            ],
            "num_attention_heads": [heads for heads, _ in biases],
            "window_sizes": [math.isqrt(offsets) for _, offsets in biases],
        }
    }


MOBILE_SAM = OriginalLayout(
    signature=(
        "image_encoder.layers.{n}.blocks.{n}.attn.attention_biases",
        "mask_decoder.output_upscaling.0.weight",
    ),
    absent=("mask_decoder.hf_token.weight",),
    rules=[*TINY_VIT, *PROMPT_ENCODER, *MASK_DECODER],
    config=tiny_vit_config,
    dropped=tuple(UNUSED_CLASSIFIER),
    blank=UNUSED_CLASSIFIER,
)
