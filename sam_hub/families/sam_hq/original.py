"""The layouts of SAM-HQ's checkpoints."""

from typing import Any

from ..layout import OriginalLayout, Rules, Shapes, head
from ..mobile_sam.original import TINY_VIT, UNUSED_CLASSIFIER, tiny_vit_config
from ..sam.original import MASK_DECODER, PROMPT_ENCODER, VIT, vit_config

HQ_DECODER: Rules = [
    ("mask_decoder.hf_token.weight", "mask_decoder.hq_token.weight"),
    *head("mask_decoder.hf_mlp", "mask_decoder.hq_mask_mlp"),
    ("mask_decoder.compress_vit_feat.0.{r}", "mask_decoder.compress_vit_conv1.{r}"),
    ("mask_decoder.compress_vit_feat.1.{r}", "mask_decoder.compress_vit_norm.{r}"),
    ("mask_decoder.compress_vit_feat.3.{r}", "mask_decoder.compress_vit_conv2.{r}"),
    ("mask_decoder.embedding_encoder.0.{r}", "mask_decoder.encoder_conv1.{r}"),
    ("mask_decoder.embedding_encoder.1.{r}", "mask_decoder.encoder_norm.{r}"),
    ("mask_decoder.embedding_encoder.3.{r}", "mask_decoder.encoder_conv2.{r}"),
    ("mask_decoder.embedding_maskfeature.0.{r}", "mask_decoder.mask_conv1.{r}"),
    ("mask_decoder.embedding_maskfeature.1.{r}", "mask_decoder.mask_norm.{r}"),
    ("mask_decoder.embedding_maskfeature.3.{r}", "mask_decoder.mask_conv2.{r}"),
    *MASK_DECODER,
]


def _hq(encoder: dict[str, Any], shapes: Shapes) -> dict[str, Any]:
    """Settings of SAM-HQ from those of its encoder."""
    width = shapes["mask_decoder.compress_vit_feat.0.weight"][0]
    return {
        **encoder,
        "vision_config": {**encoder["vision_config"], "output_intermediate": True},
        "mask_decoder_config": {"model_type": "sam_hub_hq_mask_decoder", "vit_dim": width},
    }


SAM_HQ = OriginalLayout(
    signature=("image_encoder.blocks.{n}.attn.rel_pos_h", "mask_decoder.hf_token.weight"),
    rules=[*VIT, *PROMPT_ENCODER, *HQ_DECODER],
    config=lambda shapes: _hq(vit_config(shapes), shapes),
)

SAM_HQ_LIGHT = OriginalLayout(
    signature=("image_encoder.layers.{n}.blocks.{n}.attn.attention_biases", "mask_decoder.hf_token.weight"),
    rules=[*TINY_VIT, *PROMPT_ENCODER, *HQ_DECODER],
    config=lambda shapes: _hq(tiny_vit_config(shapes), shapes),
    dropped=tuple(UNUSED_CLASSIFIER),
    blank=UNUSED_CLASSIFIER,
)
