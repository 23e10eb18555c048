"""Annotation files as other programs write them: read as intended; unreadable parts are reported and skipped."""

import base64
import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam_hub.data.coco import CocoDataset
from sam_hub.data.discovery import open_dataset
from sam_hub.data.folder import read_mask_file
from sam_hub.data.inspection import Cleaned, inspect
from sam_hub.data.labelme import LabelmeFolder
from sam_hub.data.sa1b import Sa1bDataset
from sam_hub.errors import DataError
from sam_hub.evaluation.evaluate import Protocol, read_objects
from sam_hub.ops.masks import mask_to_rle, rle_to_mask

H, W = 40, 60
SQUARE = np.zeros((H, W), bool)
SQUARE[2:12, 3:23] = True
RING = [3, 2, 23, 2, 23, 12, 3, 12]
OTHER = np.zeros((H, W), bool)
OTHER[20:38, 5:15] = True


def photo(path: Path, orientation: int | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (H, W, 3), dtype=np.uint8)
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def coco(
    folder: Path, segmentations: list, name: str = "train.json", size: tuple[int, int] | None = None, **more
) -> Path:
    """Objects of one photo; ``more`` goes to each annotation."""
    folder.mkdir(parents=True, exist_ok=True)
    image = {"id": 7, "file_name": "a.png"} | ({"height": size[0], "width": size[1]} if size else {})
    annotations = [{"id": i, "image_id": 7, "segmentation": s, **more} for i, s in enumerate(segmentations)]
    (folder / name).write_text(json.dumps({"images": [image], "annotations": annotations}))
    return folder / name


def masks_of(sample) -> list[np.ndarray]:
    return [rle_to_mask(a["segmentation"]) for a in sample.annotations]


@pytest.mark.parametrize(
    "bad",
    [
        [[3, 4]],
        [[3, 4, 5, 6]],
        [[1, 2, 3]],
        [[1e300, 2, 3, 4, 5, float("nan")]],
        [[1, 2, 3, 4, 5, float("inf")]],
        [["1", "2", "3", "4", "5", "6"]],
        [[]],
        [5],
        "RLE",
        {"size": [H, W], "counts": [H * W + 5, -5]},
        {"size": [H, W]},
        {"size": None, "counts": "00"},
    ],
)
def test_a_bad_coco_object_is_named_and_the_rest_of_its_image_stays(tmp_path: Path, bad: object):
    photo(tmp_path / "a.png")
    path = coco(tmp_path, [bad, [RING]])
    found = inspect(open_dataset(path))
    assert found.objects == 1 and "annotation 0 of a.png is left out" in found.problems[0]
    (sample,) = Cleaned(open_dataset(path))
    assert np.array_equal(masks_of(sample)[0], SQUARE)
    problems: list[str] = []
    _, masks = read_objects(open_dataset(path), 0, Protocol(), problems)
    assert len(masks) == 1 and problems == found.problems[:1]


def test_a_part_of_two_points_costs_nothing_wherever_it_is(tmp_path: Path):
    photo(tmp_path / "a.png")
    (sample,) = open_dataset(coco(tmp_path, [[[1, 1, 5, 5], RING], [RING, [1, 1, 5, 5]], [[9, 9], RING]]))
    assert all(np.array_equal(m, SQUARE) for m in masks_of(sample)) and len(sample.annotations) == 3


def test_a_bare_polygon_and_ids_of_other_types(tmp_path: Path):
    """``segmentation: [x, y, ...]``, and image ids that went through a table of floats or of text."""
    photo(tmp_path / "a.png")
    document = json.loads(coco(tmp_path, [RING, [RING], RING]).read_text())
    for annotation, key in zip(document["annotations"], (7, 7.0, "7"), strict=True):
        annotation["image_id"] = key
    for key in (7, 7.0, "7"):
        document["images"][0]["id"] = key
        (tmp_path / "train.json").write_text(json.dumps(document))
        (sample,) = open_dataset(tmp_path / "train.json")
        assert len(sample.annotations) == 3 and all(np.array_equal(m, SQUARE) for m in masks_of(sample))


