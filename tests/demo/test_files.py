"""Objects exported and imported; files are read with other tools where they exist."""

import base64
import io
import json
import zipfile
from contextlib import redirect_stdout
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from sam_hub.demo.exports import FORMATS, Scene, export, slug, stem_of
from sam_hub.demo.limits import Limits
from sam_hub.demo.objects import read_annotations, read_objects

from sam_hub.data.sa1b import Sa1bDataset
from sam_hub.errors import SamHubError
from sam_hub.labels.yolo import single_ring
from sam_hub.ops.masks import mask_to_rle, rle_to_mask

SIZE = (60, 90)
PHOTO = np.random.default_rng(1).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
RING = np.zeros(SIZE, bool)
RING[10:50, 20:70] = True
RING[20:40, 35:60] = False  # a hole
RING[2:6, 2:8] = True  # an island
SQUARE = np.zeros(SIZE, bool)
SQUARE[30:55, 5:30] = True


def objects(**more: object) -> list[dict]:
    return [
        {"name": "Katze, groß", "rle": mask_to_rle(RING), "score": 0.75, "points": [[30, 15]], "labels": [1], **more},
        {"name": "", "rle": mask_to_rle(SQUARE), "box": [5, 30, 30, 55]},
    ]


def exported(*formats: str, of: list[dict] | None = None) -> tuple[str, bytes]:
    scene = Scene("cat", PHOTO, read_objects(of or objects(), SIZE, Limits()))
    name, pieces = export(scene, list(formats), Limits())
    return name, b"".join(filter(None, pieces))


def unpacked(*formats: str) -> dict[str, bytes]:
    name, content = exported(*formats)
    assert name == "cat.zip"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return {n: archive.read(n) for n in archive.namelist()}


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def test_labels_of_other_tools():
    """A single format is one file; in a label map, pixels of overlapping masks go to the smaller."""
    files = unpacked("labelmap", "labelme", "labelstudio", "cvat")
    numbers = pixels(files["labelmap/cat.png"])
    assert np.array_equal(numbers == 2, SQUARE) and np.array_equal(numbers == 1, RING & ~SQUARE)
    shapes = json.loads(files["labelme/cat.json"])["shapes"]
    assert [shape["label"] for shape in shapes] == ["Katze, groß", "object"]
    (x0, y0), (x1, y1) = shapes[0]["points"]
    drawn = np.zeros(SIZE, bool)
    drawn[y0 : y1 + 1, x0 : x1 + 1] = pixels(base64.b64decode(shapes[0]["mask"]))
    assert np.array_equal(drawn, RING)
    (task,) = json.loads(files["labelstudio/tasks.json"])
    assert task["data"]["image"].endswith("cat.jpg") and len(task["predictions"][0]["result"]) == 2
    assert b"<mask label=" in files["cvat/annotations.xml"] and b"BrushLabels" in files["labelstudio/labels.xml"]
    for kind, name in (("labelmap", "cat.png"), ("labelme", "cat.json"), ("cvat", "annotations.xml")):
        assert exported(kind) == (name, files[f"{kind}/{name}"])
    assert exported("labelstudio")[0] == "cat.zip"


def test_labels_of_other_tools_are_bounded(monkeypatch):
    monkeypatch.setattr("sam_hub.demo.exports.WINDOWS", 3000)
    assert exported("masks")
    with pytest.raises(SamHubError, match="too much at once"):
        exported("labelmap")


def test_masks():
    files = unpacked("masks")
    assert list(files) == ["masks/cat.mask-1-Katze-gro.png", "masks/cat.mask-2.png"]
    for content, mask in zip(files.values(), (RING, SQUARE), strict=True):
        assert np.array_equal(pixels(content), mask * np.uint8(255))


def test_cutouts_hold_nothing_of_the_background():
    content = unpacked("cutouts")["cutouts/cat.cutout-2.png"]
    rgba = pixels(content)
    assert rgba.shape[2] == 4 and rgba.shape[0] < SIZE[0]
    assert (rgba[rgba[..., 3] == 0] == 0).all() and np.array_equal(rgba[8, 8], [*PHOTO[37, 12], 255])


def test_coco_is_read_by_pycocotools(tmp_path):
    name, content = exported("coco")
    path = tmp_path / name
    path.write_bytes(content)
    with redirect_stdout(io.StringIO()):
        coco = COCO(str(path))
    records = coco.loadAnns(coco.getAnnIds())
    assert [coco.loadCats(r["category_id"])[0]["name"] for r in records] == ["Katze, groß", "object"]
    for record, mask in zip(records, (RING, SQUARE), strict=True):
        assert np.array_equal(coco.annToMask(record), mask) and record["area"] == mask.sum()


def test_sa1b_is_read_by_its_reader(tmp_path):
    name, content = exported("sa1b")
    (tmp_path / name).write_bytes(content)
    Image.fromarray(PHOTO).save(tmp_path / "cat.jpg")
    (sample,) = Sa1bDataset(tmp_path)
    assert np.array_equal(sample.mask(0), RING) and np.array_equal(sample.mask(1), SQUARE)
    assert sample.annotations[0]["predicted_iou"] == 0.75 and sample.annotations[0]["point_coords"] == [[30, 15]]


def test_svg_has_a_path_for_each():
    name, content = exported("svg")
    assert name == "cat.svg" and content.count(b"<path") == 2 and b'viewBox="0 0 90 60"' in content


