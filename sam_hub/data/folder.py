"""Reader of folders of images and mask files, in the common layouts.

::

    DIR/images/a.jpg  DIR/masks/a.png            one mask file for each image, or a_1.png, a_2.png, ...
    DIR/images/a.jpg  DIR/masks/a/1.png          a folder of mask files for each image
    DIR/a/images/a.png  DIR/a/masks/1.png        a folder for each image (Data Science Bowl 2018)
    DIR/a.jpg  DIR/a.mask.png                    side by side, as `sam-hub segment` writes; a.mask-1.png, a_mask.png

How a mask file is interpreted:

- two values: nonzero pixels are one object (with ``parts``, each connected component is one);
- more values (8 or 16 bits, or palette indices): each nonzero value is one object;
- mostly 0 and 255 with greys between them: a mask with soft edges; pixels above 127 are one object. JPEGs and lossy
  WebPs are only read this way, as compression changes values;
- colours: each colour except black is one object;
- PASCAL VOC (a folder ``SegmentationObject``, or its palette): each index except 0 is one object; 255 is void, the
  border around objects, which belongs to none.
"""

import re
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..errors import DataError
from ..ops.images import picture_file, pixel_limit
from ..ops.masks import mask_to_rle
from .annotated import IMAGE_SUFFIXES, AnnotatedImages, annotation_of

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "JPEGImages")
MASK_FOLDERS = ("masks", "mask", "labels", "labelmap", "SegmentationObject")
MASK_NAME = re.compile(r"[._-](?:masks?|labels?|gt)(?:[._-]?\d+(?:-[\w-]+)?)?$", re.IGNORECASE)
"""Suffix of a mask's name in the image's folder; a name may follow the number, as in the demo's downloads."""

NUMBERED = re.compile(r"(?:[._-](?:masks?|labels?|gt)(?:[._-]?\d+-[\w-]+)?)?(?:[._-]?\d+)?$", re.IGNORECASE)
"""Allowed suffix after the image's name in a folder of masks."""

VOC_FOLDER = "SegmentationObject"
VOID = 255
VOC_PALETTE = {0: (0, 0, 0), 1: (128, 0, 0), VOID: (224, 224, 192)}
"""Colours that identify PASCAL VOC's palette."""

SOFT_SHARE = 0.9
"""If at least this share of the pixels is 0 or 255, the others are soft edges."""

LOSSY = ("JPEG", "MPO")
NEAR = 48
"""How far JPEG compression shifts values from 0 and 255."""

FLAT = 8
"""A square with this side in pixels, and at most this range of values, is inside an object, not at an edge."""


class MaskFolder(AnnotatedImages):
    """Images with separate mask files.

    path: a folder in one of the layouts above
    parts: treat each connected component of a two-valued mask as an object
    unmatched: images without any mask file; they are not among the samples
    raises: DataError if no image has a mask
    """

    def __init__(self, path: str | Path, parts: bool = False) -> None:
        self.path, self.parts = Path(path), parts
        pairs = _pairs(self.path)
        self.unmatched = sorted(str(image) for image, masks in pairs.items() if not masks)
        self._pairs = sorted((image, masks) for image, masks in pairs.items() if masks)
        if not self._pairs:
            raise DataError(
                f"{self.path} holds no image with a mask; expected images/ and masks/ with files of the same names, "
                "or NAME.mask.png beside NAME.jpg"
            )

    def __len__(self) -> int:
        return len(self._pairs)

    def image_path(self, index: int) -> Path:
        return self._pairs[index][0]

    def objects(self, index: int, size: tuple[int, int]) -> list[dict]:
        found = []
        for path in self._pairs[index][1]:
            (height, width), annotations = read_mask_file(path, self.parts)
            if (height, width) != size:
                raise DataError(
                    f"{path} is {width} x {height} pixels and its image {size[1]} x {size[0]}; "
                    "they must be the same size"
                )
            found += annotations
        return found


def _pairs(folder: Path) -> dict[Path, list[Path]]:
    """Image -> its mask files, in the order of their names."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; give one that holds images and masks")
    images, masks = _first(folder, IMAGE_FOLDERS), _first(folder, MASK_FOLDERS)
    if images and masks:
        return _match(_pictures(images), masks)
    nested = [d for d in sorted(folder.iterdir()) if _first(d, IMAGE_FOLDERS) and _first(d, MASK_FOLDERS)]
    if nested:
        return {
            image: _pictures(_first(d, MASK_FOLDERS)) for d in nested for image in _pictures(_first(d, IMAGE_FOLDERS))
        }
    files = _pictures(folder)
    drawn = [f for f in files if MASK_NAME.search(f.stem)]
    return _assign([f for f in files if f not in drawn], drawn, MASK_NAME)


def _match(images: list[Path], folder: Path) -> dict[Path, list[Path]]:
    folders = {d.name: d for d in folder.iterdir() if d.is_dir()}
    if any(image.stem in folders for image in images):
        return {image: _pictures(folders[image.stem]) if image.stem in folders else [] for image in images}
    return _assign(images, _pictures(folder), NUMBERED)


def _assign(images: list[Path], masks: list[Path], ending: re.Pattern) -> dict[Path, list[Path]]:
    """Assign each mask to the image with the longest name that is a prefix of the mask's name."""
    found: dict[Path, list[Path]] = {image: [] for image in images}
    by_stem = {image.stem: image for image in images}
    for mask in masks:
        stems = (mask.stem[:end] for end in range(len(mask.stem), 0, -1))
        fits = (s for s in stems if s in by_stem and ending.fullmatch(mask.stem[len(s) :]))
        if (stem := next(fits, None)) is not None:
            found[by_stem[stem]].append(mask)
    return found


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / n for n in names if (folder / n).is_dir() and any((folder / n).iterdir())), None)


