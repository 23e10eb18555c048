#!/bin/sh
# pnnx 20261020: in TorchScript, `-24 % 5` is 1, as in Python; pnnx computes -4, as in C, while it folds constants. So
# F.pad(x, (0, -width % 5)), the usual padding to a multiple, becomes a crop: no error, no message, and a smaller result
# in ncnn. Written as (5 - width % 5) % 5, it is right.
# Exit 0 while it behaves so, 1 when it does not.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/python -m pip install -q "torch==2.13.0" "pnnx==20261020" "ncnn==1.0.20261020" "numpy<2.5" >&2
env/bin/python - 2> /dev/null <<'PYTHON'
import subprocess
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import ncnn
import numpy as np
import pnnx
import torch
import torch.nn.functional as F

warnings.simplefilter("ignore")


class Usual(torch.nn.Module):
    def forward(self, x):
        return F.pad(x, (0, -x.shape[-1] % 5))


class Positive(torch.nn.Module):
    def forward(self, x):
        return F.pad(x, (0, (5 - x.shape[-1] % 5) % 5))


x = torch.arange(3 * 24 * 24.0).reshape(1, 3, 24, 24)


def in_ncnn(module):
    name = type(module).__name__
    scripted = torch.jit.trace(module, x)
    assert torch.equal(scripted(x), module(x))
    scripted.save(f"{name}.pt")
    program = Path(pnnx.__file__).with_name("pnnx")
    subprocess.run([program, f"{name}.pt", "inputshape=[1,3,24,24]", "fp16=0"], check=True, capture_output=True)
    net = ncnn.Net()
    assert net.load_param(f"{name}.ncnn.param") == 0 and net.load_model(f"{name}.ncnn.bin") == 0
    run = net.create_extractor()
    run.input("in0", ncnn.Mat(x[0].numpy()).clone())
    return np.array(run.extract("out0")[1])


print("pnnx", version("pnnx"), "ncnn", version("ncnn"), "torch", torch.__version__.split("+")[0])
expected = F.pad(x, (0, 1))[0].numpy()
usual, positive = in_ncnn(Usual()), in_ncnn(Positive())
print("torch:", expected.shape)
print("-width % 5:", usual.shape)
print("(5 - width % 5) % 5:", positive.shape, "equal" if np.array_equal(positive, expected) else "differs")
sys.exit(0 if usual.shape == (3, 24, 20) and np.array_equal(positive, expected) else 1)
PYTHON
# Output seen:
# pnnx 20261020 ncnn 1.0.20261020 torch 2.13.0
# torch: (3, 24, 25)
# -width % 5: (3, 24, 20)
# (5 - width % 5) % 5: (3, 24, 25) equal
