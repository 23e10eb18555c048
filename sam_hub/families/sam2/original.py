"""The layout of the checkpoints of facebookresearch/sam2, 2 and 2.1."""

from dataclasses import replace
from typing import Any

import torch

from ...errors import CheckpointError
from ..layout import OriginalLayout, Rules, Shapes, Weights, count
from ..sam.original import MASK_DECODER, PROMPT_ENCODER
from . import BASE_PLUS, FIRST_NAME, LARGE, SMALL, TINY
from .video import BLANK, LATER, UNUSED

POINTS = "sam_prompt_encoder.point_embeddings.weight"
"""The embeddings of the four kinds of points as rows of one table; the original has a tensor for each."""

TRUNK: Rules = [
    ("image_encoder.trunk.patch_embed.proj.{r}", "vision_encoder.backbone.patch_embed.projection.{r}"),
    ("image_encoder.trunk.blocks.{n}.norm{n}.{r}", "vision_encoder.backbone.blocks.{n}.layer_norm{n}.{r}"),
    ("image_encoder.trunk.blocks.{n}.mlp.layers.0.{r}", "vision_encoder.backbone.blocks.{n}.mlp.proj_in.{r}"),
    ("image_encoder.trunk.blocks.{n}.mlp.layers.1.{r}", "vision_encoder.backbone.blocks.{n}.mlp.proj_out.{r}"),
    ("image_encoder.trunk.{r}", "vision_encoder.backbone.{r}"),
]

LAYER = "sam_mask_decoder.transformer.layers.{n}", "mask_decoder.transformer.layers.{n}"

AFTER_TRUNK: Rules = [
    ("image_encoder.neck.convs.{n}.conv.{r}", "vision_encoder.neck.convs.{n}.{r}"),
    ("no_mem_embed", "no_memory_embedding"),
    (POINTS, "prompt_encoder.point_embed.weight"),
    *[(f"sam_{old}", new) for old, new in PROMPT_ENCODER if "point_embeddings" not in old],
    (f"{LAYER[0]}.mlp.layers.0.{{r}}", f"{LAYER[1]}.mlp.proj_in.{{r}}"),
    (f"{LAYER[0]}.mlp.layers.1.{{r}}", f"{LAYER[1]}.mlp.proj_out.{{r}}"),
    ("sam_mask_decoder.transformer.{r}.out_proj.{r}", "mask_decoder.transformer.{r}.o_proj.{r}"),
    ("sam_mask_decoder.pred_obj_score_head.layers.0.{r}", "mask_decoder.pred_obj_score_head.proj_in.{r}"),
    ("sam_mask_decoder.pred_obj_score_head.layers.1.{r}", "mask_decoder.pred_obj_score_head.layers.0.{r}"),
    ("sam_mask_decoder.pred_obj_score_head.layers.2.{r}", "mask_decoder.pred_obj_score_head.proj_out.{r}"),
    ("sam_mask_decoder.obj_score_token.weight", "mask_decoder.obj_score_token.weight"),
    ("sam_mask_decoder.conv_s{n}.{r}", "mask_decoder.conv_s{n}.{r}"),
    *[(f"sam_{old}", new) for old, new in MASK_DECODER],
]
"""Rules shared by SAM 2 and EdgeTAM."""


KNOWN = {(112, 24): BASE_PLUS, (144, 48): LARGE, (96, 16): SMALL, (96, 12): TINY}
"""Width of the first stage and number of blocks -> settings that the weights do not show."""


def join_points(weights: Weights) -> Weights:
    """Replace the original's four point tensors by `POINTS`."""
    found = dict(weights)
    kinds = [f"sam_prompt_encoder.point_embeddings.{i}.weight" for i in range(4)]
    if all(kind in found for kind in kinds):
        found[POINTS] = torch.cat([found.pop(kind) for kind in kinds])
    return found


def split_points(weights: Weights) -> Weights:
    """Inverse of `join_points`."""
    found = dict(weights)
    if POINTS in found:
        rows = found.pop(POINTS).split(1)
        found |= {f"sam_prompt_encoder.point_embeddings.{i}.weight": row.clone() for i, row in enumerate(rows)}
    return found


def _config(shapes: Shapes) -> dict[str, Any]:
    width = shapes["image_encoder.trunk.patch_embed.proj.weight"][0]
    depth = count(shapes, "image_encoder.trunk.blocks.{n}.norm1.weight")
    if (width, depth) not in KNOWN:
        raise CheckpointError(
            f"a Hiera with {depth} blocks and an initial width of {width} is none of SAM 2's four sizes, and "
            "weights do not show which blocks use windows; give a folder with its configuration"
        )
    return KNOWN[width, depth]


SAM2 = OriginalLayout(
    signature=("image_encoder.trunk.pos_embed_window", "sam_mask_decoder.output_upscaling.0.weight"),
    rules=[*TRUNK, *AFTER_TRUNK],
    config=_config,
    dropped=UNUSED,
    blank=BLANK,
    split=join_points,
    join=split_points,
)


def _first_config(shapes: Shapes) -> dict[str, Any]:
    return {**_config(shapes), "original_layout": FIRST_NAME}


FIRST = replace(
    SAM2,
    signature=(*SAM2.signature, "maskmem_tpos_enc"),
    absent=("no_obj_embed_spatial",),
    config=_first_config,
    blank={key: shape for key, shape in BLANK.items() if not key.startswith(LATER)},
    superseded=True,
)
"""SAM 2 as first published; its strict loader refuses 2.1's additional tensors. Both are identical on single images."""