def test_polygons_far_outside_are_cut(tmp_path: Path):
    photo(tmp_path / "a.png")
    (sample,) = open_dataset(coco(tmp_path, [[[-1e8, -1e8, 1e8, -1e8, 1e8, 12, -1e8, 12]]]))
    expected = np.zeros((H, W), bool)
    expected[:12] = True
    assert np.array_equal(masks_of(sample)[0], expected)


@pytest.mark.parametrize("annotation", [5, None, [], {"image_id": [7]}, {"image_id": 8}, {}])
def test_annotations_without_an_image_are_counted(tmp_path: Path, annotation: object):
    photo(tmp_path / "a.png")
    path = coco(tmp_path, [[RING]])
    document = json.loads(path.read_text())
    document["annotations"].append(annotation)
    document["images"] += [5, {"id": {}}, {"id": 9}]
    path.write_text(json.dumps(document))
    found = inspect(open_dataset(path))
    assert found.objects == 1
    assert "3 images without an id" in found.problems[0] and "1 annotation belongs to none" in found.problems[1]


def test_crowds_are_counted_and_taken_on_request(tmp_path: Path):
    """Datumaro marks every object that is a mask as a crowd."""
    photo(tmp_path / "a.png")
    path = coco(tmp_path, [mask_to_rle(SQUARE), mask_to_rle(OTHER)], iscrowd=1)
    with pytest.raises(DataError, match=r"all 2 crowds .* --crowds as-objects"):
        inspect(open_dataset(path))
    (sample,) = open_dataset(path, crowds_as_objects=True)
    assert [m.tolist() for m in masks_of(sample)] == [SQUARE.tolist(), OTHER.tolist()]


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("annotations/instances_train.json", "images/train/a.png"),
        ("annotations/train.json", "images/train/a.png"),
        ("annotations/instances_val2017.json", "val2017/a.png"),
        ("annotations/train.json", "train/a.png"),
    ],
)
def test_layouts_of_coco_folders(tmp_path: Path, name: str, image: str):
    photo(tmp_path / image)
    path = coco((tmp_path / name).parent, [[RING]], Path(name).name)
    assert open_dataset(path)[0].name == "a.png"


@pytest.mark.parametrize("text", ["[" * 100_000, '{"images": ' + "[" * 100_000, "\x00", '{"images": 5}', "9" * 5000])
def test_deep_and_odd_json_is_named(tmp_path: Path, text: str):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataError, match=r"x\.json is not a COCO"):
        CocoDataset(tmp_path / "x.json")
    with pytest.raises(DataError):
        open_dataset(tmp_path)


def test_names_that_no_system_takes_are_no_images(tmp_path: Path):
    photo(tmp_path / "a.png")
    path = coco(tmp_path, [[RING]])
    document = json.loads(path.read_text())
    document["images"] += [{"id": i, "file_name": n} for i, n in enumerate(["\x00", "x" * 5000, "\ud800", "."], 100)]
    path.write_text(json.dumps(document))
    assert inspect(open_dataset(path)).objects == 1


@pytest.mark.parametrize("orientation", [6, 8, 5, 7])
@pytest.mark.parametrize("kind", ["coco", "sa1b", "labelme"])
def test_annotations_of_the_stored_and_of_the_upright_photo(tmp_path: Path, orientation: int, kind: str):
    """Most programs annotate the photo as shown; some ignore its EXIF rotation."""
    file = photo(tmp_path / "a.png", orientation)
    stored = np.asarray(Image.open(file))
    upright = open_upright(file)
    assert upright.shape[:2] == (W, H)
    for pixels in (stored, upright):
        h, w = pixels.shape[:2]
        mask = np.zeros((h, w), bool)
        mask[3:20, 5:30] = True
        if kind == "coco":
            coco(tmp_path, [mask_to_rle(mask)], "a.json", (h, w))
        elif kind == "sa1b":
            image = {"file_name": "a.png", "height": h, "width": w}
            (tmp_path / "a.json").write_text(
                json.dumps({"image": image, "annotations": [{"segmentation": mask_to_rle(mask)}]})
            )
        else:
            shape = {"points": [[5, 3], [30, 3], [30, 20], [5, 20]]}
            document = {"shapes": [shape], "imagePath": "a.png", "imageHeight": h, "imageWidth": w}
            (tmp_path / "a.json").write_text(json.dumps(document))
        (sample,) = open_dataset(tmp_path)
        assert np.array_equal(sample.image, pixels) and np.array_equal(masks_of(sample)[0], mask)


