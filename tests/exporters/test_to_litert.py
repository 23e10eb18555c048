"""LiteRT files of a tiny model, by litert-torch and LiteRT's interpreter; skipped if they are not installed.

`test_every_format` has the shared tests; docs/devices.md says how to install litert-torch.
"""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from sam_hub.exporters.bundle import export_bundle
from sam_hub.exporters.formats.litert import FORMAT
from sam_hub.exporters.formats.litert.export import contiguous, converted
from sam_hub.exporters.manifest import Manifest
from torch import Tensor, nn
from typer.testing import CliRunner

from sam_hub.cli import app
from sam_hub.ops import packages


def test_without_litert_torch_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(packages.util, "find_spec", lambda name: None if "lite" in name else find_spec(name))
    done = CliRunner().invoke(app, ["export", "pocket", "--out", str(tmp_path / "x"), "--format", "litert"])
    assert done.exit_code == 1 and not (tmp_path / "x").exists()
    words = " ".join(done.output.split())
    assert (
        "litert needs litert_torch, ai_edge_litert" in words and "install it with `pip install litert-torch`" in words
    )


def test_tensors_are_contiguous_before_conversion_and_shared_if_they_were():
    module = nn.Linear(3, 2)
    module.register_buffer("table", torch.arange(6.0).reshape(2, 3).T)
    module.weight = nn.Parameter(torch.arange(6.0).reshape(3, 2).T)
    found = contiguous(module)
    assert found.table.is_contiguous() and found.weight.is_contiguous() and found.bias is module.bias
    assert torch.equal(found.table, module.table) and torch.equal(found.weight, module.weight)
    assert not module.table.is_contiguous() and not module.weight.is_contiguous()


class Tables(nn.Module):
    """(2, 6, 6, 4) -> (2, 6, 6, 6), the sum of products with four tables that are stored transposed."""

    def __init__(self) -> None:
        super().__init__()
        for name in "abcd":
            self.register_buffer(name, torch.randn(6, 6, 4).transpose(1, 2))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.a + x.flip(1) @ self.b + x.flip(2) @ self.c + x.flip(1, 2) @ self.d


def test_transposed_tables_keep_their_values():
    for name in FORMAT.packages:
        pytest.importorskip(name, reason=f"{name} is not installed: pip install litert-torch")
    from ai_edge_litert.interpreter import Interpreter

    for seed in range(8):
        torch.manual_seed(seed)
        module, x = Tables().eval(), torch.randn(2, 6, 6, 4)
        run = Interpreter(model_content=converted(module, (x,))).get_signature_runner()
        torch.testing.assert_close(torch.from_numpy(run(args_0=x.numpy())["output_0"]), module(x))


def test_smaller_weights_are_run_in_smaller_files(tmp_path: Path):
    """With trained weights, as 8 bits change the masks of random ones too much to be kept."""
    for name in FORMAT.packages:
        pytest.importorskip(name, reason=f"{name} is not installed: pip install litert-torch")
    out = tmp_path / "bundle"
    export_bundle("pocket", out, {"litert": ("int8", "fp16", "fp32")}, {"slots": 8})
    found = [Manifest.read(out).find("litert", variant) for variant in ("fp32", "fp16", "int8")]
    differences, sizes = [a.gate["difference"] for a in found], [sum(f.bytes for f in a.files) for a in found]
    assert all(a.gate["passed"] for a in found)
    assert differences == sorted(differences) and differences[1] > 1e-5
    assert sizes == sorted(sizes, reverse=True) and sizes[1] < 0.9 * sizes[0]
