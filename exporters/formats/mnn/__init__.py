"""MNN: files for phones that run MNN, converted and run by its Python package."""

from ...format import EXACT, Format, Snippet, Tolerance

FORMAT = Format(
    name="mnn",
    package=__name__,
    title="MNN",
    purpose="export to phones and boards through MNN, and run there without torch",
    export="export:export",
    runner="runner:open_runner",
    tolerances={"fp32": EXACT, "int8": Tolerance(0.5, 0.98, 0.985, 0.8, 0.1)},
    default=("fp32", "int8"),
    preferred=("int8", "fp32"),
    packages=("torch", "onnx", "onnxscript", "MNN"),
    requires={"onnx": "onnx", "onnxscript": "onnxscript", "MNN": "MNN"},
    runs_on=("MNN",),
    extra="mnn",
    snippets=(Snippet("segment.py.in", "mnn/segment.py"),),
)
