"""LiteRT, formerly TensorFlow Lite: files for Android and any other platform with its interpreter.

litert-torch is not one of our extras: it pins xdsl 0.28, which needs typing-extensions below 4.13, while other extras
need a later one. Install it with sam-hub in a separate environment; `docs/devices.md` has the command.
"""

from ...format import EXACT, HALF, Format, Snippet, Tolerance

FORMAT = Format(
    name="litert",
    package=__name__,
    title="LiteRT",
    purpose="export to Android through LiteRT (TensorFlow Lite)",
    export="export:export",
    runner="runner:open_runner",
    tolerances={"fp32": EXACT, "fp16": HALF, "int8": Tolerance(0.5, 0.98, 0.985, 0.8, 0.1)},
    default=("fp32",),
    preferred=("fp16", "int8", "fp32"),
    options=("slots",),
    packages=("torch", "litert_torch", "ai_edge_litert", "ai_edge_quantizer"),
    requires={"litert-torch": "litert_torch", "ai-edge-litert": "ai_edge_litert"},
    runs_on=("ai_edge_litert",),
    distribution="litert-torch",
    snippets=(
        Snippet("SegmentLiteRt.kt", "android/SegmentLiteRt.kt"),
        Snippet("Photo.kt", "android/Photo.kt", shared=True),
    ),
)
