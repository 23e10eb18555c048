"""Masks are exported and imported again."""

import json

import pytest

from sam_hub.data.discovery import open_dataset
from sam_hub.engine.exporting import FORMATS, export
from sam_hub.engine.importing import import_masks
from sam_hub.engine.status import problems
from sam_hub.engine.store import Project, rle_of
from sam_hub.errors import OutputError
from sam_hub.ops.masks import mask_to_rle, rle_to_mask

from .conftest import blob, version


@pytest.fixture
def annotated(project):
    for photo in (1, 2, 3):
        for i in range(photo):
            project.save(project.photo(photo), version(f"{photo}{i}", f"o{photo}{i}", seed=10 * photo + i))
    project.save(project.photo(2), version("gone", "o20", "removed", 20))
    return project


def masks_of(project):
    return {
        photo: sorted(row["counts"] for row in project.objects(photo) if row["state"] == "accepted")
        for photo in range(1, 7)
    }


@pytest.mark.parametrize("format", ["sa1b", "coco", "labelme", "labelstudio", "cvat"])
def test_a_round_trip_is_bit_equal(annotated, tmp_path, format):
    assert export(annotated, format, tmp_path / "out") == (3, 5)
    data = tmp_path / "out"
    kept = masks_of(annotated)
    again = import_masks(annotated, open_dataset(data), "eve", replace=True)
    assert (again.photos, again.same, again.new, again.changed, again.removed) == (3, 5, 0, 0, 0)
    assert masks_of(annotated) == kept

    with Project.create(tmp_path / "other", "pocket", 0.2) as other:
        from sam_hub.engine import photos

        photos.add(other, photos.find([tmp_path / "photos"], other.folder))
        assert import_masks(other, open_dataset(data), "eve").new == 5
        assert masks_of(other) == kept
        assert import_masks(other, open_dataset(data), "eve").same == 5
        assert other.photo(1).state == "done" and not problems(other)


def test_formats_that_know_names_keep_them(annotated, tmp_path):
    annotated.save(annotated.photo(1), version("n", "o10", seed=10, name="nucleus"))
    export(annotated, "coco", tmp_path / "out")
    document = json.loads((tmp_path / "out" / "coco.json").read_text())
    assert [c["name"] for c in document["categories"]] == ["object", "nucleus"]
    assert sorted(a["category_id"] for a in document["annotations"]) == [1, 1, 1, 1, 2]
    assert document["annotations"][0]["stage"] == "assisted"


def test_a_mended_mask_is_a_new_version_and_others_go(annotated, tmp_path):
    export(annotated, "sa1b", tmp_path / "out")
    file = tmp_path / "out" / "002.json"
    document = json.loads(file.read_text())
    first = rle_to_mask(document["annotations"][0]["segmentation"])
    first[:, first.any(0).argmax()] = False
    first[first.any(1).argmax()] = False
    document["annotations"] = [{**document["annotations"][0], "segmentation": mask_to_rle(first)}]
    file.write_text(json.dumps(document))
    found = import_masks(annotated, open_dataset(tmp_path / "out"), "eve", replace=True)
    assert (found.changed, found.removed, found.new) == (1, 2, 0)
    (row,) = annotated.objects(3)
    assert (rle_to_mask(rle_of(row, annotated.photo(3).size)) == first).all()
    assert row["annotator"] == "eve" and len(annotated.history(3, row["object"])) == 2


def test_masks_of_another_size_lose_nothing(annotated, tmp_path):
    kept = masks_of(annotated)
    export(annotated, "sa1b", tmp_path / "out")
    file = tmp_path / "out" / "001.json"
    document = json.loads(file.read_text())
    document["annotations"][0]["segmentation"] = mask_to_rle(blob(5)[:-2])
    file.write_text(json.dumps(document))
    found = import_masks(annotated, open_dataset(tmp_path / "out"), "eve", replace=True)
    assert found.photos == 1 + 1 and found.same == 4
    (problem,) = found.problems
    assert "001.png is skipped" in problem and "not 32 x 24" in problem
    assert masks_of(annotated) == kept


def test_photos_that_are_not_there_are_named(annotated, tmp_path):
    export(annotated, "sa1b", tmp_path / "out")
    with Project.create(tmp_path / "empty", "pocket", 0.2) as empty:
        found = import_masks(empty, open_dataset(tmp_path / "out"), "eve")
    assert len(found.problems) == 3 and "is not in the project" in found.problems[0]


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_a_folder_that_is_not_empty(annotated, tmp_path, format):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="not an empty folder"):
        export(annotated, format, tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_nothing_accepted(project, tmp_path):
    with pytest.raises(OutputError, match="no accepted masks yet"):
        export(project, "coco", tmp_path / "out")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*.part"))


def test_photos_are_linked_or_copied(annotated, tmp_path):
    export(annotated, "sa1b", tmp_path / "links")
    export(annotated, "sa1b", tmp_path / "copies", copy=True)
    assert (tmp_path / "links" / "001.png").is_symlink()
    copy = tmp_path / "copies" / "001.png"
    assert not copy.is_symlink() and copy.read_bytes() == (tmp_path / "photos" / "001.png").read_bytes()


def test_yolo_comes_back_within_a_pixel(annotated, tmp_path):
    kept = masks_of(annotated)
    export(annotated, "yolo", tmp_path / "out")
    found = import_masks(annotated, open_dataset(tmp_path / "out"), "eve")
    assert (found.photos, found.new, found.changed, found.removed) == (3, 0, 0, 0)
    assert masks_of(annotated) == kept, "a mask that polygons have rounded does not replace the exact one"


@pytest.mark.parametrize(("format", "file"), [("labelstudio", "tasks.json"), ("cvat", "annotations.xml")])
def test_pre_annotations_name_every_photo(annotated, tmp_path, format, file):
    export(annotated, format, tmp_path / "out")
    text = (tmp_path / "out" / file).read_text()
    assert all(name in text for name in ("000.png", "001.png", "002.png")) and "003.png" not in text
    assert (tmp_path / "out" / "images" / "000.png").read_bytes()
