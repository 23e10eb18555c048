"""ONNX: files for onnxruntime, for browsers and for tools that take the original's decoder."""

from ...format import EXACT, HALF, Choice, Format, Snippet, Tolerance

INT8 = "pocket int8 9.6 MB, mask IoU .9943 (benchmarks/exported.py, docs/guide/export.md)"

FORMAT = Format(
    name="onnx",
    package=__name__,
    title="ONNX",
    purpose="export to ONNX, and prompting without torch",
    export="export:export",
    runner="runner:open_runner",
    tolerances={
        "fp32": EXACT,
        "fp16": HALF,
        "int8": Tolerance(0.5, 0.98, 0.985, 0.8, 0.1),
        "int8-dynamic": Tolerance(0.5, 0.98, 0.985, 0.8, 0.1),
        "int8-static": Tolerance(0.5, 0.98, 0.97, 0.8, 0.1),
        "uint8": Tolerance(0.5, 0.98, 0.985, 0.8, 0.1),
        "q4": Tolerance(0.7, 0.95, 0.97, 0.7, 0.15),
        "q4f16": Tolerance(0.7, 0.95, 0.97, 0.7, 0.15),
        "mixed": Tolerance(0.7, 0.95, 0.97, 0.7, 0.15),
        "mixed4": Tolerance(0.7, 0.95, 0.95, 0.6, 0.2),
    },
    default=("fp32", "fp16", "int8"),
    preferred=("int8", "fp32"),  # Android runs them on the CPU, where fp16 is widened first
    options=(
        "layouts",
        "masks",
        "stability",
        "upscale",
        "size_dtype",
        "grey_levels",
        "true_inputs",
        "opset",
        "calibration",
    ),
    calibrated=("int8-static", "mixed", "mixed4"),
    packages=("torch", "onnx", "onnxruntime", "onnxscript"),
    requires={"onnx": "onnx", "onnxruntime": "onnxruntime", "onnxscript": "onnxscript"},
    runs_on=("onnxruntime",),
    extra="onnx",
    place="browser",
    is_default=True,
    snippets=(
        Snippet("SegmentOnnx.kt", "android/SegmentOnnx.kt", "transformersjs"),
        Snippet("Photo.kt", "android/Photo.kt", "transformersjs", shared=True),
        Snippet("trtexec.sh", "jetson/trtexec.sh", "meta"),
        Snippet("anylabeling.yaml", "anylabeling/config.yaml", "anylabeling"),
    ),
    presets={
        "android": Choice(
            ("int8",),
            "the ONNX files with int8 weights are the smallest that keep to their bound, and compute in fp32",
            f"{INT8}, no time on a phone",
        ),
        "browser": Choice(
            ("int8", "fp16", "fp32"),
            "transformers.js takes the q8 file where it runs in WASM (a third of the download), and on WebGPU the fp16 "
            "file (half of it) or, unless told, the fp32 one",
            f"{INT8}, fp16 16.2 MB, IoU .9993, fp32 32.3 MB, no time in a browser",
            {"layouts": ("transformersjs",)},
        ),
        "jetson": Choice(
            ("fp32",),
            "TensorRT chooses its own precision (build with --fp16) from an fp32 graph, and wants the size of the "
            "image as int32",
            "not run on TensorRT",
            {"layouts": ("meta",), "size_dtype": "int32"},
        ),
        "cpu-server": Choice(
            ("fp32", "int8"),
            "on server CPUs fp32 is exact; int8 weights take a third of the disk at nearly the same masks",
            f"fp32 under half of PyTorch's time on one core (benchmarks/onnx_speed.py), {INT8}, fp32 32.3 MB",
        ),
    },
)