def test_yolo_encloses_the_mask_with_holes_and_islands():
    files = unpacked("yolo")
    assert set(files) == {"yolo/images/cat.jpg", "yolo/labels/cat.txt", "yolo/data.yaml"}
    assert '0: "Katze, groß"' in files["yolo/data.yaml"].decode() and '1: "object"' in files["yolo/data.yaml"].decode()
    lines = files["yolo/labels/cat.txt"].decode().splitlines()
    for number, (line, mask) in enumerate(zip(lines, (RING, SQUARE), strict=True)):
        label, *numbers = line.split()
        assert int(label) == number
        ring = np.float64(numbers).reshape(-1, 2) * [90, 60]
        big = np.zeros((600, 900), np.uint8)  # ten times as large: fillPoly draws the border too
        cv2.fillPoly(big, [np.rint(ring * 10).astype(np.int32)], 1)
        truth = np.kron(mask, np.ones((10, 10), bool))
        assert (big & truth).sum() / (big | truth).sum() > 0.97


def test_a_ring_has_the_area_of_its_mask():
    x, y = single_ring(RING).T
    assert abs((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2) == pytest.approx(RING.sum(), rel=0.02)
    assert single_ring(np.zeros(SIZE, bool)) is None


@pytest.mark.parametrize(
    ("kind", "name"),
    [("masks", "cat.mask-1-x.png"), ("cutouts", "cat.cutout-1-x.png"), ("svg", "cat.svg"), ("sa1b", "cat.json")],
)
def test_one_file_comes_as_it_is(kind, name):
    found, content = exported(kind, of=[{"name": "x", "rle": mask_to_rle(RING)}])
    assert found == name and content[:1] in (b"\x89", b"<", b"{")


def test_all_formats_in_one():
    files = unpacked(*FORMATS)
    alone = {"masks", "cutouts", "coco.json", "cat.json", "cat.svg", "yolo"}
    assert {name.split("/")[0] for name in files} == alone | {"labelmap", "labelme", "labelstudio", "cvat"}


@pytest.mark.parametrize("kind", ["coco", "sa1b"])
def test_a_file_comes_back_as_it_was(kind):
    back = list(read_annotations(exported(kind)[1], SIZE, Limits()))
    assert [o["name"] for o in back] == ["Katze, groß", ""]
    assert np.array_equal(rle_to_mask(back[0]["rle"]), RING) and np.array_equal(rle_to_mask(back[1]["rle"]), SQUARE)
    assert back[0]["points"] == [[30, 15]] and back[0]["labels"] == [1] and back[0]["score"] == 0.75
    assert back[1]["box"] == [5, 30, 30, 55] and back[0]["path"].startswith("M")


def test_polygons_of_other_tools_and_several_images():
    document = {
        "images": [{"id": 4, "width": 10, "height": 10}, {"id": 7, "width": 90, "height": 60}],
        "categories": [{"id": 3, "name": "roof"}],
        "annotations": [
            {"image_id": 4, "category_id": 3, "segmentation": [[0, 0, 5, 0, 5, 5]]},
            {"image_id": 7, "category_id": 3, "segmentation": [[5, 30, 30, 30, 30, 55, 5, 55]]},
        ],
    }
    (found,) = read_annotations(json.dumps(document), SIZE, Limits())
    assert found["name"] == "roof" and np.array_equal(rle_to_mask(found["rle"]), SQUARE)


GOOD = {"size": list(SIZE), "counts": mask_to_rle(SQUARE)["counts"]}


@pytest.mark.parametrize(
    "document",
    [
        "", "{", b"\xff\xfe", "7", "null", "{}", '{"annotations": 7}', '{"annotations": [7]}', "[" * 100_000,
        [{"segmentation": None}], [{"segmentation": {**GOOD, "size": [61, 90]}}],
        [{"segmentation": {**GOOD, "counts": ""}}],
        [{"segmentation": {**GOOD, "counts": "zzzz"}}], [{"segmentation": {**GOOD, "counts": [-5, 5405]}}],
        [{"segmentation": {**GOOD, "counts": [5401]}}], [{"segmentation": {**GOOD, "counts": [1.5, 5398.5]}}],
        [{"segmentation": {**GOOD, "counts": "ü"}}], [{"segmentation": [[1, 2, 3]]}], [{"segmentation": [["a"] * 6]}],
        [{"segmentation": [[1e30] * 6]}], [{"segmentation": []}],
        [{"segmentation": {**GOOD, "counts": "ooooooooooooooooooooo0"}}],
        {"image": {"width": 91, "height": 60}, "annotations": [{"segmentation": GOOD}]},
    ],
)  # fmt: skip
def test_files_that_are_not_about_this_photo(document):
    with pytest.raises(SamHubError) as refused:
        list(read_annotations(document, SIZE, Limits()))
    assert len(str(refused.value)) > 15


@pytest.mark.parametrize("formats", [[], None, ["png"], [7], "masks", ["masks", "../x"]])
def test_unknown_formats(formats):
    with pytest.raises(SamHubError, match="format"):
        export(Scene("cat", PHOTO, read_objects(objects(), SIZE, Limits())), formats, Limits())


def test_bounds():
    limits = replace(Limits(), objects=1)
    with pytest.raises(SamHubError, match="too many"):
        read_objects(objects(), SIZE, limits)
    with pytest.raises(SamHubError, match="too many"):
        list(read_annotations(exported("coco")[1], SIZE, limits))
    with pytest.raises(SamHubError, match="no object"):
        export(Scene("cat", PHOTO, []), ["masks"], Limits())


def test_names_cannot_leave_the_archive():
    assert (
        stem_of("../../etc/passwd") == "passwd"
        and stem_of("C:\\x\\Foto 1.JPG") == "Foto-1"
        and stem_of(None) == "photo"
    )
    assert slug("../../x\0\n") == "x" and slug("日本") == ""
    files = zipfile.ZipFile(io.BytesIO(exported("masks", of=objects(name="../../../evil"))[1])).namelist()
    assert files[0] == "masks/cat.mask-1-evil.png"
