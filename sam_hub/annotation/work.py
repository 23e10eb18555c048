"""Annotates one photo and writes its annotations and preview; the same code for local runs and Ray."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np

from ..errors import ImageError, OutputError, SamHubError, WrongUsage
from ..inference.amg import SamAutomaticMaskGenerator
from ..inference.image_predictor import ImagePredictor
from ..ops.bands import Bands
from ..ops.drawing import draw_masks
from ..ops.files import make_folder, write_atomically
from ..ops.images import read_image, resize_longest_side
from ..ops.masks import rle_to_mask
from ..ops.value_range import ValueRange
from ..rasters.opening import georeference_of
from ..results import jpeg, json_bytes, sa1b_document
from ..tiling.picture import Picture
from .plan import Photo, masks_path, preview_path
from .tiles import TiledPicture

PREVIEW_SIDE = 1280
"""Longest side of a preview, in pixels."""

MAX_SIDE, MAX_ASPECT = 65_500, 200
"""Maximum longer side in pixels, and maximum aspect ratio; beyond them masks take gigabytes."""

Progress = Callable[[float], None]
"""Called with the finished fraction of a photo, in [0, 1]."""


@dataclass(frozen=True)
class AnnotationTask:
    """The task for every photo; it is sent to other processes.

    model, device: as for `open_predictor`
    arguments: for `SamAutomaticMaskGenerator`
    threads: on the CPU; other numbers may round differently
    value_range, bands, page: see `read_image`
    tile, overlap: see `Grid`; without tile, photos are not split
    """

    out: Path
    model: str
    device: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    preview: bool = True
    threads: int = 1
    value_range: ValueRange = None
    bands: Bands = None
    page: int | None = None
    tile: int | None = None
    overlap: float = 0.25


@dataclass(frozen=True)
class Outcome:
    """masks: number of masks; error: one sentence if the photo failed"""

    name: str
    masks: int = 0
    seconds: float = 0.0
    error: str | None = None


class Annotator:
    """Annotates photos, one per call."""

    def __init__(self, task: AnnotationTask, predictor: ImagePredictor, raises: bool = False) -> None:
        """raises: propagate unexpected errors, instead of returning them as outcomes"""
        self.task, self.raises = task, raises
        self.generator = SamAutomaticMaskGenerator(predictor, **{**task.arguments, "output_mode": "coco_rle"})

    def __call__(self, photo: Photo, progress: Progress | None = None) -> Outcome:
        """Write the photo's files, annotations last, because they mark the photo as done.

        raises: OutputError if the output cannot be written, as all other photos would fail, too
        """
        start = perf_counter()
        try:
            if self.task.tile is not None:
                return self._in_tiles(photo, progress, start)
            image = read_image(photo.source, self._value_range(), self.task.bands, self.task.page)
            refuse_thin(image.shape[:2], photo.source)
            told = None if progress is None else lambda done, total: progress(done / total)
            document = annotate(self.generator, image, photo.file_name, told)
            if (place := georeference_of(photo.source)) is not None:
                document["image"]["georeference"] = asdict(place)
            picture = jpeg(preview(image, document)) if self.task.preview else None
        except (OutputError, WrongUsage):
            raise
        except SamHubError as e:
            return Outcome(photo.name, seconds=perf_counter() - start, error=" ".join(str(e).split()))
        except Exception as e:  # one photo of thousands must not stop the run
            if self.raises:
                raise
            what = "not enough memory" if _is_out_of_memory(e) else f"{type(e).__name__}: {e}"
            return Outcome(photo.name, seconds=perf_counter() - start, error=f"{photo.source}: {what}")
        self._write(photo, json_bytes(document), picture)
        return Outcome(photo.name, len(document["annotations"]), perf_counter() - start)

    def _value_range(self) -> ValueRange:
        return self.task.value_range or getattr(self.generator.predictor, "value_range", None)

    def _in_tiles(self, photo: Photo, progress: Progress | None, start: float) -> Outcome:
        task = self.task
        with Picture(photo.source, self._value_range(), task.bands, task.page) as picture:
            tiled = TiledPicture(self.generator, picture, task.out, photo.name, task.tile, task.overlap)
            tiled.run(progress)
            image = jpeg(tiled.preview(PREVIEW_SIDE)) if task.preview else None
            self._write(photo, tiled.document(photo.file_name), image)
            tiled.clear()
        return Outcome(photo.name, len(tiled.pieces), perf_counter() - start, tiled.error)

    def _write(self, photo: Photo, document: bytes | Iterable[bytes], picture: bytes | None) -> None:
        for path, content in (
            (preview_path(self.task.out, photo.name), picture),
            (masks_path(self.task.out, photo.name), document),
        ):
            if content is not None:
                make_folder(path.parent)
                write_atomically(path, content)


def refuse_thin(size: tuple[int, int], name: str) -> None:
    """Check the size (H, W) of an image. raises: ImageError if it is too long or too thin"""
    short, long = sorted(size)
    if long > MAX_SIDE or long > MAX_ASPECT * short:
        raise ImageError(
            f"{name} is {size[1]} x {size[0]} pixels; `everything` takes sides of up to {MAX_SIDE} pixels and a ratio "
            f"of up to {MAX_ASPECT}: add --tile 1024"
        )


def annotate(
    generator: SamAutomaticMaskGenerator,
    image: np.ndarray,
    file_name: str,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """All masks of an image (H, W, 3) uint8, as an SA-1B document; boxes count pixels, as in COCO.

    generator: with the output mode "coco_rle"
    """
    annotations = []
    for number, record in enumerate(generator.generate(image, progress), start=1):
        x, y, w, h = record["bbox"]
        annotations.append({"id": number, **record, "bbox": [x, y, w + 1, h + 1]})
    return sa1b_document(file_name, image.shape[:2], annotations)


def preview(image: np.ndarray, document: dict[str, Any]) -> np.ndarray:
    """The photo with coloured masks, small ones on top, scaled to at most `PREVIEW_SIDE` pixels wide and high."""
    small = resize_longest_side(image, PREVIEW_SIDE) if max(image.shape[:2]) > PREVIEW_SIDE else image
    size = small.shape[1::-1]
    by_size = sorted(document["annotations"], key=lambda record: -record["area"])

    def shrunk(record: dict[str, Any]) -> np.ndarray:
        mask = rle_to_mask(record["segmentation"])
        return cv2.resize(mask.astype(np.uint8) * 255, size, interpolation=cv2.INTER_AREA) > 127

    return draw_masks(small, (shrunk(record) for record in by_size))


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "alloc" in str(error)
