#!/bin/sh
# onnxruntime-openvino 1.24.1: a graph input that also has an initializer (a default, which a caller may override) is
# frozen by the OpenVINO provider. The session still lists it among its overridable initializers and accepts a value,
# which it ignores: x + bias with x = [1 1], bias fed as 5, gives [6 6] on the CPU provider and [1 1] on OpenVINO's.
# Exit 0 while it behaves so, 1 when it does not.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/python -m pip install -q "onnxruntime-openvino==1.24.1" "onnx==1.20.0" "numpy<2.3" >&2
env/bin/python - <<'PYTHON'
import sys

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

x, bias, y = (
    helper.make_tensor_value_info(name, TensorProto.FLOAT, [side]) for name, side in (("x", "n"), ("bias", 1), ("y", "n"))
)
node = helper.make_node("Add", ["x", "bias"], ["y"])
default = numpy_helper.from_array(np.zeros(1, np.float32), "bias")
graph = helper.make_graph([node], "g", [x, bias], [y], [default])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8).SerializeToString()
options = onnxruntime.SessionOptions()
options.log_severity_level = 3
found = {}
for provider in ("CPUExecutionProvider", "OpenVINOExecutionProvider"):
    session = onnxruntime.InferenceSession(model, options, providers=[provider])
    listed = [i.name for i in session.get_overridable_initializers()]
    (value,) = session.run(None, {"x": np.ones(2, np.float32), "bias": np.array([5], np.float32)})
    found[session.get_providers()[0]] = value.tolist()
    print(f"onnxruntime-openvino {onnxruntime.__version__}, {session.get_providers()[0]}: overridable {listed}, {value}")
as_seen = {"CPUExecutionProvider": [6.0, 6.0], "OpenVINOExecutionProvider": [1.0, 1.0]}
sys.exit(0 if found == as_seen else 1)
PYTHON
