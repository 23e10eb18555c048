"""Exports of Label Studio and CVAT are read, bit for bit where the tools' own code defines the masks."""

import json

import numpy as np
import pytest
from PIL import Image

from sam_hub.data.discovery import open_dataset
from sam_hub.data.labelstudio import brush_mask
from sam_hub.errors import DataError
from sam_hub.labels.images import ImageLabels
from sam_hub.labels.writing import write_labels

SIZE = (23, 31)


def mask(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = rng.random(SIZE) < 0.3
    found[5:14, 3 : 20 + seed] = True
    return found


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(tmp_path / "images" / name)
    return tmp_path


def labels():
    objects = [{"segmentation": mask(0), "name": "cell"}, {"segmentation": mask(1)}]
    return [ImageLabels("a.png", SIZE, objects), ImageLabels("b.png", SIZE, [{"segmentation": mask(2)}])]


@pytest.mark.parametrize("format", ["labelstudio", "cvat"])
def test_what_was_exported_comes_back(folder, format):
    write_labels(labels(), folder, format)
    dataset = open_dataset(folder)
    assert [[s.annotations[i]["name"] for i in range(len(s.annotations))] for s in dataset] == [["cell", ""], [""]]
    for sample, seeds in zip(dataset, [(0, 1), (2,)], strict=True):
        for i, seed in enumerate(seeds):
            assert (sample.mask(i) == mask(seed)).all()


@pytest.mark.parametrize("format", ["labelstudio", "cvat"])
def test_polygons_come_back_within_a_pixel(folder, format):
    square = np.zeros(SIZE, bool)
    square[4:15, 6:22] = True
    write_labels([ImageLabels("a.png", SIZE, [{"segmentation": square}])], folder, format, polygons=True)
    (sample,) = open_dataset(folder)
    wrong = sample.mask(0) ^ square
    assert not wrong[5:14, 7:21].any() and not wrong[:3].any() and not wrong[:, :5].any() and wrong.sum() <= 60


def test_label_studio_s_own_encoder(folder):
    """The bytes that the tool's own library writes, where it is installed."""
    sdk = pytest.importorskip("label_studio_sdk.converter.brush")
    picture = np.zeros(SIZE, np.uint8)
    picture[3:9, 2:30] = 255
    packed = sdk.mask2rle(picture)
    assert (brush_mask(packed, SIZE) == (picture > 0)).all()


def test_annotations_of_people_go_before_predictions(folder):
    write_labels(labels(), folder, "labelstudio")
    tasks = json.loads((folder / "tasks.json").read_text())
    tasks[0]["annotations"] = [{"result": tasks[1]["predictions"][0]["result"]}]
    tasks[0]["data"] = {"image": "/data/upload/1/a.png"}
    (folder / "tasks.json").write_text(json.dumps(tasks))
    sample = open_dataset(folder / "tasks.json")[0]
    assert len(sample.annotations) == 1 and (sample.mask(0) == mask(2)).all()


def test_cvat_s_parts_of_a_group_are_one_object(folder):
    text = """<annotations><image id="0" name="a.png" width="31" height="23">
      <polygon label="road" points="1,1;5,1;5,5;1,5" group_id="4"/><box label="road" xtl="8" ytl="8" xbr="12" ybr="11"
      group_id="4"/><mask label="pot" rle="2, 3, 1" left="20" top="2" width="3" height="3"/></image></annotations>"""
    (folder / "annotations.xml").write_text(text)
    (sample,) = open_dataset(folder / "annotations.xml")
    assert [a["name"] for a in sample.annotations] == ["road", "pot"]
    assert sample.mask(0)[2, 2] and sample.mask(0)[9, 9] and not sample.mask(0)[6, 6]
    expected = np.zeros(SIZE, bool)
    expected[2, 22] = expected[3, 20] = expected[3, 21] = True
    assert (sample.mask(1) == expected).all()


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("annotations.xml", "<annotations", "is not annotations of CVAT"),
        ("annotations.xml", "<other/>", "it has no images"),
        ("annotations.xml", '<annotations><image name="a.png" width="x" height="2"/></annotations>', "has no size"),
        (
            "annotations.xml",
            '<annotations><image name="z.png" width="3" height="2"/></annotations>',
            "none of the images",
        ),
        ("tasks.json", '[{"data": {"image": "z.png"}}]', "none of the images"),
    ],
)
def test_what_is_wrong_is_named(folder, name, text, words):
    (folder / name).write_text(text)
    with pytest.raises(DataError, match=words):
        open_dataset(folder / name)


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        ("1, x", "not whole numbers"),
        ("5, 5", "do not fit its box"),
        (f"{10**30}", "do not fit its box"),
        ("-1, 3", "do not fit"),
        ("", "not whole numbers"),
    ],
)
def test_damaged_runs_of_cvat(folder, runs, words):
    shape = f'<mask label="a" rle="{runs}" left="2" top="2" width="3" height="3"/>'
    text = f'<annotations><image name="a.png" width="31" height="23">{shape}</image></annotations>'
    (folder / "annotations.xml").write_text(text)
    (sample,) = open_dataset(folder)
    assert words in sample.annotations[0]["problem"]


