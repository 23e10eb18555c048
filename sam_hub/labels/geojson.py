"""GeoJSON in pixels of the image (RFC 7946), as QuPath and GIS programs read it; y goes down."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from .images import File, ImageLabels, Labelled, numbered


def geojson_files(images: Iterable[ImageLabels]) -> Iterator[File]:
    """NAME.geojson of each image: a feature for each object that has pixels.

    Polygons run along the edges of pixels, with holes, and are valid; the pixels whose centres they contain are the
    mask, bit for bit. ``objectType`` and ``classification`` are QuPath's.
    """
    for image, objects in numbered(images):
        yield f"{image.stem}.geojson", _collection(objects)


def _collection(objects: Iterable[Labelled]) -> Iterator[bytes]:
    yield b'{"type": "FeatureCollection", "features": ['
    first = True
    for o in objects:
        if (geometry := geometry_of(o.parts())) is None:
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
    """Polygons with holes -> a Polygon or MultiPolygon, with every ring closed; None where there is none."""
    coordinates = [[[*ring.tolist(), ring[0].tolist()] for ring in part] for part in parts]
    if len(coordinates) > 1:
        return {"type": "MultiPolygon", "coordinates": coordinates}
    return {"type": "Polygon", "coordinates": coordinates[0]} if coordinates else None
