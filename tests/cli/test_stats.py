"""``sam-hub stats``: one page, its plots and the numbers, complete or not at all."""

import importlib.util
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from sam_hub.cli import app
from sam_hub.ops.masks import mask_to_rle
from sam_hub.statistics import run


def _stats(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["stats", *map(str, arguments)])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of two tars with documents of two masks each, and no photos."""
    folder = tmp_path / "data"
    folder.mkdir()
    for part in range(2):
        with tarfile.open(folder / f"{part}.tar", "w") as tar:
            for number in range(3):
                masks = np.zeros((2, 30, 40), bool)
                masks[0, 2:12, 3:13] = masks[1, 15 : 20 + number, 20:38] = True
                records = [{"id": k, "segmentation": mask_to_rle(m)} for k, m in enumerate(masks)]
                text = json.dumps({"image": {"height": 30, "width": 40}, "annotations": records}).encode()
                info = tarfile.TarInfo(f"{part}_{number}.json")
                info.size = len(text)
                tar.addfile(info, io.BytesIO(text))
    return folder


def test_a_page_with_the_plots_inside(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "stats"
    result = _stats(data, data / "0.tar", "--against", data, "--out", out)
    assert result.exit_code == 0, result.stderr
    report = json.loads((out / "stats.json").read_text())
    assert [(d["name"], d["images"], d["masks"]) for d in report["data"]] == [("data", 6, 12), ("0", 3, 6)]
    assert report["data"][0]["masks_per_image"] == [0, 6, 0, 0, 0, 0]
    assert report["agreement"]["iou_above_90"] == 1
    page = (out / "stats.html").read_text()
    assert page.count("data:image/png;base64,") == 6 == len(list(out.glob("*.png")))
    assert "http" not in page.replace("http-equiv", "")
    assert "data: 6 images, 12 masks, 2.0 per image" in result.stdout and str(out / "stats.html") in result.stdout
    assert _stats(data, "--out", out).exit_code == 1  # not over what is there


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason='needs Ray: pip install "sam-hub[ray]"')
def test_ray_counts_the_same(data: Path, tmp_path: Path) -> None:
    assert _stats(data, "--out", tmp_path / "here").exit_code == 0
    result = _stats(data, "--out", tmp_path / "ray", "--engine", "ray", "--workers", 1)
    assert result.exit_code == 0, result.stderr
    for file in (tmp_path / "here").iterdir():
        assert (tmp_path / "ray" / file.name).read_bytes() == file.read_bytes()


@pytest.mark.filterwarnings("error")
def test_empty_masks_alone_are_named_and_plotted(tmp_path: Path) -> None:
    record = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": [[-9, -9, -5, -9, -5, -5]]}
    document = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 40, "height": 30}],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [record],
    }
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg")
    (tmp_path / "outside.json").write_text(json.dumps(document))
    result = _stats(tmp_path / "outside.json", "--out", tmp_path / "stats")
    assert result.exit_code == 0, result.output
    assert "outside: 1 image, 0 masks and 1 empty, 1.0 per image" in result.stdout
    assert len(list((tmp_path / "stats").glob("*.png"))) == 5


def test_what_is_wrong_is_one_sentence_and_leaves_nothing(data: Path, tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / "stats"
    for arguments, words in (
        ((tmp_path / "absent",), "does not exist"),
        ((data, "--against", tmp_path / "absent"), "does not exist"),
    ):
        result = _stats(*arguments, "--out", out)
        assert result.exit_code == 1 and words in result.stderr and not out.exists()
    assert _stats(data, "--out", out, "--workers", 2).exit_code == 2

    def full(path: Path, content: bytes) -> None:
        if path.suffix == ".json":
            raise run.OutputError("cannot write: no space left")
        path.write_bytes(content)

    monkeypatch.setattr(run, "write_atomically", full)
    assert _stats(data, "--out", out).exit_code == 1
    assert list(out.iterdir()) == []
