#!/bin/sh
# MNN 3.6.1: its converter replaces x * (1 + erf(x / sqrt(2))) * 0.5, the exact GELU, by the approximation with tanh,
# which is off by up to 5e-4: no error, no message, also with --optimizeLevel 0 and precision "high". The same product,
# with the half multiplied to the sum first, stays exact.
# Exit 0 while 3.6.1 behaves so, 1 when it does not.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/python -m pip install -q "MNN==3.6.1" "onnx==1.23.0" "numpy<2.5" >&2
env/bin/python - <<'PYTHON'
import subprocess
import sys
from math import erf

import MNN
import numpy as np
import onnx
from MNN import expr, nn
from onnx import TensorProto, helper, numpy_helper

x = np.linspace(-6, 6, 1001, dtype=np.float32)
exact = np.array([0.5 * v * (1 + erf(v / 2**0.5)) for v in x.astype(np.float64)])


def worst(first, second):
    nodes = [
        helper.make_node("Div", ["x", "root"], ["scaled"]),
        helper.make_node("Erf", ["scaled"], ["erf"]),
        helper.make_node("Add", ["erf", "one"], ["sum"]),
        helper.make_node("Mul", ["sum", first], ["product"]),
        helper.make_node("Mul", ["product", second], ["y"]),
    ]
    values = {"root": 2**0.5, "one": 1.0, "half": 0.5}
    stored = [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in values.items()]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [x.size]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "gelu", ends[:1], ends[1:], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, "gelu.onnx")
    # the converter itself: the program mnnconvert also installs a package with pip
    convert = [sys.executable, "-c", "import sys, _tools; _tools.mnnconvert(sys.argv[1:])", "mnnconvert", "-f", "ONNX"]
    convert += ["--modelFile", "gelu.onnx", "--MNNModel", "gelu.mnn", "--bizCode", "x", "--optimizeLevel", "0"]
    subprocess.run(convert, check=True, capture_output=True)
    runtime = nn.create_runtime_manager(({"backend": 0, "precision": "high"},))
    module = nn.load_module_from_file("gelu.mnn", ["x"], ["y"], runtime_manager=runtime)
    found = np.array(module.forward([expr.const(x, [x.size], expr.NCHW, expr.float)])[0].read())
    return float(np.abs(found - exact).max())


print("MNN", MNN.version())
usual, other = worst("x", "half"), worst("half", "x")
print(f"x * (1 + erf) * 0.5: largest error {usual:.1e}")
print(f"x * ((1 + erf) * 0.5): largest error {other:.1e}")
sys.exit(0 if usual > 1e-4 and other < 1e-6 else "MNN behaves differently now")
PYTHON
# Output seen, without the lines about the processor:
# MNN 3.6.1
# x * (1 + erf) * 0.5: largest error 4.7e-04
# x * ((1 + erf) * 0.5): largest error 3.9e-07
