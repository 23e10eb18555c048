"""The layout of ``sam3.pt``: one file with the click predictor, the concept detector, and the video parts."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ..layout import OriginalLayout, Rules, Shapes, Weights, count, joined, pattern
from ..sam2 import AFTER_ENCODER
from ..sam2.original import AFTER_TRUNK, LAYER, join_points, split_points
from ..sam2.video import BLANK, UNUSED

VISION = "detector.backbone.vision_backbone"
TRUNK = f"{VISION}.trunk"
BLOCK = f"{TRUNK}.blocks.{{n}}"
LANGUAGE = "detector.backbone.language_backbone"
TEXT_LAYER = f"{LANGUAGE}.encoder.transformer.resblocks.{{n}}"
ENCODER, DECODER = "detector.transformer.encoder.layers.{n}", "detector.transformer.decoder.layers.{n}"
BOXES = "detector.geometry_encoder"
HEAD = "detector.segmentation_head"

FUSED = (
    f"{TEXT_LAYER}.attn",
    *(f"{ENCODER}.{name}" for name in ("self_attn", "cross_attn_image")),
    *(f"{DECODER}.{name}" for name in ("self_attn", "ca_text", "cross_attn")),
    *(f"{BOXES}.encode.{{n}}.{name}" for name in ("self_attn", "cross_attn_image")),
    f"{HEAD}.cross_attend_prompt",
)
"""Attentions with fused projections, ``in_proj_weight`` or ``in_proj_bias``; the trunk's is ``qkv``."""

POSITIONS = f"{TRUNK}.pos_embed"
TEXT_PROJECTION = f"{LANGUAGE}.encoder.text_projection"


def _fused_names() -> list[tuple[re.Pattern[str], str]]:
    """Prefix of a fused projection's name -> prefix of a single projection's name."""
    names = [(f"{BLOCK}.attn", ".qkv."), *((where, ".in_proj_") for where in FUSED)]
    return [(re.compile(f"({pattern(where).pattern}){re.escape(end)}(weight|bias)"), end) for where, end in names]


FUSED_NAMES = _fused_names()


def split(weights: Weights) -> Weights:
    """Split q, k and v; remove the class token's position; turn the text projection into a layer's weight."""
    out: Weights = {}
    for key, value in weights.items():
        found = next((m for expression, _ in FUSED_NAMES if (m := expression.fullmatch(key))), None)
        if found:
            parts = value.chunk(3)
            out |= {f"{found[1]}.{name}_proj.{found.groups()[-1]}": p for name, p in zip("qkv", parts, strict=True)}
        elif key == POSITIONS:
            out[key] = value[:, 1:]
        else:
            out[key] = value.T if key == TEXT_PROJECTION else value
    return out


def join(weights: Weights) -> Weights:
    """Inverse of `split`; the unused class token becomes zeros."""
    out: Weights = {}
    for key, value in weights.items():
        if re.search(r"\.[kv]_proj\.", key) and _fused_end(key):
            continue
        if re.search(r"\.q_proj\.", key) and (end := _fused_end(key)):
            parts = [weights[key.replace(".q_proj.", f".{name}_proj.")] for name in "qkv"]
            out[key.replace(".q_proj.", end)] = joined(parts)
        elif key == POSITIONS:
            out[key] = value.new_zeros(1, 1 + value.shape[1], value.shape[2])
            out[key][:, 1:] = value
        else:
            out[key] = value.T if key == TEXT_PROJECTION else value
    return out


def _fused_end(key: str) -> str | None:
    """Suffix of the fused projection's name, given a single one's; None if the original has separate ones, too."""
    fused = re.sub(r"\.[qkv]_proj\.", "{}", key)
    return next((end for expression, end in FUSED_NAMES if expression.fullmatch(fused.format(end))), None)


