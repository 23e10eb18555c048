"""LiteRT, formerly TensorFlow Lite: files for Android and whatever else runs its interpreter.

litert-torch is no extra of ours: xdsl 0.28, which it pins, wants typing-extensions below 4.13, and others of our extras
want a later one. It goes into an environment of its own, beside sam-hub; `docs/devices.md` has the command.
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
    snippets=(Snippet("SegmentLiteRt.kt", "android/SegmentLiteRt.kt"),),
)
