"""Original checkpoints <-> our layout: one rename table per family, read in both directions.

A rule is a pair of templates: ``{n}`` stands for digits and ``{r}`` for the rest of the key. The first rule that
matches a whole key renames it, so identity rules come last. Files are read with ``weights_only=True``: a
pickle that would execute code is refused.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from .errors import CheckpointError

Rules = list[tuple[str, str]]
Shapes = Mapping[str, tuple[int, ...]]


def _head(old: str, new: str) -> Rules:
    """A three-layer `FeedForward`."""
    return [
        (f"{old}.layers.0.{{r}}", f"{new}.proj_in.{{r}}"),
        (f"{old}.layers.1.{{r}}", f"{new}.layers.0.{{r}}"),
        (f"{old}.layers.2.{{r}}", f"{new}.proj_out.{{r}}"),
    ]


def _gelu_head(name: str) -> Rules:
    """A three-layer `FeedForward` as EfficientSAM writes it."""
    return [
        (f"{name}.layers.0.0.{{r}}", f"{name}.proj_in.{{r}}"),
        (f"{name}.layers.1.0.{{r}}", f"{name}.layers.0.{{r}}"),
        (f"{name}.fc.{{r}}", f"{name}.proj_out.{{r}}"),
    ]


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
    *_head("mask_decoder.output_hypernetworks_mlps.{n}", "mask_decoder.output_hypernetworks_mlps.{n}"),
    *_head("mask_decoder.iou_prediction_head", "mask_decoder.iou_prediction_head"),
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

UNUSED_CLASSIFIER = {
    "image_encoder.norm_head.weight": (320,),
    "image_encoder.norm_head.bias": (320,),
    "image_encoder.head.weight": (1000, 320),
    "image_encoder.head.bias": (1000,),
}
"""TinyViT's ImageNet head: in the original files, read by their strict loaders, and never used."""


def _conv_norm(old: str, new: str) -> Rules:
    """A `ConvBatchNorm`."""
    return [(f"{old}.c.weight", f"{new}.conv.weight"), (f"{old}.bn.{{r}}", f"{new}.norm.{{r}}")]


TINY_VIT: Rules = [
    *_conv_norm("image_encoder.patch_embed.seq.0", "vision_encoder.patch_embed.conv1"),
    *_conv_norm("image_encoder.patch_embed.seq.2", "vision_encoder.patch_embed.conv2"),
    *_conv_norm("image_encoder.layers.{n}.blocks.{n}.conv{n}", "vision_encoder.layers.{n}.blocks.{n}.conv{n}"),
    *_conv_norm("image_encoder.layers.{n}.blocks.{n}.local_conv", "vision_encoder.layers.{n}.blocks.{n}.local_conv"),
    *_conv_norm("image_encoder.layers.{n}.downsample.conv{n}", "vision_encoder.layers.{n}.downsample.conv{n}"),
    ("image_encoder.layers.{n}.blocks.{n}.attn.norm.{r}", "vision_encoder.layers.{n}.blocks.{n}.layer_norm1.{r}"),
    ("image_encoder.layers.{n}.blocks.{n}.attn.{r}", "vision_encoder.layers.{n}.blocks.{n}.attn.{r}"),
    ("image_encoder.layers.{n}.blocks.{n}.mlp.norm.{r}", "vision_encoder.layers.{n}.blocks.{n}.layer_norm2.{r}"),
    ("image_encoder.layers.{n}.blocks.{n}.mlp.fc{n}.{r}", "vision_encoder.layers.{n}.blocks.{n}.mlp.lin{n}.{r}"),
    *NECK,
]

