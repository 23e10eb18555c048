"""``sam-hub train`` and ``distill`` on drawn images, with models of random weights; and the README's own example."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from sam_hub.cli import app

QUICK = ("--steps", 2, "--views", 1, "--batch", 1, "--objects", 2)


def sam_hub(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images with two bright squares each, one of them broken."""
    folder = tmp_path_factory.mktemp("drawn")
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    rng = np.random.default_rng(0)
    for i in range(5):
        values = np.zeros((40, 60), np.uint8)
        x, y = rng.integers(2, 12, 2)
        values[y : y + 20, x : x + 18], values[y : y + 22, x + 25 : x + 45] = 1, 2
        Image.fromarray((values > 0).astype(np.uint8) * 180 + 20).save(folder / "images" / f"{i}.png")
        Image.fromarray(values).save(folder / "masks" / f"{i}.png")
    (folder / "images" / "4.png").write_bytes(b"nothing")
    return folder


def test_the_result_is_a_hub_folder_with_its_scores(tiny_model, drawn, tmp_path):
    out = tmp_path / "mine"
    result = sam_hub("train", "--data", drawn, "--model", tiny_model, "--out", out, *QUICK, "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["counts"] == {"train": 3, "objects": 8} and {"before", "after"} <= report.keys()
    assert re.search(r"left out: .*4\.png", result.stderr)
    assert sorted(p.name for p in out.iterdir()) == [
        "README.md", "config.json", "loss.png", "model.safetensors", "preprocessor_config.json", "prompts.png",
        "report.json",
    ]  # fmt: skip
    card = (out / "README.md").read_text()
    assert card.startswith("---\nlicense: ") and f"| box | {report['before']['box']:.3f} |" in card
    again = sam_hub("train", "--data", drawn, "--model", tiny_model, "--out", out, *QUICK)
    assert again.exit_code == 1 and "finished model" in again.stderr
    assert sam_hub("eval", out, "--help").exit_code == 0


def test_a_seed_repeats_a_run_as_the_help_says(tiny_model, drawn, tmp_path):
    told = " ".join(sam_hub("train", "--help").stdout.split())
    assert "With OMP_NUM_THREADS=1 a seed repeats a run exactly; several threads add numbers in varying order" in told
    threads, made = torch.get_num_threads(), []
    torch.set_num_threads(1)
    try:
        for number, seed in enumerate((1, 1, 2)):
            out = tmp_path / str(number)
            done = sam_hub("train", "--data", drawn, "--model", tiny_model, "--out", out, *QUICK, "--seed", seed)
            assert done.exit_code == 0, done.stderr
            made.append((out / "model.safetensors").read_bytes())
    finally:
        torch.set_num_threads(threads)
    assert made[0] == made[1] != made[2]


def test_a_stream_needs_images_to_validate_on(tiny_model, tmp_path):
    result = sam_hub("train", "--data", "shards/{0..3}.tar", "--out", tmp_path / "o")
    assert result.exit_code == 2 and "--val" in result.stderr
    result = sam_hub("train", "--data", tmp_path, "--out", tmp_path / "o", "--recipe", "best")
    assert result.exit_code == 2 and "sam-vit-h" in result.stderr
    result = sam_hub("train", "--data", tmp_path / "nowhere", "--out", tmp_path / "o")
    assert result.exit_code == 1 and "not a data set" in result.stderr and "Traceback" not in result.stderr


def test_a_stream_trains(tiny_model, drawn, tmp_path):
    import io
    import tarfile

    from sam_hub.data.discovery import open_dataset

    data = open_dataset(drawn)
    with tarfile.open(tmp_path / "s-0.tar", "w") as tar:
        for i in range(4):
            text = json.dumps({"annotations": data[i].annotations}).encode()
            for suffix, content in ((".png", data.image_path(i).read_bytes()), (".json", text)):
                info = tarfile.TarInfo(f"{i}{suffix}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    address = f"{tmp_path}/s-{{0..0}}.tar"
    result = sam_hub("train", "--data", address, "--val", drawn, "--model", tiny_model, "--out", tmp_path / "o", *QUICK)
    assert result.exit_code == 0, result.stderr
    assert "box" in result.stdout and (tmp_path / "o" / "config.json").exists()


def test_one_model_teaches_another(tiny_model, drawn, tmp_path):
    out = tmp_path / "taught"
    options = ("--encoder-steps", 2, "--prompt-steps", 2, "--batch", 1)
    result = sam_hub(
        "distill", "--teacher", tiny_model, "--student", tiny_model, "--data", drawn, "--out", out, *options
    )
    assert result.exit_code == 0, result.stderr
    assert "Distilled into" in (out / "README.md").read_text() and (out / "config.json").exists()
    result = sam_hub(
        "distill", "--teacher", tiny_model, "--student", "x", "--fresh", "--data", drawn, "--out", tmp_path
    )
    assert result.exit_code == 2 and "--fresh" in result.stderr


def test_words_and_boxes_do_not_go_together(workplace):
    result = sam_hub("segment", "photo.png", "--text", "a cat", "--box", "1,2,30,40")
    assert result.exit_code == 2 and "--text" in result.stderr


def test_segment_by_words(tiny_model, workplace, monkeypatch):
    from sam_hub.inference.text import TextDetector

    found = np.array([[10.0, 10, 60, 50], [50, 20, 110, 70]])

    class Detector(TextDetector):
        @classmethod
        def from_pretrained(cls, name, device="cpu", **options):
            assert options == {"threshold": 0.4} and name == "my-owl"
            return cls(None, None, **options)

        def find(self, image, text):
            return (found, np.array([0.9, 0.5])) if text == "a cat" else (found[:0], np.zeros(0))

    monkeypatch.setattr("sam_hub.inference.text.TextDetector", Detector)
    options = ("--model", tiny_model, "--detector", "my-owl", "--threshold", 0.4, "--out", "masks/")
    result = sam_hub("segment", "photo.png", "--text", "a cat", *options, "--json")
    assert result.exit_code == 0, result.stderr
    masks = json.loads(result.stdout)["images"][0]["masks"]
    assert [m["input_box"] for m in masks] == found.tolist()
    by_box = sam_hub("segment", "photo.png", "--box", "10,10,60,50", "--model", tiny_model, "--out", "box.png")
    assert by_box.exit_code == 0
    same = [np.asarray(Image.open(p)) for p in ("masks/photo.mask-1.png", "box.png")]
    assert np.array_equal(*same)
    result = sam_hub("segment", "photo.png", "--text", "a zebu", *options)
    assert result.exit_code == 1 and "a zebu" in result.stderr


def test_the_readmes_example_runs(root, tiny_model, tmp_path, monkeypatch):
    """Unchanged, except for the model and the number of steps."""
    (line,) = re.findall(r"^sam-hub train --data examples/nuclei.*$", (root / "README.md").read_text("utf-8"), re.M)
    shutil.copytree(root / "examples" / "nuclei", tmp_path / "examples" / "nuclei")
    monkeypatch.chdir(tmp_path)
    result = sam_hub(*line.split("#")[0].split()[1:], "--model", tiny_model, *QUICK)
    assert result.exit_code == 0, result.stderr
    assert "left out" not in result.stderr and "13 training images, 3 to validate on" in result.stderr
