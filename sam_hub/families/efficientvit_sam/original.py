"""The layout of EfficientViT-SAM's checkpoints."""

from typing import Any

from ..layout import OriginalLayout, Rules, Shapes, count
from ..sam.original import MASK_DECODER, PROMPT_ENCODER


def _conv_block(old: str, new: str) -> Rules:
    """Rules for a `ConvBlock`; two of its convolutions have no norm."""
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


def _efficientvit_config(shapes: Shapes) -> dict[str, Any]:
    """Settings from the shapes; the input size follows from the number of stages: five use 512 pixels, six 1024."""
    stages = "image_encoder.backbone.stages"
    depths = [count(shapes, "image_encoder.backbone.stages.0.op_list.{n}.main.conv1.conv.weight")]
    widths, blocks, expansions = [shapes[f"{stages}.0.op_list.0.conv.weight"][0]], ["res"], [1]
    for i in range(1, count(shapes, stages + ".{n}.op_list.0.main.point_conv.conv.weight") + 1):
        width, wide = shapes[f"{stages}.{i}.op_list.0.main.point_conv.conv.weight"][:2]
        expansions.append(wide // widths[-1] // 4)
        widths.append(width)
        attention = count(shapes, f"{stages}.{i}.op_list.{{n}}.context_module.main.qkv.conv.weight")
        depths.append(attention or count(shapes, f"{stages}.{i}.op_list.{{n}}.main.point_conv.conv.weight") - 1)
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
            "neck_depth": count(shapes, "image_encoder.neck.middle.op_list.{n}.main.spatial_conv.conv.weight"),
            "neck_expansion": neck_wide // neck_width,
            "image_size": image_size,
            "patch_size": image_size // 64,
        },
        "mask_decoder_config": {"layer_norm_eps": 1e-6},
    }


EFFICIENTVIT_SAM = OriginalLayout(
    signature=("image_encoder.backbone.stages.{n}.op_list.0.main.point_conv.conv.weight",),
    rules=[*EFFICIENTVIT, *PROMPT_ENCODER, *MASK_DECODER],
    config=_efficientvit_config,
)