def open_upright(file: Path) -> np.ndarray:
    from PIL import ImageOps

    return np.asarray(ImageOps.exif_transpose(Image.open(file)))


def labelme(folder: Path, shapes: object, **fields: object) -> Path:
    photo(folder / "a.png")
    (folder / "a.json").write_text(json.dumps({"shapes": shapes, "imagePath": "a.png", **fields}))
    return folder


def png(mask: np.ndarray, size: tuple[int, int] | None = None) -> str:
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


SQUARE_SHAPE = {"shape_type": "polygon", "points": [[3, 2], [23, 2], [23, 12], [3, 12]]}


@pytest.mark.parametrize("kind", ["oriented_rectangle", "rectangle", "rotation"])
def test_rectangles_of_four_corners(tmp_path: Path, kind: str):
    (sample,) = open_dataset(labelme(tmp_path, [{**SQUARE_SHAPE, "shape_type": kind}]))
    assert np.array_equal(masks_of(sample)[0], SQUARE)


def test_painted_masks_of_one_group_are_one_object(tmp_path: Path):
    box = {"shape_type": "mask", "group_id": 3}
    shapes = [
        {**box, "points": [[3, 2], [22, 11]], "mask": png(np.ones((10, 20)))},
        {**box, "points": [[5, 20], [14, 37]], "mask": png(np.ones((18, 10)))},
        {**SQUARE_SHAPE, "group_id": 3},
        {**SQUARE_SHAPE, "group_id": None},
    ]
    (sample,) = open_dataset(labelme(tmp_path, shapes))
    group, alone = masks_of(sample)
    assert np.array_equal(group, SQUARE | OTHER) and np.array_equal(alone, SQUARE)


def test_labels_count_their_groups_apart(tmp_path: Path):
    """Each label's objects are numbered from 1, as labelme2coco.py understands it."""
    shapes = [
        {**SQUARE_SHAPE, "label": "cat", "group_id": 1},
        {**SQUARE_SHAPE, "label": "dog", "group_id": 1, "points": [[5, 20], [15, 20], [15, 38], [5, 38]]},
    ]
    (sample,) = open_dataset(labelme(tmp_path, shapes))
    cat, dog = masks_of(sample)
    assert np.array_equal(cat, SQUARE) and np.array_equal(dog, OTHER)


def test_names_of_another_machine(tmp_path: Path):
    """A Windows path, relative or absolute, and an image that has been moved next to its annotations."""
    for name in ("..\\photos\\a.png", "C:\\data\\a.png", "/home/ann/a.png"):
        path = labelme(tmp_path / "labelme", [SQUARE_SHAPE])
        document = json.loads((path / "a.json").read_text()) | {"imagePath": name}
        (path / "a.json").write_text(json.dumps(document))
        (sample,) = open_dataset(path)
        assert sample.image.shape == (H, W, 3)
        file = coco(tmp_path / "coco", [[RING]])
        photo(tmp_path / "coco" / "images" / "a.png")
        document = json.loads(file.read_text())
        document["images"][0]["file_name"] = name
        file.write_text(json.dumps(document))
        (sample,) = CocoDataset(file)
        assert np.array_equal(masks_of(sample)[0], SQUARE)


