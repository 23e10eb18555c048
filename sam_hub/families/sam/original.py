"""The layout of the original project's checkpoints; other families share parts of it."""

from typing import Any

from ..layout import OriginalLayout, Rules, Shapes, count, head

PROMPT_ENCODER: Rules = [
    ("prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", "shared_image_embedding.positional_embedding"),
    ("prompt_encoder.point_embeddings.{n}.weight", "prompt_encoder.point_embed.{n}.weight"),
    ("prompt_encoder.mask_downscaling.0.{r}", "prompt_encoder.mask_embed.conv1.{r}"),
    ("prompt_encoder.mask_downscaling.1.{r}", "prompt_encoder.mask_embed.layer_norm1.{r}"),
    ("prompt_encoder.mask_downscaling.3.{r}", "prompt_encoder.mask_embed.conv2.{r}"),
    ("prompt_encoder.mask_downscaling.4.{r}", "prompt_encoder.mask_embed.layer_norm2.{r}"),
    ("prompt_encoder.mask_downscaling.6.{r}", "prompt_encoder.mask_embed.conv3.{r}"),
    ("prompt_encoder.not_a_point_embed.weight", "prompt_encoder.not_a_point_embed.weight"),
    ("prompt_encoder.no_mask_embed.weight", "prompt_encoder.no_mask_embed.weight"),
]

TWO_WAY_TRANSFORMER: Rules = [
    ("mask_decoder.transformer.layers.{n}.norm{n}.{r}", "mask_decoder.transformer.layers.{n}.layer_norm{n}.{r}"),
    ("mask_decoder.transformer.norm_final_attn.{r}", "mask_decoder.transformer.layer_norm_final_attn.{r}"),
    ("mask_decoder.transformer.{r}", "mask_decoder.transformer.{r}"),
]

MASK_DECODER: Rules = [
    *TWO_WAY_TRANSFORMER,
    *head("mask_decoder.output_hypernetworks_mlps.{n}", "mask_decoder.output_hypernetworks_mlps.{n}"),
    *head("mask_decoder.iou_prediction_head", "mask_decoder.iou_prediction_head"),
    ("mask_decoder.output_upscaling.0.{r}", "mask_decoder.upscale_conv1.{r}"),
    ("mask_decoder.output_upscaling.1.{r}", "mask_decoder.upscale_layer_norm.{r}"),
    ("mask_decoder.output_upscaling.3.{r}", "mask_decoder.upscale_conv2.{r}"),
    ("mask_decoder.iou_token.weight", "mask_decoder.iou_token.weight"),
    ("mask_decoder.mask_tokens.weight", "mask_decoder.mask_tokens.weight"),
]

NECK: Rules = [
    ("image_encoder.neck.0.weight", "vision_encoder.neck.conv1.weight"),
    ("image_encoder.neck.1.{r}", "vision_encoder.neck.layer_norm1.{r}"),
    ("image_encoder.neck.2.weight", "vision_encoder.neck.conv2.weight"),
    ("image_encoder.neck.3.{r}", "vision_encoder.neck.layer_norm2.{r}"),
]

VIT: Rules = [
    ("image_encoder.pos_embed", "vision_encoder.pos_embed"),
    ("image_encoder.patch_embed.proj.{r}", "vision_encoder.patch_embed.projection.{r}"),
    ("image_encoder.blocks.{n}.norm{n}.{r}", "vision_encoder.layers.{n}.layer_norm{n}.{r}"),
    ("image_encoder.blocks.{n}.{r}", "vision_encoder.layers.{n}.{r}"),
    *NECK,
]


def vit_config(shapes: Shapes) -> dict[str, Any]:
    """All settings of the ViT, from the shapes."""
    width, _, patch, _ = shapes["image_encoder.patch_embed.proj.weight"]
    side = shapes["image_encoder.pos_embed"][1]
    depth = count(shapes, "image_encoder.blocks.{n}.attn.qkv.weight")
    tables = [shapes[f"image_encoder.blocks.{i}.attn.rel_pos_h"] for i in range(depth)]
    windows = {(rows + 1) // 2 for rows, _ in tables if rows != 2 * side - 1}
    size = side * patch
    return {
        "vision_config": {
            "hidden_size": width,
            "num_hidden_layers": depth,
            "num_attention_heads": width // tables[0][1],
            "mlp_dim": shapes["image_encoder.blocks.0.mlp.lin1.weight"][0],
            "global_attn_indexes": [i for i, (rows, _) in enumerate(tables) if rows == 2 * side - 1],
            "window_size": windows.pop() if windows else 14,
            "image_size": size,
            "patch_size": patch,
        },
        "prompt_encoder_config": {"image_size": size, "patch_size": patch},
    }


SAM = OriginalLayout(
    signature=("image_encoder.blocks.{n}.attn.rel_pos_h", "mask_decoder.output_upscaling.0.weight"),
    absent=("mask_decoder.hf_token.weight",),
    rules=[*VIT, *PROMPT_ENCODER, *MASK_DECODER],
    config=vit_config,
)
