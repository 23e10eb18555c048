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

from sam_hub import SamModel
from sam_hub.annotation.settings import weights_id
from sam_hub.inference.predictor import SamPredictor
from sam_hub.inference.runtime import OnnxPredictor

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
    """Other weights refuse a --resume; thresholds go by the encoder, whatever the folder is called."""
    predictor = OnnxPredictor(bundle)
    before = weights_id(predictor)
    assert predictor.encoder_kind == SamPredictor(SamModel.from_pretrained(tiny_model)).encoder_kind
    copy = shutil.copytree(bundle, tmp_path / "copy")
    assert weights_id(OnnxPredictor(copy)) == before
    with (copy / "onnx/vision_encoder.onnx").open("ab") as file:
        file.write(bytes([0x0A, 0]))  # another, empty, field of the protocol buffer
    assert weights_id(predictor) == before != weights_id(OnnxPredictor(copy))
