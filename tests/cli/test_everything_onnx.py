"""``sam-hub everything --model DIR`` over exported ONNX files, without torch."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from typer.testing import CliRunner

from sam_hub import SamModel
from sam_hub.annotation.settings import weights_id
from sam_hub.cli import app
from sam_hub.inference.predictor import SamPredictor
from sam_hub.inference.runtime import OnnxPredictor
from sam_hub.ops.masks import mask_to_rle

OPTIONS = ("--points-per-side", "3", "--pred-iou-thresh", "0", "--stability-score-thresh", "0", "--box-nms-thresh", "1")

SCRIPT = """
import sys
from sam_hub.cli import app
try:
    app(sys.argv[1:], prog_name="sam-hub")
except SystemExit as e:
    assert not e.code, e.code
print("torch" in sys.modules)
"""


@pytest.fixture
def sam_hub():
    """``sam-hub`` with these arguments."""
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def bundle(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as ONNX files."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from sam_hub.exporters.bundle import export_bundle

    out = tmp_path_factory.mktemp("bundle") / "files"
    export_bundle(str(tiny_model), out, {"onnx": ("fp32",)})
    return out


def test_the_masks_of_torch_without_torch(bundle: Path, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for name in "ab":
        noise = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((60, 44)).save(tmp_path / "photos" / f"{name}.png")
    answers = {}
    for kind, model in (("onnx", bundle), ("torch", tiny_model)):
        words = ["everything", "photos", "--out", kind, "--model", str(model), *OPTIONS]
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, *words], cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        answers[kind] = done.stdout.splitlines()[-1]
    assert answers == {"onnx": "False", "torch": "True"}
    for name in "ab":
        found, expected = (
            json.loads((tmp_path / kind / f"masks/{name}.json").read_text())["annotations"] for kind in answers
        )
        assert len(found) == len(expected) > 3
        for a, b in zip(found, expected, strict=True):
            assert coco_mask.iou([a["segmentation"]], [b["segmentation"]], [0])[0, 0] > 0.99
            assert a["point_coords"] == b["point_coords"]
    settings = json.loads((tmp_path / "onnx/everything.json").read_text())["settings"]
    assert settings["model"] == str(bundle)


def test_its_files_and_its_kind_are_known(bundle: Path, tiny_model: Path, tmp_path: Path) -> None:
    """--resume refuses other weights; thresholds depend on the encoder, not on the folder's name."""
    predictor = OnnxPredictor(bundle)
    before = weights_id(predictor)
    assert predictor.encoder_kind == SamPredictor(SamModel.from_pretrained(tiny_model)).encoder_kind
    copy = shutil.copytree(bundle, tmp_path / "copy")
    assert weights_id(OnnxPredictor(copy)) == before
    with (copy / "onnx/vision_encoder.onnx").open("ab") as file:
        file.write(bytes([0x0A, 0]))  # another, empty, field of the protocol buffer
    assert weights_id(predictor) == before != weights_id(OnnxPredictor(copy))


def test_eval_measures_exported_files_as_the_model(bundle: Path, tiny_model: Path, sam_hub, tmp_path: Path) -> None:
    shard = tmp_path / "shapes"
    shard.mkdir()
    rng = np.random.default_rng(1)
    for i in range(2):
        Image.fromarray(rng.integers(0, 256, (44, 60, 3), dtype=np.uint8)).save(shard / f"{i}.png")
        masks = np.zeros((2, 44, 60), bool)
        masks[0, 5:20, 8 + i : 30] = masks[1, 25:40, 30:55] = True
        document = {
            "image": {},
            "annotations": [{"id": j, "segmentation": mask_to_rle(m)} for j, m in enumerate(masks)],
        }
        (shard / f"{i}.json").write_text(json.dumps(document))
    options = ("--no-baselines", "--json", "--grid", tmp_path / "grid.png")
    reports = {}
    for kind, model in (("onnx", bundle), ("torch", tiny_model)):
        result = sam_hub("eval", model, shard, *options)
        assert result.exit_code == 0, result.stderr
        reports[kind] = json.loads(result.stdout)["shards"][0]
    found, expected = reports["onnx"], reports["torch"]
    assert found["objects"] == expected["objects"] == 4
    for name in ("click_1", "click_3", "click_5", "box"):
        assert found[name] == pytest.approx(expected[name], abs=0.02), name
    assert expected["box"] > 0


class Words:
    """Finds one box for any words."""

    def find(self, image: np.ndarray, text: str) -> tuple[np.ndarray, np.ndarray]:
        return np.array([[3.0, 4, 40, 30]]), np.array([0.9])


def test_segment_finds_words_for_exported_files(bundle: Path, tiny_model: Path, sam_hub, tmp_path: Path, monkeypatch):
    from sam_hub.inference.text import TextDetector

    asked = []
    monkeypatch.setattr(
        TextDetector, "from_pretrained", lambda name, device, threshold: asked.append(device) or Words()
    )
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(2).integers(0, 256, (44, 60, 3), dtype=np.uint8)).save(photo)
    masks = {}
    for kind, model in (("onnx", bundle), ("torch", tiny_model)):
        words = ("segment", photo, "--text", "a cat", "--model", model, "--out", tmp_path / kind, "--format", "json")
        result = sam_hub(*words)
        assert result.exit_code == 0, result.stderr
        (record,) = json.loads((tmp_path / kind / "photo.mask.json").read_text())["annotations"]
        masks[kind] = record["segmentation"]
    assert [str(device) for device in asked] == ["cpu", "cpu"]
    assert coco_mask.iou([masks["onnx"]], [masks["torch"]], [0])[0, 0] > 0.99
    result = sam_hub("segment", photo, "--text", "a cat", "--clip", "nowhere", "--model", bundle)
    assert result.exit_code == 1 and "takes no text" in result.stderr
