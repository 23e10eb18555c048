"""`write_labels` writes any format by name."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..ops.files import inside, make_folder, write_atomically
from .formats import check_format, takes, writer
from .images import ImageLabels


def write_labels(images: Iterable[ImageLabels], folder: str | Path, format: str, **options: Any) -> list[Path]:
    """Write the objects of images in another tool's format.

    images: iterated once, one at a time
    folder: output folder; created if missing; existing files are replaced
    format: one of `FORMATS`
    options: ``polygons=True`` (coco, labelme, labelstudio, cvat): polygons instead of exact masks;
        ``non_overlapping=True`` (labelmap): each pixel goes to the smallest mask that contains it
    returns: paths of the files, in the order of writing
    raises: DataError for an unknown format, and for masks that it cannot represent; OutputError if a file cannot be
        written. Files written before the error remain.
    """
    check_format(format)
    make = writer(format)
    for option in options:
        if not takes(format, option):
            raise DataError(f"the format {format} has no option {option!r}")
    if takes(format, "folder"):
        options["folder"] = Path(folder)
    written = []
    for name, content in make(images, **options):
        path = inside(folder, name)
        make_folder(path.parent)
        write_atomically(path, content)
        written.append(path)
    return written
