#!/bin/sh
# litert-torch 0.10.0 with litert-converter 0.5.0: constants that are stored transposed are told apart by the address of
# a temporary contiguous copy, which the next one of the same shape may get too. Both then have the values of the first,
# without a warning: of eight models that add four transposed tables, at least one computes something else, and the same
# eight with contiguous tables are exact.
# Exit 0 while it behaves so, 1 when it does not.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/python -m pip install -q "torch==2.13.0" "litert-torch==0.10.0" "litert-converter==0.5.0" "ai-edge-litert==2.3.0" >&2
env/bin/python - 2> /dev/null <<'PYTHON'
import contextlib
import io
import sys
from importlib.metadata import version

import litert_torch
import torch


class Tables(torch.nn.Module):
    """(3, 12, 12, 8) -> (3, 12, 12, 12), the sum of products with four tables."""

    def __init__(self, contiguous):
        super().__init__()
        for name in "abcd":
            table = torch.randn(12, 12, 8).transpose(1, 2)
            self.register_buffer(name, table.contiguous() if contiguous else table.clone())

    def forward(self, x):
        return x @ self.a + x.flip(1) @ self.b + x.flip(2) @ self.c + x.flip(1, 2) @ self.d


def wrong(contiguous):
    count = 0
    for seed in range(8):
        torch.manual_seed(seed)
        module, x = Tables(contiguous).eval(), torch.randn(3, 12, 12, 8)
        with contextlib.redirect_stdout(io.StringIO()):  # its progress
            found = torch.from_numpy(litert_torch.convert(module, (x,))(x))
        count += bool((found - module(x)).abs().max() > 1e-3)
    return count


transposed, contiguous = wrong(False), wrong(True)
print(f"litert-torch {version('litert-torch')}: {transposed} of 8 models wrong with transposed tables, {contiguous} with contiguous ones")
sys.exit(0 if transposed > 0 and contiguous == 0 else 1)
PYTHON
