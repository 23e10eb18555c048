"""`write_labels`: any format by its name."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..ops.files import inside, make_folder, write_atomically
from .formats import check_format, takes, writer
from .images import ImageLabels


def write_labels(images: Iterable[ImageLabels], folder: str | Path, format: str, **options: Any) -> list[Path]:
    """Write the objects of images as another tool's files.

    images: read once, in order, one at a time
    folder: of the results; created if missing, and files in it are replaced
    format: of `FORMATS`
    options: ``polygons=True`` (coco, labelme, labelstudio, cvat): outlines instead of the exact masks that the format
        has; ``non_overlapping=True`` (labelmap): each pixel goes to the smallest mask that contains it
    returns: the files, in the order in which they were written
    raises: DataError for an unknown format, and for masks that it cannot hold; OutputError where nothing can be
        written. Files that were written before stay.
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