def test_damaged_runs_of_label_studio(folder):
    write_labels(labels(), folder, "labelstudio")
    tasks = json.loads((folder / "tasks.json").read_text())
    whole = tasks[1]["predictions"][0]["result"][0]["value"]["rle"]
    for packed, words in [
        (whole[:-9], "are cut short"),
        ([300], "list of bytes"),
        ([0, 0, 0, 9, *whole[4:]], "pixels"),
    ]:
        with pytest.raises(DataError, match=words):
            brush_mask(packed, SIZE)


def mended(folder, change) -> list:
    """The first image's annotations after a change to the first task, or its one result."""
    write_labels(labels(), folder, "labelstudio")
    tasks = json.loads((folder / "tasks.json").read_text())
    change(tasks[0], tasks[0]["predictions"][0]["result"][0])
    (folder / "tasks.json").write_text(json.dumps(tasks))
    return open_dataset(folder / "tasks.json")[0].annotations


@pytest.mark.parametrize("labelled", [{"a": 1}, 5, [5], "x", {}, None])
def test_labels_of_label_studio_that_are_none(folder, labelled):
    annotations = mended(folder, lambda task, one: one["value"].update(brushlabels=labelled))
    assert annotations[0]["name"] == "" and annotations[0]["segmentation"]


@pytest.mark.parametrize("rounds", [5, "x", {"a": 1}, [5], [{"result": 5}], [{"result": None}], [{}]])
def test_rounds_of_label_studio_that_are_none(folder, rounds):
    assert mended(folder, lambda task, one: task.update(predictions=rounds)) == []


@pytest.mark.parametrize("points", [[[1, 10**400]], [[1, 2, 3]], "x", [[None, 1]], 5])
def test_points_of_label_studio_that_are_none(folder, points):
    first, *_ = mended(folder, lambda task, one: one.update(value={"points": points, "polygonlabels": ["a"]}))
    assert "object 1 of a.png is left out" in first["problem"]


def test_addresses_that_are_none_or_lead_out_of_the_folder(folder, tmp_path):
    write_labels(labels(), folder, "labelstudio")
    tasks = json.loads((folder / "tasks.json").read_text())
    (folder.parent / "out.png").write_bytes((folder / "images" / "a.png").read_bytes())
    for address in ("http://[x/a.png", f"../{folder.parent.name}/out.png", "../out.png", "../../out.png"):
        tasks[0]["data"] = {"image": address}
        (folder / "tasks.json").write_text(json.dumps(tasks))
        path = open_dataset(folder / "tasks.json").image_path(0)
        assert ".." not in path.parts and not path.is_file(), address


def test_an_encoding_that_nobody_knows(folder):
    (folder / "annotations.xml").write_bytes(b'<?xml version="1.0" encoding="x-none"?><annotations/>')
    with pytest.raises(DataError, match="is not annotations of CVAT"):
        open_dataset(folder / "annotations.xml")
