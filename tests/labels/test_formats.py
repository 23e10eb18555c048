"""Every label format, read by the tool that it is for; masks come back bit for bit where the format can hold them."""

import io
import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from sam_hub.data.discovery import open_dataset
from sam_hub.errors import DataError
from sam_hub.evaluation.metrics import mask_iou
from sam_hub.labels.formats import FORMATS
from sam_hub.labels.images import ImageLabels
from sam_hub.labels.labelstudio import brush_rle
from sam_hub.labels.writing import write_labels
from sam_hub.ops.masks import mask_to_rle

SIZE = (45, 70)


def hard_masks() -> dict[str, np.ndarray]:
    """By what is hard about them: (H, W) bool of `SIZE`."""
    rng = np.random.default_rng(3)
    masks = {name: np.zeros(SIZE, bool) for name in ("island in a hole", "corners", "pixel", "edges", "pinched")}
    ring = masks["island in a hole"]
    ring[3:30, 4:40] = True
    ring[8:25, 10:30] = False
    ring[12:20, 14:24] = True
    ring[35:40, 50:60] = True
    masks["corners"][10:20, 10:20] = masks["corners"][20:30, 20:30] = True
    masks["pixel"][7, 9] = True
    masks["edges"][0] = masks["edges"][:, -1] = masks["edges"][-1, :5] = True
    pinched = masks["pinched"]  # two arcs that meet at corners around a hole
    pinched[10:14, 10:30] = pinched[14:20, 10:12] = pinched[20:24, 12:30] = pinched[14:20, 30:32] = True
    masks["everything"] = np.ones(SIZE, bool)
    masks["noise"] = rng.random(SIZE) < 0.5
    return masks


MASKS = list(hard_masks().values())
NAMES = [f"{name} & <é>" for name in hard_masks()]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photos" / "more" / "a photo.png"
    path.parent.mkdir(parents=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def labels(photo: Path) -> list[ImageLabels]:
    """One image without objects, and one with the hard masks, each of a class of its own."""
    objects = [{"segmentation": m, "name": f"{k} & <é>", "predicted_iou": 0.5} for k, m in hard_masks().items()]
    empty = ImageLabels("b.png", SIZE, [], photo)
    return [empty, ImageLabels("more/a photo.png", SIZE, objects, photo)]


def equal(found: Iterable[np.ndarray], expected: Iterable[np.ndarray] = MASKS) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def filled(rings: Iterable[np.ndarray], size: tuple[int, int] = SIZE) -> np.ndarray:
    """The pixels whose centres lie inside rings by the even-odd rule, by shapely."""
    shapely = pytest.importorskip("shapely")
    y, x = np.indices(size) + 0.5
    mask = np.zeros(size, bool)
    for ring in rings:
        mask ^= shapely.contains_xy(shapely.Polygon(ring).buffer(0) if len(ring) < 5 else shapely.Polygon(ring), x, y)
    return mask


# ---------------------------------------------------------------- label maps


def apart() -> list[np.ndarray]:
    masks = np.zeros((3, *SIZE), bool)
    masks[0, 5:20, 5:30] = masks[1, 20:40, 10:40] = masks[2, 3:40, 50:70] = True
    masks[0, 8:12, 8:12] = False
    return list(masks)


def labelled(masks: Iterable[np.ndarray], name: str = "a.png") -> ImageLabels:
    return ImageLabels(name, SIZE, [{"segmentation": mask} for mask in masks])


def test_a_label_map_has_the_ids_of_coco(tmp_path):
    images = [labelled(apart()[:1], "deep/a.png"), labelled(apart(), "b.tif")]
    paths = write_labels(images, tmp_path / "maps", "labelmap")
    assert [str(p.relative_to(tmp_path)) for p in paths] == ["maps/deep/a.png", "maps/b.png"]
    (coco,) = write_labels(images, tmp_path, "coco")
    read = COCO(str(coco))
    for path, image in zip(paths, read.loadImgs([1, 2]), strict=True):
        values = np.asarray(Image.open(path))
        assert Image.open(path).mode == "I;16" and values.shape == SIZE
        for annotation in read.loadAnns(read.getAnnIds(image["id"])):
            np.testing.assert_array_equal(values == annotation["id"], read.annToMask(annotation).astype(bool))
    assert set(np.unique(values)) == {0, 2, 3, 4}


def test_a_label_map_trains(tmp_path):
    """What `sam-hub train --data` reads: the same objects."""
    (path,) = write_labels([labelled(apart())], tmp_path / "masks", "labelmap")
    (tmp_path / "images").mkdir()
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "images" / path.name)
    sample = open_dataset(tmp_path)[0]
    equal([sample.mask(i) for i in range(3)], apart())


