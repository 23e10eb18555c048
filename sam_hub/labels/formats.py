"""The label formats by name, and their requirements; formats are imported on first use."""

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any

from ..errors import DataError
from ..ops.packages import require

FORMATS: dict[str, str] = {
    "labelmap": "sam_hub.labels.labelmap:labelmap_files",
    "coco": "sam_hub.labels.coco:coco_files",
    "yolo": "sam_hub.labels.yolo:yolo_files",
    "labelme": "sam_hub.labels.labelme:labelme_files",
    "geojson": "sam_hub.labels.geojson:geojson_files",
    "gpkg": "sam_hub.labels.gpkg:gpkg_files",
    "labelstudio": "sam_hub.labels.labelstudio:labelstudio_files",
    "cvat": "sam_hub.labels.cvat:cvat_files",
    "imagej": "sam_hub.labels.imagej:imagej_files",
}
"""Name of a format -> the function that writes its files."""


NEEDS = {"imagej": ("science", ["roifile"]), "gpkg": ("geo", ["pyogrio", "shapely"])}
"""Name of a format -> the extra that it needs, and the extra's packages."""


def check_format(format: str) -> None:
    """Check early that a format is known and installed. raises: DataError, as `writer`; SamHubError"""
    writer(format)
    extra, packages = NEEDS.get(format, ("", ()))
    require(f"the format {format}", packages, extra)


def writer(format: str) -> Callable[..., Any]:
    """The function that writes a format's files. raises: DataError, listing the formats, for an unknown one"""
    if format not in FORMATS:
        raise DataError(f"there is no label format {format!r}; choose one of {', '.join(FORMATS)}")
    module, _, name = FORMATS[format].partition(":")
    return getattr(import_module(module), name)


def takes(format: str, option: str) -> bool:
    """Whether a format supports an option: "polygons" or "non_overlapping"."""
    return option in inspect.signature(writer(format)).parameters
