"""Outlines on the map: GeoPackage and GeoJSON, burnt back into pixels by rasterio."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from sam_hub.errors import DataError
from sam_hub.labels.images import ImageLabels
from sam_hub.labels.writing import write_labels
from sam_hub.rasters.opening import georeference_of

rasterio, pyogrio, shapely = map(pytest.importorskip, ("rasterio", "pyogrio", "shapely"))
rasterize = pytest.importorskip("rasterio.features").rasterize
SIZE = (40, 60)
TRANSFORMS = {
    "north up": (0.5, 0, 500_000, 0, -0.5, 5_400_000),
    "turned": (0.3, 0.4, 500_000, 0.4, -0.3, 5_400_000),
    "south up": (2, 0, 500_000, 0, 2, 5_400_000),
}


def masks() -> list[np.ndarray]:
    found = np.zeros((3, *SIZE), bool)
    found[0, 3:20, 4:30] = True
    found[0, 6:10, 8:12] = False
    found[1, 25:30, 5:10] = found[1, 30:35, 10:20] = True  # meet at a corner
    return list(found)


@pytest.fixture(params=TRANSFORMS)
def placed(request, tmp_path) -> ImageLabels:
    """Masks of a raster that rasterio wrote; the last one is empty."""
    profile = {"driver": "GTiff", "width": SIZE[1], "height": SIZE[0], "count": 1, "dtype": "uint8"}
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(*TRANSFORMS[request.param])}
    with rasterio.open(tmp_path / "a.tif", "w", **profile, **place) as file:
        file.write(np.zeros((1, *SIZE), np.uint8))
    found = georeference_of(tmp_path / "a.tif")
    assert found.transform == TRANSFORMS[request.param] and found.authority == ("EPSG", "32632")
    objects = [{"segmentation": m, "predicted_iou": 0.9, "name": f"field {i}"} for i, m in enumerate(masks())]
    return ImageLabels("deep/a.tif", SIZE, objects, georeference=asdict(found))


@pytest.mark.parametrize("kind", ["gpkg", "geojson"])
def test_back_on_the_raster(tmp_path, placed, kind):
    (path,) = write_labels([placed], tmp_path, kind)
    assert path == tmp_path / "deep" / f"a.{kind}"
    meta, _, shapes, columns = pyogrio.raw.read(path)
    assert "32632" in meta["crs"] and len(shapes) == 2
    fields = dict(zip(meta["fields"], columns, strict=True))
    assert list(fields["id"]) == [1, 2] and list(fields["name"]) == ["field 0", "field 1"]
    for wkb, mask in zip(shapes, masks(), strict=False):
        shape = shapely.from_wkb(wkb)
        assert shape.is_valid and all(p.exterior.is_ccw for p in getattr(shape, "geoms", [shape]))
        burnt = rasterize([shape], SIZE, transform=rasterio.Affine(*placed.georeference["transform"]))
        np.testing.assert_array_equal(burnt > 0, mask)


def test_a_raster_without_a_reference_system(tmp_path, placed):
    """One sentence, after the others are written."""
    nowhere = ImageLabels("b.tif", SIZE, placed.objects)
    with pytest.raises(DataError, match=r"^b\.tif has no coordinate reference system.*gdal_edit\.py.*--format geojson"):
        write_labels([nowhere, placed], tmp_path, "gpkg")
    assert (tmp_path / "deep" / "a.gpkg").is_file() and not (tmp_path / "b.gpkg").exists()
    assert "crs" not in json.loads(write_labels([nowhere], tmp_path, "geojson")[0].read_text())


def test_a_reference_system_without_a_code(tmp_path, placed):
    own = ImageLabels("a.tif", SIZE, placed.objects, georeference={**placed.georeference, "authority": None})
    with pytest.raises(DataError, match="has no code"):
        write_labels([own], tmp_path, "geojson")
    assert write_labels([own], tmp_path, "gpkg") and not list(Path(tmp_path).glob("*.geojson"))