def _levels(old: str, new: str) -> Rules:
    return [
        (f"{old}.0.dconv_2x2_0.{{r}}", f"{new}.0.scale_layers.0.{{r}}"),
        (f"{old}.0.dconv_2x2_1.{{r}}", f"{new}.0.scale_layers.2.{{r}}"),
        (f"{old}.1.dconv_2x2.{{r}}", f"{new}.1.scale_layers.0.{{r}}"),
        (f"{old}.{{n}}.conv_1x1.{{r}}", f"{new}.{{n}}.proj1.{{r}}"),
        (f"{old}.{{n}}.conv_3x3.{{r}}", f"{new}.{{n}}.proj2.{{r}}"),
    ]


def _attention(old: str, new: str) -> Rules:
    return [(f"{old}.out_proj.{{r}}", f"{new}.o_proj.{{r}}"), (f"{old}.{{r}}", f"{new}.{{r}}")]


def _layers(old: str, new: str, names: Mapping[str, str]) -> Rules:
    """Rules for a transformer's layers: attentions and norms by ``names``, and the MLP."""
    rules: Rules = []
    for theirs, ours in names.items():
        where = f"{old}.{theirs}", f"{new}.{{n}}.{ours}"
        rules += [(f"{where[0]}.{{r}}", f"{where[1]}.{{r}}")] if "norm" in theirs else _attention(*where)
    return [
        *rules,
        (f"{old}.linear1.{{r}}", f"{new}.{{n}}.mlp.fc1.{{r}}"),
        (f"{old}.linear2.{{r}}", f"{new}.{{n}}.mlp.fc2.{{r}}"),
    ]


def _mlp(old: str, new: str, depth: int) -> Rules:
    return [(f"{old}.layers.{i}.{{r}}", f"{new}.layer{i + 1}.{{r}}") for i in range(depth)]


BACKBONE: Rules = [
    (POSITIONS, "vision_encoder.backbone.embeddings.position_embeddings"),
    (f"{TRUNK}.patch_embed.proj.weight", "vision_encoder.backbone.embeddings.patch_embeddings.projection.weight"),
    (f"{TRUNK}.ln_pre.{{r}}", "vision_encoder.backbone.layer_norm.{r}"),
    (f"{BLOCK}.norm{{n}}.{{r}}", "vision_encoder.backbone.layers.{n}.layer_norm{n}.{r}"),
    (f"{BLOCK}.attn.proj.{{r}}", "vision_encoder.backbone.layers.{n}.attention.o_proj.{r}"),
    (f"{BLOCK}.attn.{{r}}", "vision_encoder.backbone.layers.{n}.attention.{r}"),
    (f"{BLOCK}.mlp.{{r}}", "vision_encoder.backbone.layers.{n}.mlp.{r}"),
]

THREE_NORMS = {"norm1": "layer_norm1", "norm2": "layer_norm2", "norm3": "layer_norm3"}