@pytest.mark.parametrize(("x", "y"), [(-5, -3), (50, 35), (-5, 35), (-100, 5), (1000, 5), (10**12, -(10**12))])
def test_painted_masks_beyond_the_border_are_cut(tmp_path: Path, x: int, y: int):
    shape = {"shape_type": "mask", "points": [[x, y], [x + 19, y + 9]], "mask": png(np.ones((10, 20)))}
    (sample,) = open_dataset(labelme(tmp_path, [shape]))
    rows, columns = np.mgrid[:H, :W]
    expected = (x <= columns) & (columns < x + 20) & (y <= rows) & (rows < y + 10)
    assert np.array_equal(masks_of(sample)[0], expected)


@pytest.mark.parametrize(
    "bad",
    [
        5,
        None,
        {},
        {"points": 7},
        {"points": [[1, 2], [3, 4]]},
        {"points": [[1, 2], [3, 4], ["5", 6]]},
        {"points": [[1, 2], [3, 4], [float("nan"), 6]]},
        {"points": [[1, 2], [3, 4], [1e308, 6]]},
        {"shape_type": "rectangle", "points": [[1, 2]]},
        {"shape_type": "oriented_rectangle", "points": [[1, 2], [3, 4]]},
        {"shape_type": "circle", "points": [[1, 2], [1e200, 1e200]]},
        {"shape_type": "cuboid", "points": [[1, 2], [3, 4], [5, 9]]},
        {"shape_type": ["polygon"], "points": [[1, 2], [3, 4], [5, 9]]},
        {"shape_type": "mask", "points": [[1, 2], [3, 4]]},
        {"shape_type": "mask", "points": [[1, 2], [3, 4]], "mask": "no base64!"},
        {"shape_type": "mask", "points": [[1, 2], [3, 4]], "mask": png(np.ones((4, 4)))[:40]},
        {"shape_type": "mask", "points": [], "mask": png(np.ones((4, 4)))},
    ],
)
def test_a_bad_labelme_shape_is_named_and_the_rest_of_its_image_stays(tmp_path: Path, bad: object):
    found = inspect(open_dataset(labelme(tmp_path, [bad, {**SQUARE_SHAPE, "group_id": [1]}])))
    assert found.objects == 1 and "a.json: shape 1 is left out" in found.problems[0]


def test_a_painted_mask_of_too_many_pixels_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sam_hub.data.labelme.MAX_PIXELS", 100)
    shape = {"shape_type": "mask", "points": [[0, 0], [9, 9]], "mask": png(np.ones((11, 10)))}
    found = inspect(open_dataset(labelme(tmp_path, [shape, SQUARE_SHAPE])))
    assert "million pixels" in found.problems[0] and found.objects == 1


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"shapes": ' + "[" * 100_000])
def test_a_damaged_labelme_file_is_named_and_the_run_goes_on(tmp_path: Path, text: str):
    labelme(tmp_path, [SQUARE_SHAPE])
    (tmp_path / "b.json").write_text(text)
    found = inspect(LabelmeFolder(tmp_path))
    assert found.good == [0] and "b.json is not a readable labelme file" in found.problems[0]


def test_voc_masks_have_a_void_ring_that_is_no_object(tmp_path: Path):
    """A small object stays the object, though nearly all pixels are 0 or 255."""
    photo(tmp_path / "JPEGImages" / "a.jpg")
    small = np.zeros((H, W), bool)
    small[30:34, 40:44] = True
    values = np.where(small, 1, 0).astype(np.uint8)
    ring = np.zeros((H, W), bool)
    ring[29:35, 39:45] = True
    values[ring & ~small] = 255
    (tmp_path / "SegmentationObject").mkdir()
    file = tmp_path / "SegmentationObject" / "a.png"
    palette = [0] * 768
    palette[3:6], palette[765:768] = [128, 0, 0], [224, 224, 192]
    picture = Image.fromarray(values, "P")
    picture.putpalette(palette)
    for save_to in (file, tmp_path / "b.png"):  # by the folder, and by the palette
        picture.save(save_to)
    Image.fromarray(values).save(tmp_path / "SegmentationObject" / "grey.png")
    (sample,) = open_dataset(tmp_path)
    assert len(sample.annotations) == 1 and np.array_equal(masks_of(sample)[0], small)
    for other in (tmp_path / "b.png", tmp_path / "SegmentationObject" / "grey.png"):
        (annotation,) = read_mask_file(other)[1]
        assert np.array_equal(rle_to_mask(annotation["segmentation"]), small)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 60 40\n"
