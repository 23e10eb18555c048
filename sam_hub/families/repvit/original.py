"""The layouts of EdgeSAM's and RepViT-SAM's checkpoints."""

from typing import Any

from ..layout import OriginalLayout, Rules, Shapes, conv_norm, count
from ..sam.original import MASK_DECODER, NECK, PROMPT_ENCODER

REPVIT: Rules = [
    *conv_norm("image_encoder.features.0.0", "vision_encoder.features.0.conv1"),
    *conv_norm("image_encoder.features.0.2", "vision_encoder.features.0.conv2"),
    *conv_norm("image_encoder.features.{n}.token_mixer.0.conv", "vision_encoder.features.{n}.depthwise.conv3x3"),
    *conv_norm("image_encoder.features.{n}.token_mixer.0.conv1", "vision_encoder.features.{n}.depthwise.conv1x1"),
    ("image_encoder.features.{n}.token_mixer.0.conv1.{r}", "vision_encoder.features.{n}.depthwise.conv1x1.{r}"),
    *conv_norm("image_encoder.features.{n}.token_mixer.0", "vision_encoder.features.{n}.depthwise"),
    ("image_encoder.features.{n}.token_mixer.1.fc{n}.{r}", "vision_encoder.features.{n}.squeeze_excite.fc{n}.{r}"),
    *conv_norm("image_encoder.features.{n}.token_mixer.2", "vision_encoder.features.{n}.pointwise"),
    *conv_norm("image_encoder.features.{n}.channel_mixer.m.0", "vision_encoder.features.{n}.expand"),
    *conv_norm("image_encoder.features.{n}.channel_mixer.m.2", "vision_encoder.features.{n}.project"),
    ("image_encoder.fuse_stage2.weight", "vision_encoder.fuse_stage2.weight"),
    ("image_encoder.fuse_stage3.op_list.0.weight", "vision_encoder.fuse_stage3.weight"),
    *NECK,
]


def _repvit_config(shapes: Shapes) -> dict[str, Any]:
    """Widths, depths and block kind of RepViT, from the shapes.

    Each stage starts with the block that changes the width.
    """
    blocks = range(1, count(shapes, "image_encoder.features.{n}.channel_mixer.m.2.c.weight") + 1)
    widths = [shapes[f"image_encoder.features.{i}.channel_mixer.m.2.c.weight"][0] for i in blocks]
    changes = sum(f"image_encoder.features.{i}.token_mixer.2.c.weight" in shapes for i in blocks)
    hidden_sizes = list(dict.fromkeys(widths))
    if changes != len(hidden_sizes) - 1:
        raise ValueError(f"image_encoder: {changes} changes of width between {len(hidden_sizes)} widths")
    return {
        "vision_config": {
            "model_type": "sam_hub_repvit",
            "hidden_sizes": hidden_sizes,
            "depths": [widths.count(width) - (i > 0) for i, width in enumerate(hidden_sizes)],
            "norm_after_sum": "image_encoder.features.1.token_mixer.0.bn.weight" in shapes,
            "fuse_stages": "image_encoder.fuse_stage2.weight" in shapes,
        }
    }


def _edge_sam_config(shapes: Shapes) -> dict[str, Any]:
    return {**_repvit_config(shapes), "mask_decoder_config": {"rank_by": "stability"}}


EDGE_SAM = OriginalLayout(
    signature=("image_encoder.features.{n}.channel_mixer.m.0.c.weight", "image_encoder.fuse_stage2.weight"),
    rules=[*REPVIT, *PROMPT_ENCODER, *MASK_DECODER],
    config=_edge_sam_config,
)

REPVIT_SAM = OriginalLayout(
    signature=("image_encoder.features.{n}.channel_mixer.m.0.c.weight", "mask_decoder.output_upscaling.0.weight"),
    absent=("image_encoder.fuse_stage2.weight",),
    rules=[*REPVIT, *PROMPT_ENCODER, *MASK_DECODER],
    config=_repvit_config,
)
