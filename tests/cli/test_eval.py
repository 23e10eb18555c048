"""``sam-hub eval`` on a drawn shard, with a model of random weights."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from sam_hub.cli import app
from sam_hub.models.modeling_sam import SamModel
from sam_hub.ops.masks import mask_to_rle


def _eval(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["eval", *map(str, arguments)])


@pytest.fixture
def shard(tmp_path: Path) -> Callable[..., Path]:
    """Writes a tar of ``images`` noise pictures with two squares each, the first picture cut short if ``damaged``."""

    def write(name: str, images: int = 2, damaged: bool = False) -> Path:
        rng = np.random.default_rng(len(name))
        path = tmp_path / f"{name}.tar"
        with tarfile.open(path, "w") as tar:
            for number in range(images):
                buffer = io.BytesIO()
                Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(buffer, "PNG")
                masks = np.zeros((2, 30, 40), bool)
                masks[0, 2:12, 3:13] = masks[1, 15:28, 20:38] = True
                annotations = [{"segmentation": mask_to_rle(mask)} for mask in masks]
                picture = buffer.getvalue()[: 100 if damaged and number == 0 else None]
                document = json.dumps({"image": {}, "annotations": annotations}).encode()
                for suffix, data in ((".png", picture), (".json", document)):
                    info = tarfile.TarInfo(f"{name}_{number}{suffix}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        return path

    return write


def test_a_table_a_report_and_a_picture(tiny_model: Path, shard: Callable[..., Path], tmp_path: Path) -> None:
    out, grid = tmp_path / "new" / "report.json", tmp_path / "prompts.png"
    result = _eval(tiny_model, shard("cats"), shard("zeroshot-dogs", 3), "--out", out, "--grid", grid, "--photos", 1)
    assert result.exit_code == 0, result.stderr
    assert "zeroshot-dogs" in result.stdout and "GrabCut" in result.stdout and "mean without" in result.stdout
    report = json.loads(out.read_text())
    cats, dogs = report["shards"]
    assert (cats["name"], cats["images"], cats["objects"]) == ("cats", 2, 4)
    assert (dogs["name"], dogs["images"], dogs["objects"]) == ("zeroshot-dogs", 3, 6)
    assert report["mean"]["box"] == cats["box"]
    assert f"{cats['box']:.3f}" in result.stdout
    assert report["prompts_matter"]["photos"] == 2
    with Image.open(grid) as picture:
        assert picture.format == "PNG" and picture.width == 7 * 240


def test_json_on_standard_output(tiny_model: Path, shard: Callable[..., Path]) -> None:
    options = ("--no-baselines", "--limit", 1, "--max-objects", 1, "--seed", 3, "--clicks", 6, "--json")
    result = _eval(tiny_model, shard("cats"), *options)
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["protocol"] == {
        "seed": 3,
        "limit": 1,
        "max_objects": 1,
        "clicks": 6,
        "baselines": False,
        "zoom": False,
        "tidy": 0.0,
    }
    (cats,) = report["shards"]
    assert (cats["images"], cats["objects"], cats["grabcut"]) == (1, 1, None)
    assert 0 <= cats["click_1"] <= cats["click_1_oracle"] <= 1
    assert _eval(tiny_model, shard("cats"), *options).stdout == result.stdout


def test_a_damaged_image_is_named_and_the_rest_is_measured(tiny_model: Path, shard: Callable[..., Path]) -> None:
    result = _eval(tiny_model, shard("cats", damaged=True), "--no-baselines", "--json")
    assert result.exit_code == 0
    assert "Left out:" in result.stderr and "cats_0.png" in result.stderr
    assert [(s["images"], len(s["skipped"])) for s in json.loads(result.stdout)["shards"]] == [(1, 1)]


def test_what_is_wrong_is_one_sentence(tiny_model: Path, shard: Callable[..., Path], tmp_path: Path) -> None:
    good, broken = shard("cats"), shard("dogs", images=1, damaged=True)
    (tmp_path / "text.tar").write_text("not a tar")
    (tmp_path / "text.json").write_text("not JSON")
    (tmp_path / "other.json").write_text("{}")
    for arguments, words in (
        ((tiny_model, tmp_path / "absent.tar"), "absent.tar does not exist"),
        ((tiny_model, tmp_path / "text.tar"), "; export or download it again"),
        ((tiny_model, tmp_path / "text.json"), "; export or download it again"),
        ((tiny_model, tmp_path / "other.json"), "; export it as COCO"),
        ((tiny_model, broken), "it has no image to evaluate"),
        ((tmp_path / "no-model", good), "no-model"),
        ((tiny_model, good, "--out", good / "report.json"), "cannot make the folder"),
    ):
        result = _eval(*arguments, "--no-baselines")
        assert result.exit_code == 1
        assert result.stdout == ""
        (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
        assert words in line


@pytest.mark.parametrize("arguments", [("--limit", 0), ("--clicks", 3), ("--max-objects", 0), ("--seed", -1)])
def test_wrong_usage(tiny_model: Path, shard: Callable[..., Path], arguments: tuple) -> None:
    assert _eval(tiny_model, shard("cats"), *arguments).exit_code == 2


def test_a_cpu_computes_in_float32(tiny_model, tmp_path):
    from sam_hub.cli.loading import load_model, load_predictor

    SamModel.from_pretrained(tiny_model).half().save_pretrained(tmp_path)
    assert SamModel.from_pretrained(tmp_path).dtype == torch.float16
    for model in (load_model(str(tmp_path), "cpu"), load_predictor(str(tmp_path), "cpu").model):
        assert model.dtype == torch.float32 and not model.training


def test_a_place_for_results_is_checked_before_the_model_is_loaded(
    shard: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object, **__: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("sam_hub.cli.loading.load_predictor", load)
    folder = tmp_path / "pairs"
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for part in ("images", "masks"):
        Image.new("L", (40, 30), 1).save(folder / part / "a.png")
    image = {"id": 1, "file_name": "a.png", "width": 40, "height": 30}
    coco = folder / "images" / "coco.json"
    coco.write_text(json.dumps({"images": [image], "annotations": []}))
    data, photo = shard("cats"), folder / "images" / "a.png"
    kept = [data, photo, coco]
    before = [path.read_bytes() for path in kept]
    for arguments, words, code in (
        ((data, "--out", tmp_path), "it is a folder", 1),
        ((data, "--grid", tmp_path), "it is a folder", 1),
        ((data, "--out", data), "is not a report of `sam-hub eval`; choose another name", 2),
        ((coco, "--out", coco), "is not a report of `sam-hub eval`; choose another name", 2),
        ((folder, "--grid", photo), "is not a picture of `sam-hub eval`; choose another name", 2),
        ((coco, "--grid", photo), "is not a picture of `sam-hub eval`; choose another name", 2),
        ((data, "--out", tmp_path / "x", "--grid", tmp_path / "x"), "choose two names", 2),
    ):
        result = _eval("pocket", *arguments)
        assert result.exit_code == code and words in result.stderr, result.output
        assert not result.stdout
    assert before == [path.read_bytes() for path in kept]


@pytest.mark.parametrize("kind", ["masks", "coco", "labelme", "pairs"])
def test_results_among_the_data_are_replaced_by_the_next_run(tiny_model: Path, tmp_path: Path, kind: str) -> None:
    """They are not taken for annotations either."""
    photo = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    mask = np.zeros((30, 40), bool)
    mask[5:20, 8:30] = True
    place = tmp_path / "images" if kind == "masks" else tmp_path
    place.mkdir(exist_ok=True)
    Image.fromarray(photo).save(place / "a.png")
    corners = [[8, 5], [30, 5], [30, 20], [8, 20]]
    shape = {"id": 1, "image_id": 1, "segmentation": [np.ravel(corners).tolist()]}
    documents = {
        "coco": {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [shape]},
        "labelme": {"imagePath": "a.png", "shapes": [{"shape_type": "polygon", "points": corners}]},
        "pairs": {"image": {}, "annotations": [{"segmentation": mask_to_rle(mask)}]},
    }
    if kind == "masks":
        (tmp_path / "masks").mkdir()
        Image.fromarray(mask).save(tmp_path / "masks" / "a.png")
    else:
        (tmp_path / f"{'all' if kind == 'coco' else 'a'}.json").write_text(json.dumps(documents[kind]))
    out, grid = tmp_path / "report.json", tmp_path / "grid.png"
    reports = []
    for seed in (0, 1):
        options = ("--no-baselines", "--max-objects", 1, "--seed", seed, "--photos", 1)
        result = _eval(tiny_model, tmp_path, *options, "--out", out, "--grid", grid)
        assert result.exit_code == 0, result.output
        reports.append(json.loads(out.read_text()))
    assert [report["protocol"]["seed"] for report in reports] == [0, 1]
    assert all((s["images"], s["skipped"]) == (1, []) for report in reports for s in report["shards"])
