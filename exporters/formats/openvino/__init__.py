"""OpenVINO: intermediate representation for Intel's processors, graphics and NPUs, and for any other CPU."""

from ...format import EXACT, HALF, Format, Snippet, Tolerance

FORMAT = Format(
    name="openvino",
    package=__name__,
    title="OpenVINO",
    purpose="export to Intel CPUs, GPUs and NPUs through OpenVINO, and run there without torch",
    export="export:export",
    runner="runner:open_runner",
    tolerances={"fp32": EXACT, "fp16": HALF, "int8": Tolerance(0.5, 0.98, 0.985, 0.8, 0.1)},
    default=("fp32", "int8"),
    preferred=("fp32", "fp16", "int8"),
    packages=("torch", "onnx", "onnxscript", "openvino"),
    requires={"onnx": "onnx", "onnxscript": "onnxscript", "openvino": "openvino"},
    runs_on=("openvino",),
    extra="openvino",
    snippets=(Snippet("segment.py.in", "openvino/segment.py"),),
)
