"""Whether this machine has bfloat16 arithmetic or only emulates it."""

import torch


def bfloat16_is_fast() -> bool:
    """Whether products in bfloat16 are faster than in float32: on a GPU, or a CPU with AVX-512.

    With only AVX2 they are emulated, and a training step of `pocket` takes more than ten times as long.
    """
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return torch.backends.cpu.get_cpu_capability().startswith("AVX512")
