"""GeoPackage (OGC 12-128r19): a layer of outlines in the image's coordinate reference system."""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ..errors import DataError
from .images import File, ImageLabels, Labelled, numbered
from .maps import on_earth

LAYER = "objects"
COLUMNS = (("id", np.int64), ("name", object), ("area", np.int64))
SCORES = ("predicted_iou", "stability_score")


def gpkg_files(images: Iterable[ImageLabels]) -> Iterator[File]:
    """NAME.gpkg for each georeferenced image, with a MultiPolygon for each non-empty object.

    raises: DataError, after all other images are written, naming the images without a coordinate reference system
    """
    missing = []
    for image, objects in numbered(images):
        if image.georeference is None:
            missing.append(image.file_name)
            continue
        yield f"{image.stem}.gpkg", _layer(image, objects)
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(
            f"{missing[0]}{more} has no coordinate reference system, so a GeoPackage cannot say where its objects "
            "are; give it one (gdal_edit.py -a_srs), or write --format geojson, in pixels"
        )


def _layer(image: ImageLabels, objects: Iterable[Labelled]) -> bytes:
    import pyogrio
    import shapely

    place = image.georeference
    shapes, rows = [], []
    for o in objects:
        if not o.area:
            continue
        parts = [(part[0], part[1:]) for part in on_earth(o.parts(), place["transform"])]
        shapes.append(shapely.to_wkb(shapely.MultiPolygon(parts)))
        rows.append([o.number, o.name, o.area, *(o.facts.get(fact, np.nan) for fact in SCORES)])
    columns = {
        name: np.array([row[k] for row in rows], kind)
        for k, (name, kind) in enumerate([*COLUMNS, *((fact, np.float64) for fact in SCORES)])
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.gpkg")
        pyogrio.raw.write(
            path,
            np.array(shapes, object),
            list(columns.values()),
            list(columns),
            layer=LAYER,
            driver="GPKG",
            geometry_type="MultiPolygon",
            crs=place["crs"],
        )
        return path.read_bytes()
