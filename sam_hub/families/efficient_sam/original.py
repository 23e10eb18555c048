"""The layout of EfficientSAM's checkpoints."""

import math
from typing import Any

from ..layout import OriginalLayout, Rules, Shapes, count
from ..sam.original import TWO_WAY_TRANSFORMER, VIT


def _gelu_head(name: str) -> Rules:
    """Rules for a three-layer `FeedForward` in EfficientSAM's layout."""
    return [
        (f"{name}.layers.0.0.{{r}}", f"{name}.proj_in.{{r}}"),
        (f"{name}.layers.1.0.{{r}}", f"{name}.layers.0.{{r}}"),
        (f"{name}.fc.{{r}}", f"{name}.proj_out.{{r}}"),
    ]


RULES: Rules = [
    ("image_encoder.blocks.{n}.mlp.fc{n}.{r}", "vision_encoder.layers.{n}.mlp.lin{n}.{r}"),
    *VIT,
    ("prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", "shared_image_embedding.positional_embedding"),
    ("prompt_encoder.{r}.weight", "prompt_encoder.{r}.weight"),
    ("mask_decoder.transformer.layers.{n}.mlp.layers.0.0.{r}", "mask_decoder.transformer.layers.{n}.mlp.lin1.{r}"),
    ("mask_decoder.transformer.layers.{n}.mlp.fc.{r}", "mask_decoder.transformer.layers.{n}.mlp.lin2.{r}"),
    *TWO_WAY_TRANSFORMER,
    ("mask_decoder.final_output_upscaling_layers.0.0.{r}", "mask_decoder.upscale_conv1.{r}"),
    ("mask_decoder.final_output_upscaling_layers.0.1.{r}", "mask_decoder.upscale_layer_norm.{r}"),
    ("mask_decoder.final_output_upscaling_layers.1.0.{r}", "mask_decoder.upscale_conv2.{r}"),
    *_gelu_head("mask_decoder.output_hypernetworks_mlps.{n}"),
    *_gelu_head("mask_decoder.iou_prediction_head"),
    ("mask_decoder.iou_token.weight", "mask_decoder.iou_token.weight"),
    ("mask_decoder.mask_tokens.weight", "mask_decoder.mask_tokens.weight"),
]


def _efficient_sam_config(shapes: Shapes) -> dict[str, Any]:
    """Widths and depth from the shapes; heads are 64 wide in all published models."""
    width = shapes["image_encoder.patch_embed.proj.weight"][0]
    return {
        "vision_config": {
            "model_type": "sam_hub_efficient_sam",
            "hidden_size": width,
            "num_hidden_layers": count(shapes, "image_encoder.blocks.{n}.attn.qkv.weight"),
            "num_attention_heads": width // 64,
            "mlp_dim": shapes["image_encoder.blocks.0.mlp.fc1.weight"][0],
            "pretrained_grid": math.isqrt(shapes["image_encoder.pos_embed"][1] - 1),
        },
        "prompt_encoder_config": {"model_type": "sam_hub_efficient_sam_prompt_encoder"},
        "mask_decoder_config": {"model_type": "sam_hub_efficient_sam_mask_decoder"},
    }


EFFICIENT_SAM = OriginalLayout(
    signature=("image_encoder.blocks.{n}.mlp.fc1.weight", "prompt_encoder.invalid_points.weight"),
    rules=RULES,
    config=_efficient_sam_config,
)
