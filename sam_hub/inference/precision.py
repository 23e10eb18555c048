"""Image encoders in bfloat16, on hardware that multiplies in it.

Only products are in bfloat16 (`torch.autocast`): linear layers, convolutions and attention. The residual stream, norms,
softmax, the neck's norms and the decoder stay in float32.
"""

from contextlib import AbstractContextManager, nullcontext

import torch

from ..errors import WrongUsage
from ..models.modeling_sam import SamModel
from .thresholds import suits_bfloat16

PRECISIONS = ("full", "fast")
"""The model's own type, or bfloat16 in encoders that gain by it, on hardware that has it."""


def check_precision(precision: str) -> None:
    """raises: WrongUsage if there is no precision of that name"""
    if precision not in PRECISIONS:
        raise WrongUsage(f"there is no precision {precision!r}; take 'full' or 'fast'")


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies in bfloat16: CUDA, or a CPU with AVX-512 BF16 or AMX. Others emulate it, slowly."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def in_bfloat16(precision: str, model: SamModel) -> bool:
    """Whether "fast" computes this model's encoder in bfloat16; otherwise it is the same as "full"."""
    kind = model.config.vision_config.model_type
    wanted = precision == "fast" and model.dtype == torch.float32
    return wanted and suits_bfloat16(kind) and has_bfloat16(model.device)


def encoding(precision: str, model: SamModel) -> AbstractContextManager[object]:
    """Context for the image encoder's computation."""
    if not in_bfloat16(precision, model):
        return nullcontext()
    return torch.autocast(model.device.type, torch.bfloat16)
