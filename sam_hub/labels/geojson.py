"""GeoJSON (RFC 7946): outlines in pixels, y down, as in QuPath, or in map coordinates."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..errors import DataError
from .images import File, ImageLabels, Labelled, numbered
from .maps import crs_member, on_earth


def geojson_files(images: Iterable[ImageLabels]) -> Iterator[File]:
    """NAME.geojson for each image, with a feature for each non-empty object.

    Polygons run along pixel edges, with holes, and are valid; the pixels whose centres they contain are exactly the
    mask. ``objectType`` and ``classification`` are QuPath's.
    Georeferenced images use coordinates of their reference system, named by the member ``crs`` that GDAL and QGIS read.
    raises: DataError for a reference system without a code, which the format cannot represent
    """
    for image, objects in numbered(images):
        yield f"{image.stem}.geojson", _collection(image, objects)


def _collection(image: ImageLabels, objects: Iterable[Labelled]) -> Iterator[bytes]:
    place = image.georeference
    if place is not None and (crs := crs_member(place)) is None:
        raise DataError(
            f"{image.file_name}: its coordinate reference system has no code that GeoJSON can name; write --format gpkg"
        )
    yield b'{"type": "FeatureCollection", '
    if place is not None:
        yield b'"crs": ' + json.dumps(crs).encode("ascii") + b", "
    yield b'"features": ['
    first = True
    for o in objects:
        parts = o.parts() if place is None else on_earth(o.parts(), place["transform"])
        if (geometry := geometry_of(parts)) is None:
            continue
        properties = {
            "id": o.number,
            "name": o.name,
            "area": o.area,
            **o.facts,
            "objectType": "annotation",
            "classification": {"name": o.name},
        }
        feature = {"type": "Feature", "geometry": geometry, "properties": properties}
        yield ("\n" if first else ",\n").encode() + json.dumps(feature).encode("ascii")
        first = False
    yield b"\n]}\n"


def geometry_of(parts: list[list[np.ndarray]]) -> dict[str, Any] | None:
    """Polygons with holes -> a Polygon or MultiPolygon with closed rings, or None if there are none."""
    coordinates = [[[*ring.tolist(), ring[0].tolist()] for ring in part] for part in parts]
    if len(coordinates) > 1:
        return {"type": "MultiPolygon", "coordinates": coordinates}
    return {"type": "Polygon", "coordinates": coordinates[0]} if coordinates else None