def test_a_label_map_of_strips(tmp_path, monkeypatch):
    monkeypatch.setattr("sam_hub.ops.strips.STRIP", 4 * SIZE[1])
    (path,) = write_labels([labelled(apart())], tmp_path, "labelmap")
    values = np.asarray(Image.open(path))
    equal([values == i for i in (1, 2, 3)], apart())


def test_overlaps_in_a_label_map(tmp_path):
    small, large = np.zeros((2, *SIZE), bool)
    large[5:40, 5:60] = small[10:20, 10:20] = True
    for masks in ([small, large], [large, small], [small, small]):
        with pytest.raises(DataError, match=r"masks overlap.*--non-overlapping"):
            write_labels([labelled(masks)], tmp_path, "labelmap")
    assert not list(tmp_path.iterdir())
    (path,) = write_labels([labelled([small, large, small])], tmp_path, "labelmap", non_overlapping=True)
    values = np.asarray(Image.open(path))
    equal([values == 1, values == 2, values == 3], [small, large & ~small, np.zeros(SIZE, bool)])


def test_more_objects_than_a_label_map_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr("sam_hub.labels.labelmap.MOST", 3)
    with pytest.raises(DataError, match=r"b\.png: a label map numbers at most 3 objects"):
        write_labels([labelled(apart()), labelled(apart(), "b.png")], tmp_path, "labelmap")


# ---------------------------------------------------------------- COCO


@pytest.mark.parametrize("polygons", [False, True])
def test_coco(tmp_path, labels, polygons):
    (path,) = write_labels(labels, tmp_path, "coco", polygons=polygons)
    read = COCO(str(path))
    assert [i["file_name"] for i in read.dataset["images"]] == ["b.png", "more/a photo.png"]
    annotations = read.loadAnns(read.getAnnIds(2))
    assert all(isinstance(a["segmentation"], list if polygons else dict) for a in annotations)
    equal(read.annToMask(a).astype(bool) for a in annotations)
    assert [read.cats[a["category_id"]]["name"] for a in annotations] == NAMES
    for a, mask in zip(annotations, MASKS, strict=True):
        y, x = np.nonzero(mask)
        assert a["bbox"] == [x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1] and a["area"] == len(x)


def test_coco_polygons_of_a_mask_without_pixels(tmp_path):
    (path,) = write_labels([labelled([np.zeros(SIZE, bool), *apart()])], tmp_path, "coco", polygons=True)
    assert [a["id"] for a in json.loads(path.read_text())["annotations"]] == [2, 3, 4]


# ---------------------------------------------------------------- YOLO


def test_yolo(tmp_path, photo):
    images = [ImageLabels("more/a photo.png", SIZE, [{"segmentation": m} for m in apart()], photo)]
    images.append(ImageLabels("b.tif", SIZE, [{"segmentation": apart()[2], "name": "x"}], photo))
    write_labels(images, tmp_path / "yolo", "yolo")
    assert (tmp_path / "yolo/images/more/a photo.png").read_bytes() == photo.read_bytes()
    assert (tmp_path / "yolo/images/b.png").is_file()
    assert '0: "object"\n  1: "x"' in (tmp_path / "yolo/data.yaml").read_text()
    assert (tmp_path / "yolo/labels/b.txt").read_text().startswith("1 ")
    data = open_dataset(tmp_path / "yolo")
    sample = next(s for s in data if s.name == "a photo.png")
    for i, mask in enumerate(apart()):
        assert float(mask_iou(sample.mask(i), mask)) > 0.95


def test_yolo_without_the_image(tmp_path):
    with pytest.raises(DataError, match="say where the image is"):
        write_labels([labelled(apart())], tmp_path, "yolo")


# ---------------------------------------------------------------- labelme


def test_labelme(tmp_path, labels, by_tool):
    paths = write_labels(labels, tmp_path / "out", "labelme")
    assert [str(p.relative_to(tmp_path)) for p in paths] == ["out/b.json", "out/more/a photo.json"]
    np.save(tmp_path / "frame.npy", np.zeros(SIZE, bool))
    read = by_tool("labelme", "labelme_shapes.py", paths[1], tmp_path / "frame.npy")
    assert read.pop("image") > 0  # it found the photo
    equal(read.values())