CONCEPT_RULES: Rules = [
    *BACKBONE,
    *_levels(f"{VISION}.convs", "vision_encoder.neck.fpn_layers"),
    (f"{LANGUAGE}.resizer.{{r}}", "text_projection.{r}"),
    (TEXT_PROJECTION, "text_encoder.text_projection.weight"),
    (f"{LANGUAGE}.encoder.token_embedding.{{r}}", "text_encoder.text_model.embeddings.token_embedding.{r}"),
    (f"{LANGUAGE}.encoder.positional_embedding", "text_encoder.text_model.embeddings.position_embedding.weight"),
    (f"{LANGUAGE}.encoder.ln_final.{{r}}", "text_encoder.text_model.final_layer_norm.{r}"),
    (f"{TEXT_LAYER}.ln_{{n}}.{{r}}", "text_encoder.text_model.encoder.layers.{n}.layer_norm{n}.{r}"),
    (f"{TEXT_LAYER}.attn.{{r}}", "text_encoder.text_model.encoder.layers.{n}.self_attn.{r}"),
    (f"{TEXT_LAYER}.mlp.c_fc.{{r}}", "text_encoder.text_model.encoder.layers.{n}.mlp.fc1.{r}"),
    (f"{TEXT_LAYER}.mlp.c_proj.{{r}}", "text_encoder.text_model.encoder.layers.{n}.mlp.fc2.{r}"),
    *_layers(
        f"{BOXES}.encode.{{n}}",
        "geometry_encoder.layers",
        {"self_attn": "self_attn", "cross_attn_image": "cross_attn", **THREE_NORMS},
    ),
    (f"{BOXES}.norm.{{r}}", "geometry_encoder.prompt_layer_norm.{r}"),
    (f"{BOXES}.img_pre_norm.{{r}}", "geometry_encoder.vision_layer_norm.{r}"),
    (f"{BOXES}.encode_norm.{{r}}", "geometry_encoder.output_layer_norm.{r}"),
    *((f"{BOXES}.{name}.{{r}}", f"geometry_encoder.{name}.{{r}}")
      for name in ("label_embed", "cls_embed", "final_proj", "boxes_direct_project", "boxes_pool_project",
                   "boxes_pos_enc_project")),
    *_layers(
        ENCODER,
        "detr_encoder.layers",
        {"self_attn": "self_attn", "cross_attn_image": "cross_attn", **THREE_NORMS},
    ),
    *_layers(
        DECODER,
        "detr_decoder.layers",
        {
            "self_attn": "self_attn",
            "ca_text": "text_cross_attn",
            "cross_attn": "vision_cross_attn",
            "norm1": "vision_cross_attn_layer_norm",
            "catext_norm": "text_cross_attn_layer_norm",
            "norm2": "self_attn_layer_norm",
            "norm3": "mlp_layer_norm",
        },
    ),
    ("detector.transformer.decoder.norm.{r}", "detr_decoder.output_layer_norm.{r}"),
    ("detector.transformer.decoder.presence_token_out_norm.{r}", "detr_decoder.presence_layer_norm.{r}"),
    *_mlp("detector.transformer.decoder.presence_token_head", "detr_decoder.presence_head", 3),
    *_mlp("detector.transformer.decoder.bbox_embed", "detr_decoder.box_head", 3),
    *_mlp("detector.transformer.decoder.ref_point_head", "detr_decoder.ref_point_head", 2),
    *_mlp("detector.transformer.decoder.boxRPB_embed_x", "detr_decoder.box_rpb_embed_x", 2),
    *_mlp("detector.transformer.decoder.boxRPB_embed_y", "detr_decoder.box_rpb_embed_y", 2),
    *((f"detector.transformer.decoder.{name}.weight", f"detr_decoder.{name}.weight")
      for name in ("query_embed", "reference_points", "presence_token")),
    (f"{HEAD}.mask_predictor.mask_embed.{{r}}", "mask_decoder.mask_embedder.{r}"),
    (f"{HEAD}.instance_seg_head.{{r}}", "mask_decoder.instance_projection.{r}"),
    (f"{HEAD}.semantic_seg_head.{{r}}", "mask_decoder.semantic_projection.{r}"),
    (f"{HEAD}.cross_attn_norm.{{r}}", "mask_decoder.prompt_cross_attn_norm.{r}"),
    *_attention(f"{HEAD}.cross_attend_prompt", "mask_decoder.prompt_cross_attn"),
    (f"{HEAD}.pixel_decoder.{{r}}", "mask_decoder.pixel_decoder.{r}"),
    *_mlp("detector.dot_prod_scoring.prompt_mlp", "dot_product_scoring.text_mlp", 2),
    ("detector.dot_prod_scoring.prompt_mlp.out_norm.{r}", "dot_product_scoring.text_mlp_out_norm.{r}"),
    ("detector.dot_prod_scoring.prompt_proj.{r}", "dot_product_scoring.text_proj.{r}"),
    ("detector.dot_prod_scoring.hs_proj.{r}", "dot_product_scoring.query_proj.{r}"),
]  # fmt: skip

ANGLES = f"{BLOCK}.attn.freqs_cis"


