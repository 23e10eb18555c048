"""``sam-hub segment --text`` with a model that understands words."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from sam_hub import SamPredictor
from sam_hub.cli import app
from sam_hub.inference.text import TextDetector

from ..models import tiny_sam3


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> Path:
    """A folder as SAM 3 is published, and a tokenizer."""
    folder = tmp_path_factory.mktemp("published")
    tiny_sam3.save_video_folder(folder, tiny_sam3.reference())
    tiny_sam3.save_tokenizer(folder)
    return folder


def run(*arguments: object, code: int = 0):
    result = CliRunner().invoke(app, ["segment", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def test_every_instance_gets_a_mask(words, workplace):
    result = run("photo.png", "--text", "cat", "--model", words, "--threshold", 0, "--tidy", 0, "--json", "-f", "png")
    answer = json.loads(result.stdout)["images"][0]
    predictor = SamPredictor(words)
    predictor.set_image(np.asarray(Image.open("photo.png")))
    found = predictor.find("cat", threshold=0.0)
    assert len(answer["masks"]) == len(found) == 12
    files = {tuple(file["masks"][0]): file["path"] for file in answer["files"]}
    for i, (told, (mask, score, box)) in enumerate(zip(answer["masks"], found, strict=True), start=1):
        assert told["object"] == i and told["input_text"] == "cat"
        assert np.allclose(told["predicted_iou"], score, atol=1e-6) and np.allclose(told["input_box"], box, atol=1e-3)
        assert ((np.asarray(Image.open(files[i, 1])) > 0) == mask).all()


def test_nothing_is_found(words, workplace):
    result = run("photo.png", "--text", "cat", "--model", words, "--threshold", 1, code=1)
    assert "nothing in it matches 'cat'; use other words or a lower --threshold" in result.stderr


def test_zoom_is_for_prompts(words, workplace):
    told = run("photo.png", "--text", "cat", "--model", words, "--threshold", 0, "--zoom", code=2).stderr
    assert "this model finds objects by words itself, without --zoom; omit it" in told


def test_a_detector_that_is_named_is_used(words, workplace, monkeypatch):
    asked = []

    class Detector:
        def find(self, image, text):
            asked.append(text)
            return np.array([[10.0, 10, 60, 60]]), np.array([0.9])

    def load(name, *_, threshold):
        asked.append(threshold)
        return Detector()

    monkeypatch.setattr(TextDetector, "from_pretrained", load)
    run("photo.png", "--text", "cat", "--model", words, "--detector", "some/owl", "--out", "masks")
    assert asked == [0.25, "cat"] and len(list(Path("masks").iterdir())) == 1