def test_labelme_as_sam_hub_reads_it(tmp_path, labels):
    write_labels(labels[1:], tmp_path / "out", "labelme")
    sample = open_dataset(tmp_path / "out" / "more")[0]
    equal(sample.mask(i) for i in range(len(MASKS)))


def test_labelme_polygons(tmp_path, labels, by_tool):
    """labelme draws the outline too: each pixel of the mask, and at most those around it."""
    (path,) = write_labels(labels[1:], tmp_path / "out", "labelme", polygons=True)
    sample = open_dataset(tmp_path / "out" / "more")[0]
    equal(sample.mask(i) for i in range(len(MASKS)))
    np.save(tmp_path / "frame.npy", np.zeros(SIZE, bool))
    read = by_tool("labelme", "labelme_shapes.py", path, tmp_path / "frame.npy")
    read.pop("image")
    import cv2

    for found, mask in zip(read.values(), MASKS, strict=True):
        around = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        assert (found | ~mask).all() and not (found & ~around).any()


# ---------------------------------------------------------------- GeoJSON


def test_geojson(tmp_path, labels):
    shapely = pytest.importorskip("shapely")
    paths = write_labels(labels, tmp_path, "geojson")
    assert json.loads(paths[0].read_text()) == {"type": "FeatureCollection", "features": []}
    collection = json.loads(paths[1].read_text())
    found = []
    y, x = np.indices(SIZE) + 0.5
    for feature in collection["features"]:
        shape = shapely.geometry.shape(feature["geometry"])
        assert shape.is_valid
        assert all(p.exterior.is_ccw for p in getattr(shape, "geoms", [shape]))  # RFC 7946, 3.1.6
        found.append(shapely.contains_xy(shape, x, y))
        assert shape.area == feature["properties"]["area"]
    equal(found)
    assert [f["properties"]["name"] for f in collection["features"]] == NAMES


# ---------------------------------------------------------------- Label Studio


def test_labelstudio(tmp_path, labels, by_tool):
    tasks, config = write_labels(labels, tmp_path, "labelstudio")
    root = ElementTree.fromstring(config.read_text())
    assert [e.get("value") for e in root.iter("Label")] == NAMES and root[1].tag == "BrushLabels"
    first, second = json.loads(tasks.read_text())
    assert not first["predictions"][0]["result"]
    assert second["data"]["image"] == "/data/local-files/?d=more/a%20photo.png"
    assert {r["from_name"] for r in second["predictions"][0]["result"]} == {root[1].get("name")}
    read = by_tool("label_studio_sdk", "labelstudio_brush.py", tasks)
    equal(read.values())


def test_a_long_run_of_a_brush():
    """65,536 values are the longest run; a single pixel is a run of 4."""
    for mask in (np.ones((200, 400), bool), np.eye(130, 140, dtype=bool)):
        bits = np.unpackbits(np.array(brush_rle(mask_to_rle(mask)), np.uint8))
        assert int("".join(map(str, bits[:32])), 2) == 4 * mask.size
        values, at = [], 32 + 5 + 16
        while sum(n for n, _ in values) < 4 * mask.size:
            assert bits[at] == 1
            size = (3, 4, 8, 16)[2 * bits[at + 1] + bits[at + 2]]
            word = "".join(map(str, bits[at + 3 : at + 3 + size + 8]))
            values.append((int(word[:size], 2) + 1, int(word[size:], 2)))
            at += 3 + size + 8
        runs, numbers = zip(*values, strict=True)
        np.testing.assert_array_equal(np.repeat(numbers, runs).reshape(*mask.shape, 4)[..., 3] > 0, mask)


def test_labelstudio_polygons(tmp_path, labels):
    tasks, _ = write_labels(labels[1:], tmp_path, "labelstudio", polygons=True)
    masks: dict[str, np.ndarray] = {}
    for r in json.loads(tasks.read_text())[0]["predictions"][0]["result"]:
        ring = np.array(r["value"]["points"]) * [SIZE[1] / 100, SIZE[0] / 100]
        (label,) = r["value"]["polygonlabels"]
        masks[label] = masks.get(label, np.zeros(SIZE, bool)) ^ even_odd(ring)
    equal(masks[name] for name in NAMES)


def even_odd(ring: np.ndarray) -> np.ndarray:
    """The pixels whose centres lie inside a ring, by counting the edges to their left."""
    mask = np.zeros(SIZE, bool)
    y, x = np.indices(SIZE) + 0.5
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if abs(y0 - y1) > 1e-9:
            at = x0 + (y - y0) / (y1 - y0) * (x1 - x0)
            mask ^= ((y0 <= y) != (y1 <= y)) & (at < x)
    return mask