def rotary_tables(vision: Any) -> Weights:
    """Rotary positions of each block, (rows, head size / 2) complex64: for a window, or the grid scaled to span one.

    vision: `Sam3VisionConfig`
    """
    pairs = vision.hidden_size // vision.num_attention_heads // 4
    frequencies = vision.rope_theta ** (-torch.arange(pairs, dtype=torch.float32) / pairs)
    grid, tables = vision.image_size // vision.patch_size, {}
    for side in (vision.window_size, grid):
        steps = torch.arange(side, dtype=torch.float32) * (vision.window_size / side)
        turns = torch.polar(torch.ones(side, pairs), steps[:, None] * frequencies)
        tables[side] = torch.cat([turns.repeat(side, 1), turns.repeat_interleave(side, 0)], dim=1)  # x, then y
    sides = [grid if i in vision.global_attn_indexes else vision.window_size for i in range(vision.num_hidden_layers)]
    return {ANGLES.replace("{n}", str(i)): tables[side] for i, side in enumerate(sides)}


def trunk_config(shapes: Shapes) -> dict[str, Any]:
    """The ViT's settings. Only the rotary tables show which layers are global.

    raises: KeyError if these are missing and the depth differs from the published one
    """
    width, _, patch, _ = shapes[f"{TRUNK}.patch_embed.proj.weight"]
    table = round((shapes[POSITIONS][1] - 1) ** 0.5)
    depth = count(shapes, f"{BLOCK}.attn.qkv.weight")
    settings = {
        "hidden_size": width,
        "mlp_dim": shapes[f"{TRUNK}.blocks.0.mlp.fc1.weight"][0],
        "num_hidden_layers": depth,
        "patch_size": patch,
        "pretrain_image_size": table * patch,
        "window_size": table,
        "num_attention_heads": width // 64,
    }
    angles = [shapes.get(f"{TRUNK}.blocks.{i}.attn.freqs_cis") for i in range(depth)]
    if all(angles):
        rows = [r for r, _ in angles]
        settings["num_attention_heads"] = width // (2 * angles[0][1])
        settings["window_size"] = round(min(rows) ** 0.5)
        settings["image_size"] = round(max(rows) ** 0.5) * patch
        settings["global_attn_indexes"] = [i for i, r in enumerate(rows) if r > min(rows)]
    elif depth != 32:
        raise KeyError(f"{TRUNK}.blocks.0.attn.freqs_cis")
    return settings


def concept_settings(shapes: Shapes) -> dict[str, Any]:
    """Settings of ``transformers.Sam3Config``, from the shapes of the file."""
    trunk = trunk_config(shapes)
    trunk["intermediate_size"] = trunk.pop("mlp_dim")
    tokens, text = shapes[f"{LANGUAGE}.encoder.token_embedding.weight"]
    width = shapes[f"{LANGUAGE}.resizer.weight"][0]
    queries = shapes["detector.transformer.decoder.query_embed.weight"][0]
    heads = shapes["detector.transformer.decoder.boxRPB_embed_x.layers.1.weight"][0]

    def part(where: str, **more: Any) -> dict[str, Any]:
        mlp = shapes[f"{where.format(n=0)}.linear1.weight"][0]
        return {
            "hidden_size": width,
            "num_layers": count(shapes, f"{where}.linear1.weight"),
            "num_attention_heads": heads,
            "intermediate_size": mlp,
            **more,
        }

    return {
        "vision_config": {
            "model_type": "sam3_vision_model",
            "backbone_config": {"model_type": "sam3_vit_model", "layer_norm_eps": 1e-5, **trunk},
            "fpn_hidden_size": width,
        },
        "text_config": {
            "model_type": "clip_text_model",
            "vocab_size": tokens,
            "hidden_size": text,
            "intermediate_size": shapes[f"{TEXT_LAYER}.mlp.c_fc.weight".format(n=0)][0],
            "projection_dim": shapes[TEXT_PROJECTION][1],
            "num_hidden_layers": count(shapes, f"{TEXT_LAYER}.ln_1.weight"),
            "num_attention_heads": text // 64,
            "max_position_embeddings": shapes[f"{LANGUAGE}.encoder.positional_embedding"][0],
            "hidden_act": "gelu",
        },
        "geometry_encoder_config": part(f"{BOXES}.encode.{{n}}"),
        "detr_encoder_config": part(ENCODER),
        "detr_decoder_config": part(DECODER, num_queries=queries),
        "mask_decoder_config": {
            "hidden_size": width,
            "num_attention_heads": heads,
            "num_upsampling_stages": count(shapes, f"{HEAD}.pixel_decoder.norms.{{n}}.weight"),
        },
    }


