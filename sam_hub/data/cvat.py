"""Reader of CVAT's "CVAT for images 1.1": masks, polygons and boxes (docs.cvat.ai, "XML annotation format")."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from ..errors import DataError
from ..ops.masks import mask_to_rle
from ..ops.polygons import polygons_to_rle, union
from ..ops.run_lengths import Rle
from .documents import AGAIN
from .elsewhere import Described, ImagesElsewhere, whole

WHAT = "annotations of CVAT (CVAT for images 1.1)"
SHAPES = ("mask", "polygon", "box")


class CvatImages(ImagesElsewhere):
    """Images with shapes; masks are read exactly. Shapes with the same ``group_id``, other than 0, form one object.

    raises: DataError
    """

    def __init__(self, path: str | Path, images: str | Path | None = None) -> None:
        path = Path(path)
        try:
            root = ElementTree.fromstring(path.read_bytes())
        except OSError as e:
            raise DataError(f"{path} cannot be read ({e.strerror}); check its permissions and the disk") from e
        except (ElementTree.ParseError, ValueError, LookupError) as e:  # LookupError: unknown encoding
            raise DataError(f"{path} is not {WHAT} ({e}); {AGAIN}") from e
        found = [_described(image, path) for image in root.iter("image")] if root.tag == "annotations" else []
        if not found:
            raise DataError(f"{path} is not {WHAT} (it has no images); export it as CVAT for images")
        super().__init__(path, found, images)

    def read_shape(self, shape: Any, size: tuple[int, int]) -> tuple[Rle, str]:
        rles = [_read(part, size) for part in shape]
        name = shape[0].get("label", "")
        return union(rles) if len(rles) > 1 else rles[0], "" if name == "object" else name


def _described(image: ElementTree.Element, path: Path) -> Described:
    def wrong() -> DataError:
        return DataError(f"{path} is not {WHAT}; an image has no size")

    size = whole(image.get("height"), wrong), whole(image.get("width"), wrong)
    groups: dict[object, list[ElementTree.Element]] = {}
    for number, shape in enumerate(s for s in image if s.tag in SHAPES):
        group = shape.get("group_id") or "0"
        groups.setdefault(("alone", number) if group == "0" else group, []).append(shape)
    return Described(image.get("name", ""), size, list(groups.values()))


def _read(shape: ElementTree.Element, size: tuple[int, int]) -> Rle:
    """The mask of one shape. raises: DataError"""
    if shape.tag == "mask":
        return _mask(shape, size)
    try:
        if shape.tag == "box":
            x0, y0, x1, y1 = (float(shape.get(key, "")) for key in ("xtl", "ytl", "xbr", "ybr"))
            corners = [x0, y0, x1, y0, x1, y1, x0, y1]
        else:
            corners = [float(v) for pair in shape.get("points", "").split(";") for v in pair.split(",")]
    except ValueError as e:
        raise DataError(f"its corners are not numbers ({e})") from e
    return polygons_to_rle([corners], size)


def _mask(shape: ElementTree.Element, size: tuple[int, int]) -> Rle:
    def wrong() -> DataError:
        return DataError("its run lengths or its place are not whole numbers")

    x, y, w, h = (whole(shape.get(key), wrong) for key in ("left", "top", "width", "height"))
    counts = [whole(v, wrong) for v in (shape.get("rle") or "").split(",")]
    if min(x, y) < 0 or min(w, h) < 1 or x + w > size[1] or y + h > size[0]:
        raise DataError("it is not inside its image")
    if min(counts) < 0 or sum(counts) > w * h:
        raise DataError("its run lengths do not fit its box")
    runs = np.array(counts, np.int64)
    runs = np.r_[runs, w * h - runs.sum()]
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    if len(runs) % 2 == 0:  # missing pixels at the end are background
        flat[flat.size - runs[-1] :] = False
    return mask_to_rle(flat.reshape(h, w), size, (x, y))