# ---------------------------------------------------------------- CVAT


def test_cvat(tmp_path, labels):
    """By cvat-sdk's decoder of masks."""
    sdk = pytest.importorskip("cvat_sdk.masks")
    (path,) = write_labels(labels, tmp_path, "cvat")
    root = ElementTree.parse(path).getroot()
    assert root.findtext("version") == "1.1"
    assert [e.findtext("name") for e in root.iter("label")] == NAMES
    images = list(root.iter("image"))
    assert [(i.get("id"), i.get("name")) for i in images] == [("0", "b.png"), ("1", "more/a photo.png")]
    found = []
    for e in images[1]:
        left, top, width, height = (int(e.get(k)) for k in ("left", "top", "width", "height"))
        points = [*map(int, e.get("rle").split(",")), left, top, left + width - 1, top + height - 1]
        found.append(sdk.decode_mask(points, image_width=SIZE[1], image_height=SIZE[0]))
    equal(found)


def test_cvat_by_datumaro(tmp_path, labels, by_tool):
    (path,) = write_labels(labels, tmp_path / "cvat", "cvat")
    for image in labels:
        copy = tmp_path / "cvat" / "images" / image.file_name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(image.path.read_bytes())
    equal(by_tool("datumaro", "cvat_datumaro.py", path.parent).values())


def test_cvat_polygons(tmp_path, labels):
    (path,) = write_labels(labels[1:], tmp_path, "cvat", polygons=True)
    masks: dict[str, np.ndarray] = {}
    for e in ElementTree.parse(path).getroot().iter("polygon"):
        ring = np.array([[float(v) for v in pair.split(",")] for pair in e.get("points").split(";")])
        masks[e.get("label")] = masks.get(e.get("label"), np.zeros(SIZE, bool)) ^ even_odd(ring)
    equal(masks[name] for name in NAMES)


# ---------------------------------------------------------------- ImageJ


def test_imagej(tmp_path, labels):
    roifile = pytest.importorskip("roifile")
    paths = write_labels(labels, tmp_path, "imagej")
    assert zipfile.ZipFile(paths[0]).namelist() == []
    regions = roifile.roiread(paths[1])
    assert [r.name.split("-")[0] for r in regions] == [f"{i:05d}" for i in range(1, len(MASKS) + 1)]
    found = []
    for r, mask in zip(regions, MASKS, strict=True):
        y, x = np.nonzero(mask)
        assert (r.left, r.top, r.right, r.bottom) == (x.min(), y.min(), x.max() + 1, y.max() + 1)
        rings = r.coordinates(multi=True)
        rings = rings if isinstance(rings, list) else [rings]
        found.append(np.logical_xor.reduce([even_odd(ring) for ring in rings]))
    equal(found)
    again = io.BytesIO(paths[1].read_bytes())
    write_labels(labels, tmp_path, "imagej")
    assert paths[1].read_bytes() == again.getvalue()


# ---------------------------------------------------------------- all of them


IN_PIXELS = [kind for kind in FORMATS if kind != "gpkg"]
"""gpkg is tested in test_maps.py."""


@pytest.mark.parametrize("kind", IN_PIXELS)
def test_no_objects_and_no_images(tmp_path, photo, kind):
    write_labels([], tmp_path / "none", kind)
    write_labels([ImageLabels("a.png", SIZE, [], photo)], tmp_path / "empty", kind)


@pytest.mark.parametrize("kind", IN_PIXELS)
def test_a_mask_of_another_size_is_named(tmp_path, photo, kind):
    for mask in (np.ones((3, 4), bool), mask_to_rle(np.ones((3, 4), bool))):
        with pytest.raises(DataError, match=r"a\.png: a mask has the s"):
            write_labels([ImageLabels("a.png", SIZE, [{"segmentation": mask}], photo)], tmp_path, kind)


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match="no label format 'xml'; choose one of labelmap, coco"):
        write_labels([], tmp_path, "xml")
    with pytest.raises(DataError, match="imagej has no option 'polygons'"):
        write_labels([], tmp_path, "imagej", polygons=True)


def test_names_stay_in_the_folder(tmp_path: Path):
    with pytest.raises(OSError, match="leads out of"):
        write_labels([labelled(apart(), "../a.png")], tmp_path / "out", "labelmap")