REPVIT: Rules = [
    *_conv_norm("image_encoder.features.0.0", "vision_encoder.features.0.conv1"),
    *_conv_norm("image_encoder.features.0.2", "vision_encoder.features.0.conv2"),
    *_conv_norm("image_encoder.features.{n}.token_mixer.0.conv", "vision_encoder.features.{n}.depthwise.conv3x3"),
    *_conv_norm("image_encoder.features.{n}.token_mixer.0.conv1", "vision_encoder.features.{n}.depthwise.conv1x1"),
    ("image_encoder.features.{n}.token_mixer.0.conv1.{r}", "vision_encoder.features.{n}.depthwise.conv1x1.{r}"),
    *_conv_norm("image_encoder.features.{n}.token_mixer.0", "vision_encoder.features.{n}.depthwise"),
    ("image_encoder.features.{n}.token_mixer.1.fc{n}.{r}", "vision_encoder.features.{n}.squeeze_excite.fc{n}.{r}"),
    *_conv_norm("image_encoder.features.{n}.token_mixer.2", "vision_encoder.features.{n}.pointwise"),
    *_conv_norm("image_encoder.features.{n}.channel_mixer.m.0", "vision_encoder.features.{n}.expand"),
    *_conv_norm("image_encoder.features.{n}.channel_mixer.m.2", "vision_encoder.features.{n}.project"),
    ("image_encoder.fuse_stage2.weight", "vision_encoder.fuse_stage2.weight"),
    ("image_encoder.fuse_stage3.op_list.0.weight", "vision_encoder.fuse_stage3.weight"),
    *NECK,
]

