"""CVAT: annotations.xml in the format "CVAT for images 1.1" (docs.cvat.ai, "XML annotation format")."""

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from .images import File, ImageLabels, Labelled, numbered

IN_MEMORY = 2**24
"""Bytes of XML kept in memory (the rest goes to disk) until all class names are known."""


def cvat_files(images: Iterable[ImageLabels], *, polygons: bool = False) -> Iterator[File]:
    """annotations.xml of all images; CVAT needs a task with images of the same names to import it.

    polygons: write polygons; parts of one object share a ``group_id``, and holes are cut into their outline; default:
        shapes of type "mask", which are exact
    """
    yield "annotations.xml", _xml(images, polygons)


def _xml(images: Iterable[ImageLabels], polygons: bool) -> Iterator[bytes]:
    names: dict[str, None] = {}
    with tempfile.SpooledTemporaryFile(IN_MEMORY) as body:
        count = 0
        for image, objects in numbered(images):
            height, width = image.size
            place = f'id="{count}" name={quoteattr(image.file_name)} width="{width}" height="{height}"'
            body.write(f"  <image {place}>\n".encode())
            for o in objects:
                names[o.name] = None
                for shape in _polygons(o) if polygons else _mask(o):
                    body.write(shape.encode())
            body.write(b"  </image>\n")
            count += 1
        labels = "".join(f"<label><name>{escape(name)}</name></label>" for name in names)
        yield (
            '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
            f"  <meta><task><size>{count}</size><mode>annotation</mode><labels>{labels}</labels></task></meta>\n"
        ).encode()
        body.seek(0)
        while block := body.read(shutil.COPY_BUFSIZE):
            yield block
    yield b"</annotations>\n"


def _mask(o: Labelled) -> Iterator[str]:
    mask, (x, y) = o.window
    if not mask.size:
        return
    runs = ", ".join(map(str, row_runs(mask)))
    place = f'left="{x}" top="{y}" width="{mask.shape[1]}" height="{mask.shape[0]}"'
    yield f'    <mask label={quoteattr(o.name)} source="auto" occluded="0" rle="{runs}" {place} z_order="0"></mask>\n'


def _polygons(o: Labelled) -> Iterator[str]:
    rings = o.rings()
    group = f' group_id="{o.number}"' if len(rings) > 1 else ""
    for ring in rings:
        points = ";".join(f"{x}.0,{y}.0" for x, y in ring.tolist())
        shape = f'source="auto" occluded="0" points="{points}" z_order="0"{group}'
        yield f"    <polygon label={quoteattr(o.name)} {shape}></polygon>\n"


def row_runs(mask: np.ndarray) -> list[int]:
    """Row-major run lengths of (h, w) bool, starting with zeros, whose first run may be 0."""
    flat = np.r_[False, mask.ravel()]
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.r_[0, changes, mask.size]).tolist()
