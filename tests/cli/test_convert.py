"""``sam-hub convert``: both directions bit for bit, and nothing half-written."""

from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file
from typer.testing import CliRunner

from sam_hub import SamModel, SamPredictor
from sam_hub import convert as layouts
from sam_hub.cli import app
from sam_hub.hub import ASSETS


def run(*args: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["convert", *map(str, args)])
    return result.exit_code, result.stdout if result.exit_code == 0 else result.stderr


@pytest.fixture(
    scope="module", params=["slimsam_77", "mobile_sam", "sam_hq_vit_tiny", "efficient_sam_vitt", "edge_sam"]
)
def original(request, golden_file) -> Path:
    return golden_file(request.param)


def test_to_a_folder_and_back(original, tmp_path, monkeypatch):
    folder, file = tmp_path / "new" / "folder", tmp_path / "again" / "model.pth"
    read, read_checkpoint = [], layouts.read_checkpoint
    monkeypatch.setattr(layouts, "read_checkpoint", lambda path: read.append(path) or read_checkpoint(path))
    code, output = run(original, "--to", folder)
    assert code == 0 and output.strip() == str(folder) and read == [original]
    assert {f.name for f in folder.iterdir()} >= {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "processor_config.json",
        "README.md",
    }
    code, output = run(folder, "--to", file)
    assert code == 0 and output.strip() == str(file)
    before = torch.load(original, weights_only=True)
    after = torch.load(file, weights_only=True)
    unused = {k for k in before if k.startswith(("image_encoder.norm_head", "image_encoder.head"))}  # not in inference
    assert after.keys() - unused == before.keys() - unused
    assert all(torch.equal(before[k], after[k]) for k in before.keys() - unused)
    assert [p.name for p in tmp_path.rglob(".*")] == []
    if "slimsam" in original.name:
        theirs, info = transformers.SamModel.from_pretrained(folder, output_loading_info=True)
        assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        ours = SamModel.from_pretrained(folder).state_dict()
        assert all(torch.equal(value, ours[key]) for key, value in theirs.state_dict().items() if key in ours)


def test_what_exists_is_not_touched(tiny_model, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "diary.txt").write_text("mine")
    (tmp_path / "old.pth").write_bytes(b"mine")
    for target in ("full", "old.pth"):
        code, output = run(tiny_model, "--to", tmp_path / target)
        assert code == 1 and "already exists" in output
    assert (tmp_path / "full" / "diary.txt").read_text() == "mine" and len(list((tmp_path / "full").iterdir())) == 1
    assert (tmp_path / "old.pth").read_bytes() == b"mine"


def test_a_full_disk_leaves_nothing(tiny_model, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    monkeypatch.setattr(SamModel, "save_pretrained", full)
    for target in ("model.pth", "folder"):
        code, output = run(tiny_model, "--to", tmp_path / target)
        assert code == 1 and "No space left on device" in output and "Traceback" not in output
    assert list(tmp_path.iterdir()) == []


def test_pocket_has_no_original(tmp_path):
    code, output = run("pocket", "--to", tmp_path / "pocket.pth")
    assert code == 1 and "no original project" in output
    for source in ("pocket", ASSETS / "pocket" / "model.safetensors"):
        _pocket_as_it_is_stored(source, tmp_path / Path(source).stem)


def _pocket_as_it_is_stored(source, folder):
    code, output = run(source, "--to", folder)
    assert code == 0, output
    assert SamPredictor(SamModel.from_pretrained(folder)).processor.size["longest_edge"] == 512
    packed, written = (load_file(f / "model.safetensors") for f in (ASSETS / "pocket", folder))
    assert {t.dtype for t in written.values() if t.is_floating_point()} == {
        torch.float16
    }  # as it is stored, though it is computed in float32
    assert all(torch.equal(tensor, written[name]) for name, tensor in packed.items())
