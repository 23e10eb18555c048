"""Label Studio: tasks with pre-annotations (labelstud.io, "Import pre-annotations"), as brush strokes or polygons."""

import json
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np

from ..ops.masks import Rle, rle_to_window
from .images import File, ImageLabels, Labelled, numbered

PLACE = "/data/local-files/?d="
"""URL of a file below Label Studio's LOCAL_FILES_DOCUMENT_ROOT."""

RUN_BITS = (3, 4, 8, 16)
"""Bit widths for run lengths; each run uses the smallest that fits."""


def labelstudio_files(images: Iterable[ImageLabels], *, polygons: bool = False) -> Iterator[File]:
    """tasks.json of all images, and labels.xml, the project's labelling configuration.

    Images are referenced as local files: their common folder must be Label Studio's document root.
    polygons: write "polygonlabels", with corners in percent of the image and holes cut into their outline; default:
        "brushlabels", which are exact
    """
    names: dict[str, None] = {}
    yield "tasks.json", _tasks(images, polygons, names)
    labels = "".join(f"<Label value={quoteattr(name)}/>" for name in names)
    tag = "PolygonLabels" if polygons else "BrushLabels"
    view = f'<Image name="image" value="$image"/><{tag} name="label" toName="image">{labels}</{tag}>'
    yield "labels.xml", f"<View>{view}</View>\n".encode()


def _tasks(images: Iterable[ImageLabels], polygons: bool, names: dict[str, None]) -> Iterator[bytes]:
    yield b"["
    for i, (image, objects) in enumerate(numbered(images)):
        results = []
        for o in objects:
            names[o.name] = None
            results += _results(o, image, polygons)
        prediction = {"model_version": "sam-hub", "result": results}
        task = {"data": {"image": PLACE + quote(image.file_name)}, "predictions": [prediction]}
        yield (",\n" if i else "\n").encode() + json.dumps(task).encode("ascii")
    yield b"\n]\n"


def _results(o: Labelled, image: ImageLabels, polygons: bool) -> Iterator[dict[str, Any]]:
    height, width = image.size
    common = {
        "from_name": "label",
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
    }
    if "predicted_iou" in o.facts:
        common["score"] = o.facts["predicted_iou"]
    if not polygons:
        if o.area:
            value = {"format": "rle", "rle": brush_rle(o.rle), "brushlabels": [o.name]}
            yield {"id": str(o.number), "type": "brushlabels", **common, "value": value}
        return
    for part, ring in enumerate(o.rings(), start=1):
        points = (ring * [100 / width, 100 / height]).tolist()
        value = {"points": points, "closed": True, "polygonlabels": [o.name]}
        yield {"id": f"{o.number}-{part}", "type": "polygonlabels", **common, "value": value}


def brush_rle(rle: Rle) -> list[int]:
    """A mask as Label Studio's brush RLE, a list of bytes.

    The mask is a row-major RGBA image, with four times 255 or 0 per pixel, packed as by thi.ng/rle-pack: the number of
    values in 32 bits, the bits per value minus 1 in 5, each of `RUN_BITS` minus 1 in 4; then for each run a 1, the
    index of its width in `RUN_BITS` in 2 bits, its length minus 1, and its value.
    """
    height, width = (int(side) for side in rle["size"])
    head = [(4 * height * width, 32), (7, 5), *((bits - 1, 4) for bits in RUN_BITS)]
    words, sizes = (np.array(v, np.int64) for v in zip(*head, strict=True))
    runs, values = _row_runs(rle)
    longest = 1 << RUN_BITS[-1]
    pieces = -(-runs // longest)
    lengths = np.full(pieces.sum(), longest, np.int64)
    lengths[pieces.cumsum() - 1] = runs - (pieces - 1) * longest
    values = np.repeat(values, pieces)
    place = np.searchsorted([1 << bits for bits in RUN_BITS], lengths)
    bits = np.array(RUN_BITS, np.int64)[place]
    run_words = (((4 | place) << bits | (lengths - 1)) << 8) | values  # 1, index of width, length - 1, value
    return _packed(np.concatenate([words, run_words]), np.concatenate([sizes, 3 + bits + 8]))


def _row_runs(rle: Rle) -> tuple[np.ndarray, np.ndarray]:
    """Column-major run lengths -> lengths, in RGBA values, and values of the row-major runs."""
    height, width = (int(side) for side in rle["size"])
    mask, (x0, y0) = rle_to_window(rle)
    beside = np.pad(mask, ((0, 0), (1, 1)))
    row, column = np.nonzero(beside[:, 1:] != beside[:, :-1])  # starts and ends of runs, alternating
    edges = (row + y0) * width + column + x0
    on = np.flatnonzero(edges[1:] == edges[:-1])  # a run that continues in the next row
    edges = np.delete(edges, np.r_[on, on + 1])
    runs = np.diff(edges, prepend=0, append=height * width)
    values = np.arange(len(runs)) % 2 * 255
    return 4 * runs[runs > 0], values[runs > 0]


def _packed(words: np.ndarray, sizes: np.ndarray) -> list[int]:
    """Pack numbers, each in ``sizes`` bits, into bytes; the last byte is padded with zeros."""
    ends = sizes.cumsum()
    shift = np.repeat(ends, sizes) - 1 - np.arange(ends[-1])  # of each bit, from the last bit of its word
    return np.packbits((np.repeat(words, sizes) >> shift & 1).astype(np.uint8)).tolist()
