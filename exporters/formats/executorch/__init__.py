"""ExecuTorch: programs for Android and iOS, lowered to XNNPACK."""

from ...format import EXACT, HALF, Choice, Format, Snippet, Tolerance

FORMAT = Format(
    name="executorch",
    package=__name__,
    title="ExecuTorch",
    purpose="export to Android and iOS through ExecuTorch",
    export="export:export",
    runner="runner:open_runner",
    tolerances={"fp32": EXACT, "int8": Tolerance(0.5, 0.98, 0.97, 0.8, 0.1), "coreml": HALF},
    default=("fp32",),
    preferred=("int8", "fp32"),
    options=("slots", "calibration"),
    calibrated=("int8",),
    packages=("torch", "executorch"),
    requires={"executorch": "executorch.exir"},
    runs_on=("executorch",),
    extra="executorch",
    snippets=(
        Snippet("SegmentExecuTorch.kt", "android/SegmentExecuTorch.kt"),
        Snippet("Photo.kt", "android/Photo.kt", shared=True),
    ),
    presets={
        "android": Choice(
            ("fp32",),
            "ExecuTorch's fp32 program is exact and runs on XNNPACK's kernels for Arm CPUs",
            "pocket 32.2 MB, mask IoU 1.0000 (benchmarks/exported.py, docs/guide/export.md), no time on a phone",
        ),
    },
)
