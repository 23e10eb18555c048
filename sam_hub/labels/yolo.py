"""YOLO segmentation labels: a line ``class x y x y ...`` for one polygon in fractions of width and height.

The format has neither holes nor multiple parts, so all outlines of a mask are joined into one ring, by zero-width
bridges between their nearest corners; the ring encloses exactly the mask.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

import cv2
import numpy as np

from ..errors import DataError
from ..ops.images import read_image
from ..ops.masks import mask_to_box, mask_to_polygons
from ..ops.rings import join_ring, shoelace
from ..results import CATEGORY, png
from .images import File, ImageLabels, numbered

TOLERANCE = 0.7
"""Maximum deviation of the simplified outline, in pixels."""
CORNERS = 10_000
"""Maximum corners of a ring with joined rings, as the search for nearest corners is quadratic."""

COPIED = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
"""Suffixes of image files that are copied unchanged; others are converted to PNG."""


def yolo_files(images: Iterable[ImageLabels]) -> Iterator[File]:
    """images/NAME and labels/NAME.txt for each image, and data.yaml; images must have paths.

    Outlines deviate from the masks by up to a pixel; masks with more than `CORNERS` corners lose small parts.
    raises: DataError for an image without a path; ImageError for an unreadable one
    """
    names: dict[str, int] = {}
    for image, objects in numbered(images):
        if image.path is None:
            raise DataError(f"{image.file_name}: YOLO needs a copy of each image; say where the image is")
        suffix = PurePosixPath(image.file_name).suffix
        if suffix.lower() in COPIED:
            yield f"images/{image.stem}{suffix}", image.path.read_bytes()
        else:
            yield f"images/{image.stem}.png", png(read_image(image.path))
        lines = []
        for o in objects:
            mask, origin = o.window
            label = names.setdefault(o.name, len(names))
            lines.append(label_line(mask, label, image.size, origin))
        yield f"labels/{image.stem}.txt", "".join(f"{line}\n" for line in lines if line).encode()
    yield "data.yaml", data_yaml(list(names) or [str(CATEGORY["name"])]).encode()


def label_line(
    mask: np.ndarray, label: int, size: tuple[int, int] | None = None, origin: tuple[int, int] = (0, 0)
) -> str:
    """The label line of a mask (h, w) bool; empty for an empty mask.

    size: (H, W) of the image; default: the mask's; origin: (x, y) of the mask's first pixel in the image
    """
    ring = single_ring(mask)
    if ring is None:
        return ""
    height, width = size or mask.shape
    numbers = ((ring + np.array(origin)) / [width, height]).clip(0, 1).ravel()
    return f"{label} " + " ".join(f"{v:.6f}".rstrip("0").rstrip(".") for v in numbers)


def data_yaml(names: Sequence[str]) -> str:
    """The data set description required by YOLO tools."""
    lines = [f"  {i}: {quoted(name)}" for i, name in enumerate(names)]
    return "\n".join(["path: .", "train: images", "val: images", "names:", *lines, ""])


def quoted(text: str) -> str:
    """A text as a double-quoted YAML string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def single_ring(mask: np.ndarray) -> np.ndarray | None:
    """All outlines of a mask as one closed ring (K, 2), x then y, in pixels; None for an empty mask.

    With more than `CORNERS` corners, the smallest islands and holes are dropped.
    """
    if not mask.any():
        return None
    x0, y0, x1, y1 = mask_to_box(mask).tolist()
    rings = [_simple(ring) for ring in mask_to_polygons(mask[y0 : y1 + 1, x0 : x1 + 1])]
    rings.sort(key=lambda r: -abs(shoelace(r)))
    joined = rings[0]
    for ring in rings[1:]:
        if len(joined) + len(ring) + 2 > CORNERS:
            break
        joined = join_ring(joined, ring)
    return joined + np.array([x0, y0])


def _simple(ring: np.ndarray) -> np.ndarray:
    simple = cv2.approxPolyDP(ring.astype(np.int32).reshape(-1, 1, 2), TOLERANCE, True)[:, 0]
    return (simple if len(simple) > 2 else ring).astype(np.float64)
