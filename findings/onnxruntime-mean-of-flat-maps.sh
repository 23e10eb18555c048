#!/bin/sh
# onnxruntime 1.32.0, CPU: ReduceMean over both sides of a map adds one value after another. Where neighbours are equal,
# as in a photo's sky or padding, roundings add up: 3e-4 of the mean at 512 x 512, where PyTorch and NumPy are at 5e-7.
# Squeeze-and-excite blocks (RepViT, EdgeTAM) begin with such a mean. Over one axis after the other it is 1e-6.
# Exit 0 while 1.32.0 behaves so, 1 when it does not.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/python -m pip install -q "onnxruntime==1.32.0" "onnx==1.23.0" "numpy<2.5" >&2
env/bin/python - <<'PYTHON'
import sys

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


def mean(x, *steps):
    nodes, constants, name = [], [], "x"
    for i, axes in enumerate(steps):
        constants.append(numpy_helper.from_array(np.array(axes, np.int64), f"axes_{i}"))
        nodes.append(helper.make_node("ReduceMean", [name, f"axes_{i}"], [f"mean_{i}"], keepdims=1))
        name = f"mean_{i}"
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("x", name)]
    ends[0] = helper.make_tensor_value_info("x", TensorProto.FLOAT, list(x.shape))
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0].ravel()


x = np.full((1, 8, 512, 512), 3.1234567, np.float32)
exact = x.astype(np.float64).mean((2, 3)).ravel()
off = {
    "ReduceMean over axes 2, 3": mean(x, [2, 3]),
    "ReduceMean over 3, then over 2": mean(x, [3], [2]),
    "NumPy, float32": x.mean((2, 3)).ravel(),
}
off = {name: float(abs(values - exact).max() / exact.max()) for name, values in off.items()}
print("onnxruntime", onnxruntime.__version__)
for name, error in off.items():
    print(f"{name}: {error:.1e} of the mean")
at_once, in_turn, numpy = off.values()
sys.exit(0 if at_once > 1e-4 and in_turn < 1e-5 and numpy < 1e-5 else 1)
PYTHON