CONCEPTS = OriginalLayout(
    signature=(f"{BLOCK}.attn.qkv.weight", f"{LANGUAGE}.resizer.weight", f"{HEAD}.instance_seg_head.weight"),
    rules=CONCEPT_RULES,
    config=concept_settings,
    dropped=(ANGLES, f"{VISION}.sam2_convs.{{r}}", "tracker.{r}", f"{BOXES}.points_{{r}}"),
    split=split,
    join=join,
)
"""The detector; it does not support example points, although the authors' file has weights for them."""


CLICK_RULES: Rules = [
    *BACKBONE,
    *_levels(f"{VISION}.sam2_convs", "vision_encoder.neck.fpn_layers"),
    (f"tracker.{LAYER[0]}.mlp.lin1.{{r}}", f"{LAYER[1]}.mlp.proj_in.{{r}}"),
    (f"tracker.{LAYER[0]}.mlp.lin2.{{r}}", f"{LAYER[1]}.mlp.proj_out.{{r}}"),
    *((f"tracker.{old}", new) for old, new in AFTER_TRUNK if "image_encoder" not in old and ".mlp.layers." not in old),
]
UNREAD_LEVEL = f"{VISION}.sam2_convs.3"


def split_clicks(weights: Weights) -> Weights:
    """As `split`, and join the four kinds of points in one table."""
    return _tracker(split(weights), join_points)


def join_clicks(weights: Weights) -> Weights:
    """Inverse of `split_clicks`; the neck's unused level becomes zeros."""
    out = join(_tracker(weights, split_points))
    for key, value in list(out.items()):
        if key.startswith(f"{VISION}.sam2_convs.2."):
            out[key.replace(".sam2_convs.2.", ".sam2_convs.3.")] = value.new_zeros(value.shape)
    return out


def _tracker(weights: Weights, change: Callable[[Weights], Weights]) -> Weights:
    """Apply a conversion of SAM 2's weights to those below ``tracker.``."""
    inside = {key.removeprefix("tracker."): value for key, value in weights.items() if key.startswith("tracker.")}
    outside = {key: value for key, value in weights.items() if not key.startswith("tracker.")}
    return outside | {f"tracker.{key}": value for key, value in change(inside).items()}


def _as_here(key: str) -> str:
    """SAM 3's name of a video part of SAM 2."""
    key = key.replace("memory_attention.", "transformer.encoder.").replace("memory_encoder.", "maskmem_backbone.")
    return f"tracker.{key}"


def click_settings(shapes: Shapes) -> dict[str, Any]:
    """Settings of `SamConfig`, from the shapes of the file."""
    trunk = trunk_config(shapes)
    frame = {"image_size": trunk.get("image_size", 1008), "patch_size": trunk["patch_size"]}
    return {
        "vision_config": {
            "model_type": "sam3_vision_model",
            "output_trunk": CONCEPTS.fits(shapes),
            **trunk,
        },
        "prompt_encoder_config": {**AFTER_ENCODER["prompt_encoder_config"], **frame},
        "mask_decoder_config": AFTER_ENCODER["mask_decoder_config"],
    }


CLICKS = OriginalLayout(
    signature=(f"{BLOCK}.attn.qkv.weight", "tracker.sam_mask_decoder.output_upscaling.0.weight"),
    rules=CLICK_RULES,
    config=click_settings,
    dropped=(
        ANGLES,
        f"{UNREAD_LEVEL}.{{r}}",
        f"{VISION}.convs.{{r}}",
        *(f"{part}.{{r}}" for part in (LANGUAGE, "detector.transformer", BOXES, HEAD, "detector.dot_prod_scoring")),
        *map(_as_here, UNUSED),
    ),
    blank={_as_here(key): shape for key, shape in BLANK.items()},
    tables=rotary_tables,
    split=split_clicks,
    join=join_clicks,
)
"""The click predictor ("tracker"), which shares the detector's ViT."""