"""A file that Pillow would pass to Ghostscript."""


@pytest.mark.parametrize("kind", ["drawing", "pipe"])
def test_masks_start_no_program_and_are_not_waited_for(tmp_path: Path, monkeypatch, kind: str, not_for_ever):
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *a, **k: pytest.fail("Ghostscript was started"))
    for name in ("a", "b"):
        photo(tmp_path / f"{name}.png")
        Image.fromarray(SQUARE).save(tmp_path / f"{name}.mask.png")
    bad = tmp_path / "b.mask.png"
    if kind == "drawing":
        bad.write_bytes(EPS)
    else:
        bad.unlink()
        os.mkfifo(bad)
    found = inspect(open_dataset(tmp_path))
    why = "(cannot identify its format; convert it to PNG)" if kind == "drawing" else "not a regular file"
    assert found.objects == 1 and "b.mask.png is not a readable mask" in found.problems[0] and why in found.problems[0]


def test_masks_in_jpeg_are_one_object_or_refused(tmp_path: Path):
    """Compression turns two values into many, each of which would otherwise become an object."""
    both = SQUARE | OTHER
    for mode in ("L", "RGB"):
        Image.fromarray(both.astype(np.uint8) * 255).convert(mode).save(tmp_path / "a.jpg", quality=80)
        (annotation,) = read_mask_file(tmp_path / "a.jpg")[1]
        found = rle_to_mask(annotation["segmentation"])
        assert (found & both).sum() / (found | both).sum() > 0.95
    assert len(read_mask_file(tmp_path / "a.jpg", parts=True)[1]) == 2
    Image.fromarray(SQUARE.astype(np.uint8) * 80 + OTHER.astype(np.uint8) * 160).save(tmp_path / "b.jpg")
    with pytest.raises(DataError, match=r"b\.jpg is a JPEG.*save masks as PNG"):
        read_mask_file(tmp_path / "b.jpg")


@pytest.mark.parametrize("one, other", [(1, 1), (1, 2), (20, 40), (80, 160), (80, 255), (0, 128)])
@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_numbers_of_objects_in_lossy_files_are_refused(tmp_path: Path, one: int, other: int, suffix: str):
    """Even if they are few, small, or so low that nothing is white."""
    values = np.zeros((400, 600), np.uint8)
    values[20:60, 30:90], values[200:240, 300:340] = one, other
    Image.fromarray(values).save(tmp_path / f"a.{suffix}")
    with pytest.raises(DataError, match=r"which changes the numbers of objects; save masks as PNG"):
        read_mask_file(tmp_path / f"a.{suffix}")


def test_lossy_webp_is_one_object_and_lossless_keeps_numbers(tmp_path: Path):
    for mode in ("L", "RGBA"):
        Image.fromarray(SQUARE.astype(np.uint8) * 255).convert(mode).save(tmp_path / "a.webp", exif=b"Exif")
        (annotation,) = read_mask_file(tmp_path / "a.webp")[1]
        found = rle_to_mask(annotation["segmentation"])
        assert (found & SQUARE).sum() / (found | SQUARE).sum() > 0.95
    Image.fromarray(SQUARE * np.uint8(1) + OTHER * np.uint8(2)).save(tmp_path / "b.webp", lossless=True)
    assert len(read_mask_file(tmp_path / "b.webp")[1]) == 2


