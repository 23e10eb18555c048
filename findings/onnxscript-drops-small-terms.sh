#!/bin/sh
# onnxscript 0.7.2: its optimizer, which torch.onnx.export runs by default, takes an added constant of 1e-8 or less for
# zero and removes the addition. x / (sum + 1e-15), the linear attention of EfficientViT, becomes x / sum: 0 / 0 is NaN
# where the original gives 0. No error, no warning. 1e-6 stays.
# Exit 0 while 0.7.2 behaves so, 1 when it does not.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/python -m pip install -q "onnxscript==0.7.2" "onnx==1.23.0" "numpy<2.5" >&2
env/bin/python - <<'PYTHON'
import sys

import numpy as np
import onnxscript
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnxscript import optimizer


def ratio(term):
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("x", "y")]
    nodes = [
        helper.make_node("Relu", ["x"], ["positive"]),
        helper.make_node("Add", ["positive", "term"], ["below"]),
        helper.make_node("Div", ["positive", "below"], ["y"]),
    ]
    constant = numpy_helper.from_array(np.array(term, np.float32), "term")
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [constant])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


x = np.array([2, -1], np.float32)
print("onnxscript", onnxscript.__version__)
kept = {}
for term in (1e-6, 1e-8, 1e-15):
    before, after = ratio(term), optimizer.optimize(ratio(term))
    kept[term] = "Add" in [node.op_type for node in after.graph.node]
    with np.errstate(invalid="ignore"):
        answers = [ReferenceEvaluator(model).run(None, {"x": x})[0].tolist() for model in (before, after)]
    print(f"x / (x + {term:g}) of {x.tolist()}, negatives set to 0: {answers[0]}, optimized {answers[1]}")
sys.exit(0 if kept == {1e-6: True, 1e-8: False, 1e-15: False} else 1)
PYTHON
