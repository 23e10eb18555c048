"""Core ML: packages for iOS and macOS; without macOS they run in our evaluator."""

from ...format import EXACT, HALF, Choice, Format, Snippet, Tolerance

FORMAT = Format(
    name="coreml",
    package=__name__,
    title="Core ML",
    purpose="export to iOS and macOS",
    export="export:export",
    runner="runner:open_runner",
    tolerances={
        "fp32": EXACT,
        "fp16": HALF,
        "int8": Tolerance(0.5, 0.98, 0.985, 0.8, 0.1),
        "p6": Tolerance(0.5, 0.98, 0.98, 0.8, 0.1),
        "p4": Tolerance(0.7, 0.95, 0.97, 0.7, 0.15),
        "mixed": Tolerance(0.7, 0.95, 0.97, 0.7, 0.15),
        "mixed4": Tolerance(0.7, 0.95, 0.95, 0.6, 0.2),
    },
    default=("fp16",),
    preferred=("fp16", "int8", "fp32"),
    options=("slots", "calibration"),
    calibrated=("mixed", "mixed4"),
    packages=("torch", "coremltools"),
    requires={"coremltools": "coremltools", "scikit-learn": "sklearn"},
    runs_on=("torch", "coremltools"),
    extra="coreml",
    snippets=(Snippet("Segment.swift", "macos/Segment.swift"), Snippet("predict.py.in", "macos/predict.py")),
    presets={
        "iphone": Choice(
            ("int8",),
            "Core ML with int8 weights is the smallest download that keeps to its bound, and computes in half "
            "precision as the Neural Engine does; a click has a fixed number of prompt slots, because every new shape "
            "costs a first run",
            "pocket int8 9.6 MB, mask IoU .9952 (benchmarks/exported.py, docs/guide/export.md), no time on a phone",
        ),
    },
)
