#!/bin/sh
# OpenVINO 2025.4.1: ONNX `Clip` of int64 with a lower bound alone (opset 18; max is optional) also clips at zero from
# above: [-10 -1 0 1 3] with min -1 gives [-1 -1 0 0 0] instead of [-1 -1 0 1 3]. No error, no warning.
# 2026.4.1 gives the right answer. `Max` in place of `Clip` is right in both.
# Exit 0 while 2025.4.1 behaves so, 1 when it does not.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/python -m pip install -q "openvino==2025.4.1" "onnx==1.20.0" "numpy<2.3" >&2
env/bin/python - <<'PYTHON'
import sys

import numpy as np
import openvino
from onnx import TensorProto, helper, numpy_helper

def answer(operator):
    ends = [helper.make_tensor_value_info(name, TensorProto.INT64, ["n"]) for name in ("x", "y")]
    node = helper.make_node(operator, ["x", "low"], ["y"])
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], [numpy_helper.from_array(np.array(-1), "low")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    compiled = openvino.Core().compile_model(openvino.Core().read_model(model.SerializeToString()), "CPU")
    return compiled({"x": np.array([-10, -1, 0, 1, 3])})[compiled.output(0)].tolist()

clip, maximum = answer("Clip"), answer("Max")
print("openvino", openvino.__version__)
print("Clip(x, min=-1):", clip)
print("Max(x, -1):     ", maximum)
sys.exit(0 if clip == [-1, -1, 0, 0, 0] and maximum == [-1, -1, 0, 1, 3] else 1)
PYTHON
