"""Content of result files: masks, cut-outs, outlines, SA-1B and COCO annotations, previews.

Every function returns the content of a file; `sam_hub.ops.files.write_atomically` writes it to disk. A mask is
(H, W) bool, an image (H, W, 3) uint8 RGB.
"""

import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from .ops.drawing import PALETTE, soft_mask
from .ops.masks import mask_to_box, mask_to_polygons, mask_to_rle

CATEGORY = {"id": 1, "name": "object", "supercategory": "object"}
"""The only category: SAM outlines objects and does not name them."""


def mask_png(mask: np.ndarray) -> bytes:
    """The mask as a grey PNG of the image's size: 255 object, 0 background."""
    return _encode(Image.fromarray(mask.astype(np.uint8) * 255), "PNG")


def cutout_png(image: np.ndarray, mask: np.ndarray) -> bytes:
    """The object on a transparent background, as an RGBA PNG cropped to it, with an antialiased edge.

    The background is not stored. An empty mask gives a transparent image of the original size.
    """
    window: tuple[slice, ...] = (slice(None), slice(None))
    if mask.any():
        x0, y0, x1, y1 = (int(v) for v in mask_to_box(mask))
        window = np.s_[max(0, y0 - 1) : y1 + 2, max(0, x0 - 1) : x1 + 2]
    alpha = np.rint(soft_mask(mask[window]) * 255).astype(np.uint8)
    rgba = np.dstack([np.where(alpha[..., None] > 0, image[window], 0), alpha])
    return _encode(Image.fromarray(rgba.astype(np.uint8), "RGBA"), "PNG")


def outlines_svg(
    masks: Sequence[np.ndarray],
    exact: bool = False,
    origins: Sequence[tuple[int, int]] | None = None,
    size: tuple[int, int] | None = None,
) -> bytes:
    """The outlines as vector paths in pixels of the image, one ``<path id="object-1">`` for each mask.

    masks: at least one, all of one size
    exact: follow pixel edges; otherwise outlines are smoothed, by less than a pixel
    origins: where the first pixel of each mask is, (x, y) in an image of ``size`` (H, W)
    """
    height, width = size or masks[0].shape
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
    ]
    for i, mask in enumerate(masks):
        path = svg_path(mask, exact, origins[i] if origins else (0, 0))
        color = "#{:02x}{:02x}{:02x}".format(*PALETTE[i % len(PALETTE)])
        lines.append(
            f'<path id="object-{i + 1}" d="{path}" fill="{color}" fill-opacity="0.4" fill-rule="evenodd" '
            f'stroke="{color}" stroke-width="2" stroke-linejoin="round" vector-effect="non-scaling-stroke"/>'
        )
    return "\n".join([*lines, "</svg>", ""]).encode()


def svg_path(mask: np.ndarray, exact: bool = False, origin: tuple[int, int] = (0, 0)) -> str:
    """The outlines as the data of one SVG path, to be filled even-odd; exact, origin: as for `outlines_svg`"""
    rings = ((ring if exact else _smooth(ring)) + np.array(origin) for ring in mask_to_polygons(mask))
    return "".join(f"M{'L'.join(f'{x:g},{y:g}' for x, y in ring.tolist())}Z" for ring in rings)


def annotation(mask: np.ndarray, annotation_id: int, **fields: Any) -> dict[str, Any]:
    """One record as in SA-1B: ``id, segmentation`` (compressed COCO RLE), ``area, bbox`` and ``fields``.

    ``bbox`` is XYWH as COCO counts it: a mask of one pixel is 1 wide. (The original's records say 0.)
    """
    x0, y0, x1, y1 = (int(v) for v in mask_to_box(mask))
    area = int(np.count_nonzero(mask))
    return {
        "id": annotation_id,
        "segmentation": mask_to_rle(mask),
        "area": area,
        "bbox": [x0, y0, x1 - x0 + 1, y1 - y0 + 1] if area else [0, 0, 0, 0],
        **fields,
    }


def sa1b_document(
    file_name: str, size: tuple[int, int], annotations: Iterable[dict[str, Any]], image_id: int = 1
) -> dict[str, Any]:
    """The annotations of one image as in SA-1B; ``size`` is (H, W)."""
    height, width = size
    image = {"image_id": image_id, "file_name": file_name, "width": width, "height": height}
    return {"image": image, "annotations": list(annotations)}


def coco_document(documents: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """SA-1B documents of several images as one COCO data set; images and annotations are numbered from 1."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, document in enumerate(documents, start=1):
        image = {k: v for k, v in document["image"].items() if k != "image_id"}
        images.append({"id": image_id, **image})
        for record in document["annotations"]:
            place = {"id": len(annotations) + 1, "image_id": image_id, "category_id": CATEGORY["id"], "iscrowd": 0}
            annotations.append({**record, **place})
    return {"images": images, "annotations": annotations, "categories": [CATEGORY]}


def json_bytes(document: Any) -> bytes:
    """A JSON file in ASCII, so that file names of any encoding survive."""
    return (json.dumps(document) + "\n").encode("ascii")


def jpeg(image: np.ndarray) -> bytes:
    """A JPEG preview, without chroma subsampling so that thin lines stay sharp."""
    return _encode(Image.fromarray(image), "JPEG", quality=92, subsampling=0)


def png(image: np.ndarray, made_by: str = "") -> bytes:
    """An image, (H, W, 3) uint8, as PNG.

    made_by: recorded in it as "Software"
    """
    about = PngInfo()
    if made_by:
        about.add_text("Software", made_by)
    return _encode(Image.fromarray(image), "PNG", pnginfo=about)


def _encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _smooth(ring: np.ndarray) -> np.ndarray:
    """An outline of pixel steps (K, 2) int -> a smooth one with fewer corners, rounded to tenths of a pixel.

    Midpoints of the pixel edges are averaged over five neighbours, so that slanted edges come out straight. Outlines
    shorter than 16 pixels are returned unchanged.
    """
    edge = np.roll(ring, -1, axis=0) - ring  # along x or along y
    length = np.abs(edge).sum(axis=1)
    if length.sum() < 16:
        return ring
    along = np.arange(length.sum()) - np.repeat(length.cumsum() - length, length) + 0.5
    middles = np.repeat(ring, length, axis=0) + along[:, None] * np.repeat(np.sign(edge), length, axis=0)
    averaged = (
        sum(w * np.roll(middles, shift, axis=0) for shift, w in zip(range(-2, 3), (1, 2, 3, 2, 1), strict=True)) / 9
    )
    simple = cv2.approxPolyDP(averaged.astype(np.float32), 0.35, True)[:, 0]
    return np.round(simple.astype(np.float64), 1)
