"""Which format, precision and layout for which device, and why."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Preset:
    """wanted: format -> variants; options: see the exporters; why: said to the person, one sentence"""

    wanted: Mapping[str, tuple[str, ...]]
    why: str
    options: Mapping[str, Any] = field(default_factory=dict)


PRESETS: dict[str, Preset] = {
    "iphone": Preset(
        {"coreml": ("int8",)},
        "Core ML with int8 weights is the smallest download that keeps to its bound, and computes in half precision as "
        "the Neural Engine does; a click has a fixed number of prompt slots, because every new shape costs a first run",
    ),
    "android": Preset(
        {"executorch": ("fp32",), "onnx": ("int8",)},
        "ExecuTorch's XNNPACK kernels are the fastest fp32 on Arm CPUs, and the ONNX files with int8 weights are the "
        "smallest download and run in fp32 arithmetic on every phone",
    ),
    "browser": Preset(
        {"onnx": ("int8", "fp16", "fp32")},
        "transformers.js takes the q8 file where it runs in WASM (a third of the download), and on WebGPU the fp16 "
        "file (half of it) or, unless told, the fp32 one",
        {"layouts": ("transformersjs",)},
    ),
    "jetson": Preset(
        {"onnx": ("fp32",)},
        "TensorRT chooses its own precision (build with --fp16) from an fp32 graph, and wants the size of the image as "
        "int32",
        {"layouts": ("meta",), "size_dtype": "int32"},
    ),
    "cpu-server": Preset(
        {"onnx": ("fp32", "int8")},
        "on server CPUs fp32 is the fastest and exact; int8 weights take a third of the disk at nearly the same masks",
    ),
}
