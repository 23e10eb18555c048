"""``--format`` of ``segment`` and ``everything`` for other tools, and refusals before work begins."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from typer.testing import CliRunner, Result

from sam_hub.cli import app
from sam_hub.labels.formats import FORMATS
from sam_hub.ops.masks import rle_to_mask

ANY_MASK = ("--points-per-side", 3, "--pred-iou-thresh", 0, "--stability-score-thresh", 0, "--box-nms-thresh", 1)
BOXES = ("--box", "10,20,60,70", "--box", "30,5,70,40")
OTHERS = [kind for kind in FORMATS if kind not in ("coco", "labelmap", "gpkg")]


def sam_hub(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_everything(workplace: Path, tiny_model: Path):
    chosen = [word for kind in OTHERS for word in ("--format", kind)]
    call = ("everything", "photo.png", "other.jpg", "--model", tiny_model, *ANY_MASK, "--out", "out")
    result = sam_hub(*call, *chosen)
    assert result.stdout.splitlines()[-len(OTHERS) :] == [f"out/{kind}" for kind in OTHERS]
    assert {name for name in files(Path("out")) if name.split("/")[0] in OTHERS} == {
        *(f"yolo/{n}" for n in ("data.yaml", "images/photo.png", "images/other.jpg")),
        *(f"yolo/labels/{n}.txt" for n in ("photo", "other")),
        *(f"{kind}/{n}.{end}" for kind, end in (("labelme", "json"), ("geojson", "geojson"), ("imagej", "zip"))
          for n in ("photo", "other")),
        "labelstudio/tasks.json", "labelstudio/labels.xml", "cvat/annotations.xml",
    }  # fmt: skip
    assert json.loads(Path("out/labelme/photo.json").read_text())["imagePath"] == "../../photo.png"
    before = Path("out/coco.json").read_bytes()
    sam_hub(*call, "--resume", "--polygons", "--format", "labelme")  # of what is there
    exact, outlines = json.loads(before), COCO("out/coco.json")
    for a in exact["annotations"]:
        mask = rle_to_mask(a["segmentation"])
        if mask.any():
            np.testing.assert_array_equal(outlines.annToMask(outlines.anns[a["id"]]).astype(bool), mask)
            assert isinstance(outlines.anns[a["id"]]["segmentation"], list)
    shapes = json.loads(Path("out/labelme/photo.json").read_text())["shapes"]
    assert {shape["shape_type"] for shape in shapes} == {"polygon"}


def test_a_label_map_of_everything(workplace: Path, tiny_model: Path):
    call = ("everything", "photo.png", "other.jpg", "--model", tiny_model, *ANY_MASK, "--format", "labelmap")
    assert "add --non-overlapping" in sam_hub(*call, "--out", "out", code=2).stderr and not Path("out").exists()
    sam_hub(*call, "--out", "out", "--non-overlapping")
    coco = COCO("out/coco.json")
    for image in coco.dataset["images"]:
        values = np.asarray(Image.open(Path("out/labelmap", image["file_name"]).with_suffix(".png")))
        found = coco.loadAnns(coco.getAnnIds(image["id"]))
        assert found and set(np.unique(values)) - {0} == {a["id"] for a in found}
        for a in found:
            np.testing.assert_array_equal(values == a["id"], coco.annToMask(a).astype(bool))


def test_a_format_that_fails_stops_no_other(workplace: Path, tiny_model: Path):
    call = ("everything", "photo.png", "--model", tiny_model, *ANY_MASK, "--out", "out")
    text = sam_hub(*call, "--format", "gpkg", "--format", "geojson", code=1).stderr
    assert "photo.png has no coordinate reference system" in text and Path("out/geojson/photo.geojson").is_file()


def test_segment(workplace: Path, tiny_model: Path):
    chosen = [word for kind in (*OTHERS, "coco", "png") for word in ("--format", kind)]
    call = ("segment", "photo.png", "--model", tiny_model, *BOXES, "--out", "out/")
    result = sam_hub(*call, *chosen)
    printed = {line.removeprefix("out/") for line in result.stdout.splitlines()}
    assert (
        printed == files(Path("out")) >= {"coco.json", "labelme/photo.json", "photo.mask-1.png", "cvat/annotations.xml"}
    )
    answer = json.loads(sam_hub(*call, "--format", "geojson", "--json").stdout)
    assert answer["labels"] == ["out/geojson/photo.geojson"] and answer["coco"] is None
    assert "masks overlap" in sam_hub(*call, "--format", "labelmap", code=1).stderr
    sam_hub(*call, "--format", "labelmap", "--non-overlapping")
    values = np.asarray(Image.open("out/labelmap/photo.png"))
    masks = [np.asarray(Image.open(f"out/photo.mask-{i}.png")) > 0 for i in (1, 2)]
    np.testing.assert_array_equal(values > 0, masks[0] | masks[1])


def test_yolo_beside_the_photos_keeps_them(workplace: Path, tiny_model: Path):
    folder = workplace / "yolo" / "images"
    folder.mkdir(parents=True)
    (workplace / "photo.png").rename(folder / "photo.png")
    before = (folder / "photo.png").read_bytes()
    sam_hub(
        "segment", folder / "photo.png", "--model", tiny_model, *BOXES, "--format", "yolo", "--out", f"{workplace}/"
    )
    assert (folder / "photo.png").read_bytes() == before and (workplace / "yolo/labels/photo.txt").is_file()


@pytest.mark.parametrize("command", ["segment", "everything"])
def test_polygons_that_nothing_has(workplace: Path, command: str):
    call = (command, "photo.png", "--out", "out/", *(BOXES if command == "segment" else ()))
    if command == "segment":
        assert "--polygons needs" in sam_hub(*call, "--polygons", "--format", "imagej", code=2).stderr
    assert "Invalid value for '--format'" in sam_hub(*call, "--format", "xml", code=2).stderr


def test_a_format_whose_package_is_missing(workplace: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "roifile", None)
    monkeypatch.setattr("sam_hub.ops.packages.util.find_spec", lambda name: None)
    for call in (("segment", "photo.png", *BOXES), ("everything", "photo.png")):
        text = sam_hub(*call, "--out", "out/", "--format", "imagej", code=1).stderr
        assert "the format imagej needs roifile" in text and "[science]" in text


def test_segment_in_one_file_takes_no_folder_of_files(workplace: Path):
    text = sam_hub("segment", "photo.png", *BOXES, "--out", "a.json", "--format", "labelme", code=2).stderr
    assert "makes a folder of files" in text