def _pictures(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))


def read_mask_file(path: Path, parts: bool = False) -> tuple[tuple[int, int], list[dict]]:
    """Read a mask file: its size (H, W) and its objects as annotations; a blank file gives one empty mask.

    parts: treat each 8-connected component of a two-valued mask as an object
    raises: DataError
    """
    try:
        with picture_file(path) as picture:
            if picture.width * picture.height > pixel_limit():
                raise ValueError(f"it has more than {pixel_limit() // 1_000_000} million pixels")
            is_lossy = picture.format in LOSSY or (picture.format == "WEBP" and _is_lossy_webp(path))
            kind = picture.format
            in_voc = path.parent.name == VOC_FOLDER or _has_voc_palette(picture)
            voc = in_voc and not is_lossy and picture.mode in ("P", "L")
            mode = "L" if is_lossy else "RGBA" if picture.mode in ("LA", "PA", "CMYK") else picture.mode
            values = np.asarray(picture if mode == picture.mode else picture.convert(mode))
    except Exception as e:  # Pillow may raise any exception on damaged files
        raise DataError(f"{path} is not a readable mask ({e})") from e
    if voc:
        values = np.where(values == VOID, 0, values)
        return values.shape, annotations_of_values(values) or [annotation_of(values != 0)]
    if values.ndim == 3:
        colours = values[..., :3].astype(np.uint32)
        grey = (colours == colours[..., :1]).all()
        values = colours[..., 0] if grey else colours @ np.array([65536, 256, 1], np.uint32)
    distinct = np.unique(values)
    distinct = distinct[distinct != 0]
    if is_lossy and not _is_two_valued(values):
        name = "lossy WebP" if kind == "WEBP" else "JPEG"
        raise DataError(f"{path} is a {name}, which changes the numbers of objects; save masks as PNG")
    has_edges = len(distinct) > 1 and distinct[-1] == 255 and np.isin(values, (0, 255)).mean() >= SOFT_SHARE
    soft = is_lossy or has_edges
    if soft or len(distinct) <= 1:
        mask = values > 127 if soft else values != 0
        if not (parts and mask.any()):
            return mask.shape, [annotation_of(mask)]
        values = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[1]
    return values.shape, annotations_of_values(values)


def _is_two_valued(levels: np.ndarray) -> bool:
    """Whether (H, W) uint8 was black and white before its compression: greys only at edges, or one value alone."""
    if levels.min() == levels.max():
        return levels[0, 0] < NEAR or levels[0, 0] > 255 - NEAR
    window = np.ones((FLAT, FLAT), np.uint8)
    low, high = cv2.erode(levels, window), cv2.dilate(levels, window)
    is_flat_grey = (high - low <= FLAT) & (low > FLAT) & (high < 255 - FLAT)
    ends = (levels < NEAR) | (levels > 255 - NEAR)
    return levels.max() > 255 - NEAR and ends.mean() >= SOFT_SHARE and not is_flat_grey.any()


def _is_lossy_webp(path: Path) -> bool:
    """Whether the first picture of the file is a chunk ``VP8 ``, and not ``VP8L`` (RFC 9649)."""
    with path.open("rb") as file:
        file.seek(12)
        while len(head := file.read(8)) == 8:
            if head[:4] in (b"VP8 ", b"VP8L"):
                return head[:4] == b"VP8 "
            size = int.from_bytes(head[4:], "little")
            file.seek(size + size % 2, 1)
    return False


def _has_voc_palette(picture: Image.Image) -> bool:
    if picture.mode != "P":
        return False
    colours = picture.getpalette("RGB")
    return all(tuple(colours[3 * i : 3 * i + 3]) == colour for i, colour in VOC_PALETTE.items())


def annotations_of_values(values: np.ndarray) -> list[dict]:
    """Each nonzero value of an (H, W) label map as an annotation, in ascending order; fast for thousands of objects."""
    height, width = values.shape
    flat = values.ravel()
    order = np.argsort(flat, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(flat[order].astype(np.int64)) != 0])
    found = []
    for pixels in np.split(order, starts[1:]):
        if flat[pixels[0]] == 0:
            continue
        rows, columns = pixels // width, pixels % width
        y, x, h, w = rows[0], columns.min(), rows[-1] - rows[0] + 1, np.ptp(columns) + 1
        window = values[y : y + h, x : x + w] == flat[pixels[0]]
        rle = mask_to_rle(window, (height, width), (int(x), int(y)))
        found.append({"segmentation": rle, "bbox": [int(x), int(y), int(w), int(h)]})
    return found
