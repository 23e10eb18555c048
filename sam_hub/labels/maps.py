"""Converts mask outlines to map coordinates."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ops.rings import Polygon

Transform = Sequence[float]
"""a, b, c, d, e, f of x = a column + b row + c, y = d column + e row + f."""


def on_earth(parts: Sequence[Polygon], transform: Transform) -> list[Polygon]:
    """Corners in pixels -> in map coordinates, (K, 2) float64, x then y, outer rings counterclockwise."""
    a, b, c, d, e, f = transform
    turned = a * e - b * d < 0  # rows run south, which reverses the orientation of rings
    found = []
    for part in parts:
        rings = []
        for ring in part:
            x, y = ring[:, 0].astype(np.float64), ring[:, 1].astype(np.float64)
            placed = np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)
            rings.append(placed[::-1] if turned else placed)
        found.append(rings)
    return found


def crs_member(georeference: dict[str, Any]) -> dict[str, Any] | None:
    """GeoJSON's member ``crs`` (2008), which GDAL and QGIS read; None for a system without a name."""
    authority = georeference.get("authority")
    if not authority:
        return None
    name = "urn:ogc:def:crs:{}::{}".format(*authority)
    return {"type": "name", "properties": {"name": name}}
