"""Reader of Label Studio's JSON: tasks with brush strokes or polygons (labelstud.io, "Label Studio JSON format")."""

from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from ..errors import DataError
from ..ops.images import MAX_PIXELS
from ..ops.masks import mask_to_rle
from ..ops.polygons import polygons_to_rle
from ..ops.run_lengths import Rle
from .documents import read_json
from .elsewhere import Described, ImagesElsewhere

WHAT = "an export of Label Studio (JSON)"


class LabelStudioTasks(ImagesElsewhere):
    """Images with human annotations, or with predictions for tasks that have no annotations.

    Brush masks are read exactly. Every region is a separate object, even regions joined by a ``parentID`` and the
    polygons with ids ending in "-1", "-2" that sam-hub writes for the parts of one object.
    raises: DataError
    """

    def __init__(self, path: str | Path, images: str | Path | None = None) -> None:
        path = Path(path)
        tasks = read_json(path, WHAT)
        if not is_tasks(tasks):
            raise DataError(f"{path} is not {WHAT}; export from Label Studio as JSON, not JSON-MIN")
        super().__init__(path, [_described(task) for task in tasks], images)

    def read_shape(self, shape: Any, size: tuple[int, int]) -> tuple[Rle, str]:
        value = shape.get("value")
        if not isinstance(value, dict):
            raise DataError("it has no value")
        names = value.get("brushlabels") or value.get("polygonlabels")
        name = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""
        name = "" if name == "object" else name
        if "rle" in value:
            return mask_to_rle(brush_mask(value["rle"], size)), name
        points = value.get("points")
        if not isinstance(points, list):
            raise DataError(f"it is of the kind {shape.get('type')!r}; brush strokes and polygons are read")
        try:
            corners = np.array(points, float) * [size[1] / 100, size[0] / 100]
        except (TypeError, ValueError, OverflowError) as e:
            raise DataError("its points are not [[x, y], ...]") from e
        return polygons_to_rle([corners.ravel().tolist()], size), name


def is_tasks(document: Any) -> bool:
    """Whether a JSON document is a list of tasks."""
    return isinstance(document, list) and bool(document) and all(isinstance(t, dict) and "data" in t for t in document)


def _described(task: dict[str, Any]) -> Described:
    data = task["data"] if isinstance(task["data"], dict) else {}
    address = next((v for v in (data.get("image"), *data.values()) if isinstance(v, str)), "")
    name = ""
    with suppress(ValueError):  # not a URL, or too many query fields
        parts = urlsplit(address)
        name = parse_qs(parts.query, max_num_fields=100).get("d", [unquote(parts.path)])[0]
    rounds = _list(task.get("annotations")) or _list(task.get("predictions"))
    last = next((r for r in reversed(rounds) if isinstance(r, dict) and not r.get("was_cancelled")), {})
    results = [r for r in _list(last.get("result")) if isinstance(r, dict) and "original_width" in r]
    sides = [(r.get("original_height"), r.get("original_width")) for r in results]
    size = next((s for s in sides if all(isinstance(side, int) for side in s)), None)
    return Described(name, size, [r for r in results if r.get("type") != "labels"])


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def brush_mask(packed: Any, size: tuple[int, int]) -> np.ndarray:
    """Decode Label Studio's brush RLE, as written by `sam_hub.labels.labelstudio.brush_rle`, to (H, W) bool.

    raises: DataError
    """
    if not isinstance(packed, list) or not all(isinstance(b, int) and 0 <= b < 256 for b in packed):
        raise DataError("its run lengths are not a list of bytes")
    bits = _Bits(packed)
    count, word = bits.take(32), bits.take(5) + 1
    if count != 4 * size[0] * size[1] or count > 4 * MAX_PIXELS:
        raise DataError(f"its run lengths have {count // 4} pixels, and the image {size[1]} x {size[0]}")
    widths = [bits.take(4) + 1 for _ in range(4)]
    values, at = np.zeros(count, np.uint8), 0
    while at < count:
        repeated = bits.take(1)
        end = at + 1 + bits.take(widths[bits.take(2)])
        if end > count:
            raise DataError("its run lengths do not cover the image")
        if repeated:
            values[at:end] = bits.take(word) > 0
        else:
            values[at:end] = [bits.take(word) > 0 for _ in range(end - at)]
        at = end
    return values.reshape(*size, 4)[..., 3] > 0


class _Bits:
    """Reads integers from a bit stream, most significant bit first."""

    def __init__(self, packed: list[int]) -> None:
        self.data, self.at = bytes(packed), 0

    def take(self, count: int) -> int:
        end = self.at + count
        if end > 8 * len(self.data):
            raise DataError("its run lengths are cut short")
        part = int.from_bytes(self.data[self.at // 8 : (end + 7) // 8])
        self.at = end
        return part >> -end % 8 & (1 << count) - 1
