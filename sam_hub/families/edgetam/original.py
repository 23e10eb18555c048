"""The layout of ``edgetam.pt``."""

from typing import Any

from ..layout import OriginalLayout, Rules, Shapes, count
from ..sam2.original import AFTER_TRUNK, join_points, split_points
from ..sam2.video import MEMORY, UNUSED, memory_attention, memory_encoder
from . import AFTER_ENCODER

TRUNK: Rules = [("image_encoder.trunk.body.{r}", "vision_encoder.backbone.timm_model.{r}")]


def _config(shapes: Shapes) -> dict[str, Any]:
    body = "image_encoder.trunk.body"
    stages = range(count(shapes, f"{body}.stages_{{n}}.blocks.0.token_mixer.conv.c.weight"))
    return {
        "vision_config": {
            "model_type": "edgetam_vision_model",
            "hidden_sizes": [shapes[f"{body}.stages_{i}.blocks.0.token_mixer.conv.c.weight"][0] for i in stages],
            "depths": [count(shapes, f"{body}.stages_{i}.blocks.{{n}}.token_mixer.conv.c.weight") for i in stages],
        },
        **AFTER_ENCODER,
    }


def _perceiver() -> dict[str, tuple[int, ...]]:
    """Shapes of the perceiver, which compresses a frame's memory."""
    c = MEMORY
    found: dict[str, tuple[int, ...]] = {"latents": (256, c), "latents_2d": (256, c)}
    norms = ["norm"]
    for layer in ("layers.0", "layers.1"):
        parts = ("attn.norm_x", "attn.norm_latents", "ff.0", "self_attn.norm", "self_ff.0")
        norms += [f"{layer}.{part}" for part in parts]
        for name in (f"{layer}.attn", f"{layer}.self_attn"):
            found |= {
                f"{name}.to_q.weight": (c, c),
                f"{name}.to_kv.weight": (2 * c, c),
                f"{name}.to_out.weight": (c, c),
            }
        for name in (f"{layer}.ff", f"{layer}.self_ff"):
            found |= {f"{name}.1.weight": (4 * c, c), f"{name}.3.weight": (c, 4 * c)}
    found |= {f"{norm}.{part}": (c,) for norm in norms for part in ("weight", "bias")}
    return {f"spatial_perceiver.{name}": shape for name, shape in found.items()}


EDGETAM = OriginalLayout(
    signature=("image_encoder.trunk.body.stem.conv1.c.weight", "sam_mask_decoder.output_upscaling.0.weight"),
    rules=[*TRUNK, *AFTER_TRUNK],
    config=_config,
    dropped=(*UNUSED, "spatial_perceiver.{r}"),
    blank={**memory_attention(2), **memory_encoder(), **_perceiver()},
    split=join_points,
    join=split_points,
)