@pytest.mark.parametrize("level", [0, 255])
def test_a_blank_jpeg_is_no_error(tmp_path: Path, level: int):
    Image.new("L", (60, 40), level).save(tmp_path / "a.jpg", quality=5)
    size, (annotation,) = read_mask_file(tmp_path / "a.jpg")
    assert size == (40, 60) and rle_to_mask(annotation["segmentation"]).all() == bool(level)


def tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as shard:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            shard.addfile(info, io.BytesIO(content))
    return path


def test_a_tar_with_equal_names_in_two_folders(tmp_path: Path):
    picture = photo(tmp_path / "p" / "x.png").read_bytes()
    files = {}
    for folder, mask in (("one", SQUARE), ("two", OTHER)):
        files[f"{folder}/a.png"] = picture
        files[f"{folder}/a.json"] = json.dumps({"annotations": [{"segmentation": mask_to_rle(mask)}]}).encode()
    data = Sa1bDataset(tar(tmp_path / "s.tar", files))
    assert [s.name for s in data] == ["one/a.png", "two/a.png"]
    assert [masks_of(s)[0].tolist() for s in data] == [SQUARE.tolist(), OTHER.tolist()]


@pytest.mark.parametrize("bad", [5, None, {"id": 1}, {"segmentation": [[1, 2, 3, 4, 5, 6]]}, {"segmentation": 5}])
def test_a_bad_sa1b_object_is_named_and_the_rest_of_its_image_stays(tmp_path: Path, bad: object):
    photo(tmp_path / "a.png")
    (tmp_path / "a.json").write_text(json.dumps({"annotations": [bad, {"segmentation": mask_to_rle(SQUARE)}]}))
    data = open_dataset(tmp_path)
    found = inspect(data)
    assert found.objects == 1 and "a." in found.problems[0]
    (sample,) = Cleaned(data)
    assert sample.annotations[0]["bbox"] == [3, 2, 20, 10]
    problems: list[str] = []
    _, masks = read_objects(data, 0, Protocol(), problems)
    assert len(masks) == 1 and len(problems) == 1


def test_a_file_in_a_tar_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sam_hub.data.sa1b.MEMBER_BYTES", 1000)
    picture = photo(tmp_path / "x.png").read_bytes()
    data = Sa1bDataset(tar(tmp_path / "s.tar", {"a.png": picture, "a.json": b'{"annotations": []}'}))
    with pytest.raises(DataError, match=r"a\.png has more than"):
        _ = data[0]


def test_a_packed_tar_is_no_shard_to_read_at_random(tmp_path: Path):
    with tarfile.open(tmp_path / "s.tar", "w:gz") as shard:
        shard.add(photo(tmp_path / "a.png"), "a.png")
    with pytest.raises(DataError, match="not a readable tar"):
        Sa1bDataset(tmp_path / "s.tar")


def yolo(folder: Path, text: str) -> Path:
    photo(folder / "images" / "val" / "a.png")
    (folder / "labels" / "val").mkdir(parents=True)
    (folder / "labels" / "val" / "a.txt").write_text(text)
    return folder


def test_yolo_outlines(tmp_path: Path):
    corners = " ".join(f"{x / W:.6f} {y / H:.6f}" for x, y in zip(RING[::2], RING[1::2], strict=True))
    (sample,) = open_dataset(yolo(tmp_path, f"0 {corners}\n\n"))
    assert sample.name == "a.png" and np.array_equal(masks_of(sample)[0], SQUARE)


@pytest.mark.parametrize("bad", ["0 .1 .2 .3 .4", "0 a b c d e f", "0", "0 .1 .2 .3 .4 .5 nan", "0 .1 .2 .3 .4 .5"])
def test_a_bad_yolo_line_is_named_and_the_rest_stays(tmp_path: Path, bad: str):
    found = inspect(open_dataset(yolo(tmp_path, f"{bad}\n1 .1 .1 .5 .1 .5 .5")))
    assert found.objects == 1 and "a.txt: line 1 is left out" in found.problems[0]
