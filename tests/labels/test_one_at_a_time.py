"""Writing takes the memory of one mask: a 20,000 x 20,000 image may have thousands of large ones."""

import gc
import tracemalloc
import weakref
from pathlib import Path

import numpy as np
import pytest

from sam_hub.annotation.stored import StoredAnnotations, annotation_lines, read_annotations
from sam_hub.errors import DataError
from sam_hub.labels import images as module
from sam_hub.labels.images import ImageLabels
from sam_hub.labels.writing import write_labels
from sam_hub.ops.masks import mask_to_rle

SIZE = (60, 80)
PLACE = {"crs": "", "transform": (1, 0, 0, 0, -1, 0), "authority": ("EPSG", "32632")}


def records(count: int) -> list[dict]:
    """Squares in rows that do not overlap."""
    found = []
    for k in range(count):
        mask = np.zeros(SIZE, bool)
        mask[6 * (k // 10) : 6 * (k // 10) + 5, 8 * (k % 10) : 8 * (k % 10) + 7] = True
        found.append({"id": k + 1, "segmentation": mask_to_rle(mask), "area": 35, "predicted_iou": 0.5})
    return found


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("labelmap", {}),
        ("labelmap", {"non_overlapping": True}),
        ("coco", {"polygons": True}),
        ("geojson", {}),
        ("gpkg", {}),
        ("cvat", {}),
        ("cvat", {"polygons": True}),
        ("labelme", {}),
        ("labelstudio", {"polygons": True}),
        ("imagej", {}),
    ],
)
def test_one_mask_is_unpacked_at_a_time(format, options, tmp_path, monkeypatch):
    for needed in {"gpkg": ("pyogrio", "shapely"), "imagej": ("roifile",)}.get(format, ()):
        pytest.importorskip(needed)
    crs = pytest.importorskip("rasterio.crs").CRS.from_epsg(32632).to_wkt() if format == "gpkg" else ""
    alive, most, unpack = [], [], module.rle_to_window

    def watched(*arguments):
        window, origin = unpack(*arguments)
        alive.append(weakref.ref(window))
        most.append(sum(one() is not None for one in alive))
        return window, origin

    monkeypatch.setattr(module, "rle_to_window", watched)
    gc.collect()
    write_labels(
        [ImageLabels("a.png", SIZE, records(60), georeference={**PLACE, "crs": crs})], tmp_path, format, **options
    )
    assert len(most) >= 60 and max(most) <= 2


def test_annotations_are_read_one_at_a_time(tmp_path: Path):
    image = {"image_id": 1, "file_name": "a.png", "width": SIZE[1], "height": SIZE[0]}
    many = [{"id": k, "segmentation": {"size": list(SIZE), "counts": "x" * 20_000}} for k in range(1, 301)]
    path = tmp_path / "a.json"
    path.write_bytes(b"".join(annotation_lines(image, many)))
    tracemalloc.start()
    document = read_annotations(path)
    numbers = [record["id"] for record in document["annotations"]]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert numbers == list(range(1, 301)) and path.stat().st_size > 6e6
    assert peak < 1e6
    found = document["annotations"]
    assert isinstance(found, StoredAnnotations)
    assert len(found) == 300 and found[-1] == many[-1] and found[3:5] == many[3:5] and list(found) == many
    assert document["image"] == image


def test_a_file_without_annotations_and_damaged_ones(tmp_path: Path):
    image = {"image_id": 1, "file_name": "a.png", "width": 3, "height": 2}
    path = tmp_path / "a.json"
    whole = b"".join(annotation_lines(image, [{"id": 1}, {"id": 2}]))
    path.write_bytes(b"".join(annotation_lines(image, [])))
    assert list(read_annotations(path)["annotations"]) == []
    for damaged in (whole[:-3], whole[:-10], whole[:20], b""):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"a\.json is damaged .*--resume"):
            read_annotations(path)
    path.write_bytes(whole.replace(b'{"id": 2}', b'{"id": }}'))
    with pytest.raises(DataError, match=r"a\.json is damaged .*--resume"):
        list(read_annotations(path)["annotations"])
