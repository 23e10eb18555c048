"""LiteRT files of a tiny model, by litert-torch and LiteRT's interpreter; skipped if they are not installed.

`test_every_format` has the shared tests; docs/devices.md says how to install litert-torch.
"""

from importlib.util import find_spec
from pathlib import Path

import pytest
from sam_hub.exporters.bundle import export_bundle
from sam_hub.exporters.formats.litert import FORMAT
from sam_hub.exporters.manifest import Manifest
from typer.testing import CliRunner

from sam_hub.cli import app
from sam_hub.models.image_processing_sam import SamImageProcessor
from sam_hub.models.modeling_sam import SamModel
from sam_hub.ops import packages

from ..models.conftest import randomise, tiny_config


def test_without_litert_torch_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(packages.util, "find_spec", lambda name: None if "lite" in name else find_spec(name))
    done = CliRunner().invoke(app, ["export", "pocket", "--out", str(tmp_path / "x"), "--format", "litert"])
    assert done.exit_code == 1 and not (tmp_path / "x").exists()
    words = " ".join(done.output.split())
    assert (
        "litert needs litert_torch, ai_edge_litert" in words and "install it with `pip install litert-torch`" in words
    )


def test_smaller_weights_are_run_in_smaller_files(tmp_path: Path):
    for name in FORMAT.packages:
        pytest.importorskip(name, reason=f"{name} is not installed: pip install litert-torch")
    config = tiny_config("sam_hub_pocket")
    config.mask_decoder_config.num_hidden_layers = 1
    model = randomise(SamModel(config)).eval()
    processor, out = SamImageProcessor.for_config(config), tmp_path / "bundle"
    export_bundle("tiny", out, {"litert": ("int8", "fp16", "fp32")}, {"slots": 8}, model=model, processor=processor)
    found = [Manifest.read(out).find("litert", variant) for variant in ("fp32", "fp16", "int8")]
    differences, sizes = [a.gate["difference"] for a in found], [sum(f.bytes for f in a.files) for a in found]
    assert all(a.gate["passed"] for a in found)
    assert differences == sorted(differences) and differences[1] > 1e-5
    assert sizes == sorted(sizes, reverse=True) and sizes[1] < 0.9 * sizes[0]
