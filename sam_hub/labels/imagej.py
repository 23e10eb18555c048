"""ImageJ and Fiji: a ZIP of regions of interest for each image, for the ROI Manager (imagej.net, "RoiDecoder")."""

import io
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..errors import DataError
from .images import File, ImageLabels, Labelled, numbered

MOVE, LINE, CLOSE = 0.0, 1.0, 4.0
"""Segment types of a path, as in java.awt.geom.PathIterator."""

LARGEST = 32_767
"""Maximum side in pixels: bounds of a region are signed 16-bit integers."""


def imagej_files(images: Iterable[ImageLabels]) -> Iterator[File]:
    """NAME.zip for each image, with a region for each non-empty object; corners lie on pixel edges.

    A single outline becomes a traced region; several (parts, holes) become a composite region.
    raises: DataError for an image larger than `LARGEST`
    """
    for image, objects in numbered(images):
        if max(image.size) > LARGEST:
            raise DataError(f"{image.file_name}: ImageJ's regions reach {LARGEST:,} pixels; use another format")
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for o in objects:
                if o.area:
                    name = f"{o.number:05d}-{_plain(o.name)}"
                    entry = zipfile.ZipInfo(f"{name}.roi")  # fixed date, so that equal masks give equal files
                    archive.writestr(entry, _region(o, name).tobytes(), zipfile.ZIP_DEFLATED)
        yield f"{image.stem}.zip", buffer.getvalue()


def _region(o: Labelled, name: str) -> Any:
    from roifile import ROI_TYPE, ImagejRoi

    rings = [ring for part in o.parts() for ring in part]
    x0, y0, x1, y1 = o.box
    if len(rings) == 1:
        region = ImagejRoi.frompoints(rings[0], name=name)
        region.roitype = ROI_TYPE.TRACED
    else:
        path = np.concatenate([_path(ring) for ring in rings]).astype(np.float32)
        region = ImagejRoi(roitype=ROI_TYPE.RECT, shape_roi_size=len(path), multi_coordinates=path, name=name)
    region.left, region.top, region.right, region.bottom = x0, y0, x1, y1
    return region


def _path(ring: np.ndarray) -> np.ndarray:
    steps = np.full((len(ring), 3), LINE)
    steps[0, 0] = MOVE
    steps[:, 1:] = ring
    return np.append(steps.ravel(), CLOSE)


def _plain(name: str) -> str:
    """A class name, made safe for file names."""
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in name)
