"""Prompts on large images: only the windows around prompts are in memory."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import results
from ..errors import WrongUsage
from ..labels.images import ImageLabels
from ..ops.masks import mask_to_rle
from ..ops.strips import grey_png
from ..rasters.raster import Window
from ..tiling.picture import Picture
from ..tiling.windows import window_around
from .outputs import Format, ResultFile
from .photo import SegmentedPhoto, segment_photo
from .prompts import Prompt

if TYPE_CHECKING:
    from ..inference.image_predictor import ImagePredictor


@dataclass(frozen=True)
class WindowedPhoto(SegmentedPhoto):
    """As `SegmentedPhoto`, with images and masks of windows; prompts and results are in pixels of the whole image.

    image: of the first window; windows, images: of each object
    size: (H, W) of the whole image; georeference: of the whole image, as in documents
    """

    windows: Sequence[Window] = ()
    images: Sequence[np.ndarray] = ()
    size: tuple[int, int] = (0, 0)
    georeference: dict[str, Any] | None = field(default=None, repr=False)

    def content(self, file: ResultFile) -> bytes | Iterable[bytes]:
        """The content of a file; cut-outs and the overlay are of windows."""
        (i, j), *others = file.masks
        if file.kind is Format.cutout:
            return results.cutout_png(self.images[i], self.masks[i, j])
        if file.kind is Format.png:
            return self._png(i, j)
        if file.kind is Format.svg:
            return results.outlines_svg(
                [self.masks[key] for key in file.masks],
                origins=[self.windows[key[0]][:2] for key in file.masks],
                size=self.size,
            )
        if file.kind is None:
            if others:
                raise WrongUsage("--overlay shows one window; with --window, give only one object")
            return self._drawn_window(i, j)
        return results.json_bytes(self.document())

    def document(self) -> dict[str, Any]:
        """All masks as in SA-1B."""
        records = []
        for number, (key, mask) in enumerate(self.masks.items(), start=1):
            x0, y0 = self.windows[key[0]][:2]
            facts = {"predicted_iou": self.scores[key], **self.prompts[key[0]].facts()}
            record = results.annotation(mask, number, **facts)
            x, y, w, h = record["bbox"]
            whole = {"segmentation": mask_to_rle(mask, self.size, (x0, y0))}
            whole["bbox"] = [x + x0, y + y0, w, h] if record["area"] else [0, 0, 0, 0]
            records.append({**record, **whole})
        return results.sa1b_document(self.path.name, self.size, records)

    def labels(self) -> ImageLabels:
        place = self.georeference
        return replace(ImageLabels.from_document(self.document(), self.path, self.path.stem), georeference=place)

    def _png(self, i: int, j: int) -> Iterable[bytes]:
        mask, (x0, y0, x1, y1) = self.masks[i, j], self.windows[i]

        def paint(strip: np.ndarray, top: int) -> None:
            low, high = max(y0, top), min(y1, top + len(strip))
            if low < high:
                strip[low - top : high - top, x0:x1] = mask[low - y0 : high - y0] * np.uint8(255)

        return grey_png(self.size, paint)

    def _drawn_window(self, i: int, j: int) -> bytes:
        x0, y0 = self.windows[i][:2]
        here = SegmentedPhoto(self.path, self.images[i], [moved(self.prompts[i], x0, y0)], {}, {}, 0.0)
        return results.jpeg(here.drawn([self.masks[i, j]]))


def moved(prompt: Prompt, x: float, y: float) -> Prompt:
    """The prompt in pixels of the window whose first pixel is (x, y)."""
    points = tuple((px - x, py - y) for px, py in prompt.points)
    box = None if prompt.box is None else tuple(np.subtract(prompt.box, (x, y, x, y)).tolist())
    return replace(prompt, points=points, box=box)


def segment_in_windows(
    predictor: "ImagePredictor", path: Path, picture: Picture, prompts: Sequence[Prompt], side: int, multimask: bool,
    share: float = 0.0, zoom: bool = False,
) -> WindowedPhoto:  # fmt: skip
    """As `segment_photo`, with the window around each prompt encoded; side: of a window, in pixels."""
    start = perf_counter()
    windows, images, masks, scores = [], [], {}, {}
    for i, prompt in enumerate(prompts):
        points = np.array(prompt.points) if prompt.points else None
        window = window_around(points, prompt.box and np.array(prompt.box), picture.size, side)
        pixels, valid = picture.read(window)
        one = segment_photo(predictor, path, pixels, [moved(prompt, *window[:2])], None, multimask, share, zoom)
        for (_, j), mask in one.masks.items():
            masks[i, j], scores[i, j] = mask & valid, one.scores[0, j]
        windows.append(window)
        images.append(pixels)
    place = picture.georeference and asdict(picture.georeference)
    seconds = perf_counter() - start
    return WindowedPhoto(path, images[0], prompts, masks, scores, seconds, windows, images, picture.size, place)