HQ_DECODER: Rules = [
    ("mask_decoder.hf_token.weight", "mask_decoder.hq_token.weight"),
    *_head("mask_decoder.hf_mlp", "mask_decoder.hq_mask_mlp"),
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

EFFICIENT_SAM: Rules = [
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


def _conv_block(old: str, new: str) -> Rules:
    """A `ConvBlock`: two of its convolutions have no norm."""
    return [
        (f"{old}.main.inverted_conv.conv.{{r}}", f"{new}.main.inverted_conv.{{r}}"),
        (f"{old}.main.depth_conv.conv.{{r}}", f"{new}.main.depth_conv.{{r}}"),
        (f"{old}.main.{{r}}", f"{new}.main.{{r}}"),
    ]


EFFICIENTVIT_BLOCK, OUR_BLOCK = "image_encoder.backbone.stages.{n}.op_list.{n}", "vision_encoder.stages.{n}.{n}"
EFFICIENTVIT: Rules = [
    ("image_encoder.backbone.stages.0.op_list.0.{r}", "vision_encoder.stages.0.0.main.{r}"),
    *_conv_block(EFFICIENTVIT_BLOCK, OUR_BLOCK),
    *_conv_block(f"{EFFICIENTVIT_BLOCK}.local_module", f"{OUR_BLOCK}.local"),
    (f"{EFFICIENTVIT_BLOCK}.context_module.main.qkv.conv.weight", f"{OUR_BLOCK}.attn.qkv.weight"),
    (f"{EFFICIENTVIT_BLOCK}.context_module.main.aggreg.0.0.weight", f"{OUR_BLOCK}.attn.gather.weight"),
    (f"{EFFICIENTVIT_BLOCK}.context_module.main.aggreg.0.1.weight", f"{OUR_BLOCK}.attn.mix.weight"),
    (f"{EFFICIENTVIT_BLOCK}.context_module.main.proj.{{r}}", f"{OUR_BLOCK}.attn.proj.{{r}}"),
    ("image_encoder.neck.input_ops.{n}.op_list.0.{r}", "vision_encoder.neck.inputs.{n}.{r}"),
    *_conv_block("image_encoder.neck.middle.op_list.{n}", "vision_encoder.neck.blocks.{n}"),
    ("image_encoder.neck.output_ops.0.op_list.0.conv.{r}", "vision_encoder.neck.output.{r}"),
    ("image_encoder.norm.{r}", "vision_encoder.layer_norm.{r}"),
]


def _count(shapes: Shapes, template: str) -> int:
    """How many modules the ``{n}`` of a template numbers."""
    pattern = _pattern(template)
    return len({m.group(1) for key in shapes if (m := pattern.fullmatch(key))})


def _vit_config(shapes: Shapes) -> dict[str, Any]:
    """Every setting of the ViT, read off the shapes."""
    width, _, patch, _ = shapes["image_encoder.patch_embed.proj.weight"]
    side = shapes["image_encoder.pos_embed"][1]
    depth = _count(shapes, "image_encoder.blocks.{n}.attn.qkv.weight")
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


def _tiny_vit_config(shapes: Shapes) -> dict[str, Any]:
    """Widths, depths, heads and windows of TinyViT, read off the shapes."""
    stages = range(1, _count(shapes, "image_encoder.layers.{n}.blocks.0.attn.qkv.weight") + 1)
    biases = [shapes[f"image_encoder.layers.{i}.blocks.0.attn.attention_biases"] for i in stages]
    return {
        "vision_config": {
            "model_type": "sam_hub_tiny_vit",
            "hidden_sizes": [
                shapes["image_encoder.patch_embed.seq.2.c.weight"][0],
                *(shapes[f"image_encoder.layers.{i}.blocks.0.attn.qkv.weight"][1] for i in stages),
            ],
            "depths": [
                _count(shapes, "image_encoder.layers.0.blocks.{n}.conv1.c.weight"),
                *(_count(shapes, f"image_encoder.layers.{i}.blocks.{{n}}.attn.qkv.weight") for i in stages),
            ],
            "num_attention_heads": [heads for heads, _ in biases],
            "window_sizes": [math.isqrt(offsets) for _, offsets in biases],
        }
    }


def _repvit_config(shapes: Shapes) -> dict[str, Any]:
    """Widths and depths of RepViT, and which of its two block kinds it has, read off the shapes.

    A block that changes the width begins a stage; the others keep it.
    """
    blocks = range(1, _count(shapes, "image_encoder.features.{n}.channel_mixer.m.2.c.weight") + 1)
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


def _hq(encoder: dict[str, Any], shapes: Shapes) -> dict[str, Any]:
    """Settings of SAM-HQ, from those of its encoder."""
    width = shapes["mask_decoder.compress_vit_feat.0.weight"][0]
    return {
        **encoder,
        "vision_config": {**encoder["vision_config"], "output_intermediate": True},
        "mask_decoder_config": {"model_type": "sam_hub_hq_mask_decoder", "vit_dim": width},
    }


def _efficient_sam_config(shapes: Shapes) -> dict[str, Any]:
    """Widths and depth are read off the shapes; the heads of every published model are 64 wide."""
    width = shapes["image_encoder.patch_embed.proj.weight"][0]
    return {
        "vision_config": {
            "model_type": "sam_hub_efficient_sam",
            "hidden_size": width,
            "num_hidden_layers": _count(shapes, "image_encoder.blocks.{n}.attn.qkv.weight"),
            "num_attention_heads": width // 64,
            "mlp_dim": shapes["image_encoder.blocks.0.mlp.fc1.weight"][0],
            "pretrained_grid": math.isqrt(shapes["image_encoder.pos_embed"][1] - 1),
        },
        "prompt_encoder_config": {"model_type": "sam_hub_efficient_sam_prompt_encoder"},
        "mask_decoder_config": {"model_type": "sam_hub_efficient_sam_mask_decoder"},
    }


def _efficientvit_config(shapes: Shapes) -> dict[str, Any]:
    """Every setting but the input size, read off the shapes; five stages encode at 512 pixels and six at 1024."""
    stages = "image_encoder.backbone.stages"
    depths = [_count(shapes, "image_encoder.backbone.stages.0.op_list.{n}.main.conv1.conv.weight")]
    widths, blocks, expansions = [shapes[f"{stages}.0.op_list.0.conv.weight"][0]], ["res"], [1]
    for i in range(1, _count(shapes, stages + ".{n}.op_list.0.main.point_conv.conv.weight") + 1):
        width, wide = shapes[f"{stages}.{i}.op_list.0.main.point_conv.conv.weight"][:2]
        expansions.append(wide // widths[-1] // 4)
        widths.append(width)
        attention = _count(shapes, f"{stages}.{i}.op_list.{{n}}.context_module.main.qkv.conv.weight")
        depths.append(attention or _count(shapes, f"{stages}.{i}.op_list.{{n}}.main.point_conv.conv.weight") - 1)
        mobile = f"{stages}.{i}.op_list.0.main.inverted_conv.conv.weight" in shapes
        blocks.append("att" if attention else "mb" if mobile else "fmb")
    gather = f"{stages}.{len(widths) - 1}.op_list.1.context_module.main.aggreg.0"
    neck_wide, neck_width = shapes["image_encoder.neck.middle.op_list.0.main.spatial_conv.conv.weight"][:2]
    image_size = 512 if len(widths) == 5 else 1024
    return {
        "vision_config": {
            "model_type": "sam_hub_efficientvit",
            "widths": widths,
            "depths": depths,
            "blocks": blocks,
            "expansions": expansions,
            "attention_kernel": shapes[f"{gather}.0.weight"][-1],
            "attention_head_dim": shapes[f"{gather}.1.weight"][1],
            "neck_width": neck_width,
            "neck_depth": _count(shapes, "image_encoder.neck.middle.op_list.{n}.main.spatial_conv.conv.weight"),
            "neck_expansion": neck_wide // neck_width,
            "image_size": image_size,
            "patch_size": image_size // 64,
        },
        "mask_decoder_config": {"layer_norm_eps": 1e-6},
    }


@dataclass(frozen=True)
class Family:
    """How the original files of one family are recognised and renamed.

    signature: keys that together only this family has (templates allowed)
    absent: keys that it must not have
    rules: original template -> our template
    config: settings of `SamConfig`, from the shapes of the original file
    dropped: templates of original keys that inference does not use
    blank: those of them that the original's strict loader insists on, with their shapes: written back as zeros
    """

    signature: tuple[str, ...]
    rules: Rules
    config: Callable[[Shapes], dict[str, Any]]
    absent: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    blank: Shapes = field(default_factory=dict)


FAMILIES: dict[str, Family] = {
    "sam": Family(
        signature=("image_encoder.blocks.{n}.attn.rel_pos_h", "mask_decoder.output_upscaling.0.weight"),
        absent=("mask_decoder.hf_token.weight",),
        rules=[*VIT, *PROMPT_ENCODER, *MASK_DECODER],
        config=_vit_config,
    ),
    "mobile-sam": Family(  # TinySAM's files are alike
        signature=(
            "image_encoder.layers.{n}.blocks.{n}.attn.attention_biases",
            "mask_decoder.output_upscaling.0.weight",
        ),
        absent=("mask_decoder.hf_token.weight",),
        rules=[*TINY_VIT, *PROMPT_ENCODER, *MASK_DECODER],
        config=_tiny_vit_config,
        dropped=tuple(UNUSED_CLASSIFIER),
        blank=UNUSED_CLASSIFIER,
    ),
    "edge-sam": Family(
        signature=("image_encoder.features.{n}.channel_mixer.m.0.c.weight", "image_encoder.fuse_stage2.weight"),
        rules=[*REPVIT, *PROMPT_ENCODER, *MASK_DECODER],
        config=_edge_sam_config,
    ),
    "repvit-sam": Family(
        signature=("image_encoder.features.{n}.channel_mixer.m.0.c.weight", "mask_decoder.output_upscaling.0.weight"),
        absent=("image_encoder.fuse_stage2.weight",),
        rules=[*REPVIT, *PROMPT_ENCODER, *MASK_DECODER],
        config=_repvit_config,
    ),
    "sam-hq": Family(
        signature=("image_encoder.blocks.{n}.attn.rel_pos_h", "mask_decoder.hf_token.weight"),
        rules=[*VIT, *PROMPT_ENCODER, *HQ_DECODER],
        config=lambda shapes: _hq(_vit_config(shapes), shapes),
    ),
    "sam-hq-light": Family(
        signature=("image_encoder.layers.{n}.blocks.{n}.attn.attention_biases", "mask_decoder.hf_token.weight"),
        rules=[*TINY_VIT, *PROMPT_ENCODER, *HQ_DECODER],
        config=lambda shapes: _hq(_tiny_vit_config(shapes), shapes),
        dropped=tuple(UNUSED_CLASSIFIER),
        blank=UNUSED_CLASSIFIER,
    ),
    "efficient-sam": Family(
        signature=("image_encoder.blocks.{n}.mlp.fc1.weight", "prompt_encoder.invalid_points.weight"),
        rules=EFFICIENT_SAM,
        config=_efficient_sam_config,
    ),
    "efficientvit-sam": Family(
        signature=("image_encoder.backbone.stages.{n}.op_list.0.main.point_conv.conv.weight",),
        rules=[*EFFICIENTVIT, *PROMPT_ENCODER, *MASK_DECODER],
        config=_efficientvit_config,
    ),
}


@cache
def _pattern(template: str) -> re.Pattern[str]:
    escaped = re.escape(template).replace(r"\{n\}", r"(\d+)").replace(r"\{r\}", r"(.+)")
    return re.compile(escaped)


def rename(key: str, rules: Rules, back: bool = False) -> str | None:
    """The new name of a key, or None when no rule knows it."""
    for old, new in rules:
        source, target = (new, old) if back else (old, new)
        if match := _pattern(source).fullmatch(key):
            for part in match.groups():
                target = re.sub(r"\{[nr]\}", lambda _, part=part: part, target, count=1)
            return target
    return None


def detect_family(shapes: Shapes) -> str:
    """The family whose signature the keys carry; CheckpointError when there is none."""

    def has(template: str) -> bool:
        pattern = _pattern(template)
        return any(pattern.fullmatch(key) for key in shapes)

    for name, family in FAMILIES.items():
        if all(map(has, family.signature)) and not any(map(has, family.absent)):
            return name
    some = ", ".join(sorted(shapes)[:3]) or "no tensors at all"
    raise CheckpointError(
        f"this checkpoint is of no known family (it has {some} ...); known families: {', '.join(sorted(FAMILIES))}"
    )


def to_ours(weights: Mapping[str, Any]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Original state dict -> family, settings of `SamConfig`, state dict in our layout.

    raises: CheckpointError when the family is unknown, a key has no place, or the shapes make no sense
    """
    shapes = {key: tuple(value.shape) for key, value in weights.items()}
    family = detect_family(shapes)
    table = FAMILIES[family]
    try:
        config = table.config(shapes)
    except (KeyError, ValueError, IndexError, ZeroDivisionError) as e:
        raise CheckpointError(f"a {family} checkpoint in part only: {e} is missing or has an impossible shape") from e
    renamed, unknown = {}, []
    for key, value in weights.items():
        if any(_pattern(template).fullmatch(key) for template in table.dropped):
            continue
        new = rename(key, table.rules)
        if new is None:
            unknown.append(key)
        else:
            renamed[new] = value
    if unknown:
        raise CheckpointError(f"keys that no {family} checkpoint has: {some(unknown)}")
    return family, config, renamed


def to_original(weights: Mapping[str, Any], family: str) -> dict[str, Any]:
    """State dict in our layout -> the original's, bit-equal; the inverse of `to_ours`."""
    import torch

    table = FAMILIES[family]
    renamed = {key: rename(key, table.rules, back=True) for key in weights}
    if unknown := [key for key, new in renamed.items() if new is None]:
        raise CheckpointError(f"the original {family} layout has no place for {some(unknown)}")
    blanks = {key: torch.zeros(shape) for key, shape in table.blank.items()}
    return {new: weights[key] for key, new in renamed.items()} | blanks


def check_complete(expected: Shapes, weights: Mapping[str, Any]) -> None:
    """Refuse missing, unknown and mis-shaped keys; all of them are named (the first few)."""
    found = {key: tuple(value.shape) for key, value in weights.items()}
    faults = []
    if missing := sorted(set(expected) - set(found)):
        faults.append(f"missing {some(missing)}")
    if unknown := sorted(set(found) - set(expected)):
        faults.append(f"unknown {some(unknown)}")
    wrong = [
        f"{k} {found[k]} instead of {tuple(expected[k])}" for k in found if found[k] != tuple(expected.get(k, found[k]))
    ]
    if wrong:
        faults.append(f"mis-shaped {some(wrong)}")
    if faults:
        raise CheckpointError(f"the checkpoint does not fit: {'; '.join(faults)}")


def some(keys: list[str], count: int = 5) -> str:
    """The first few keys, and how many more there are."""
    more = f" and {len(keys) - count} more" if len(keys) > count else ""
    return ", ".join(keys[:count]) + more


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Tensors of a ``.pth``, ``.pt`` or ``.safetensors`` file, memory-mapped, never executing code.

    A dict under ``model`` or ``state_dict`` is unwrapped.
    raises: CheckpointError for a pickle with code in it and for a damaged file
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        try:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as e:
            if "mmap" not in str(e):
                raise
            content = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as e:
        raise CheckpointError(f"{path} is damaged or cut short ({e}); download it again") from e
    except Exception as e:  # torch.load raises many kinds: UnpicklingError, EOFError, RuntimeError, KeyError ...
        if "weights_only" in str(e).lower() or "Unsupported" in str(e):
            raise CheckpointError(
                f"{path} is refused: it holds code or objects besides tensors, which loading would execute; "
                "get a file that holds a state dict only, or convert it where you trust it"
            ) from e
        reason = str(e).splitlines()[0][:120] if str(e) else type(e).__name__
        raise CheckpointError(f"{path} is not a readable checkpoint ({reason}); download it again") from e
    for wrapper in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(isinstance(v, torch.Tensor) for v in content.values()):
        raise CheckpointError(f"{path} holds no state dict of tensors")
    return dict(content)
