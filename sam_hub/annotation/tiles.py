"""Large images in a run: writes a file for each finished tile, so that an interrupted run can resume.

OUT/tiles/NAME/ROW-COLUMN.json   masks of a tile; removed when the image has been merged without failures
"""

import json
import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ImageError
from ..inference.amg import SamAutomaticMaskGenerator
from ..ops.drawing import draw_masks
from ..ops.files import make_folder, write_atomically
from ..ops.run_lengths import rle_area
from ..ops.wording import counted
from ..rasters.raster import Window
from ..results import json_bytes
from ..tiling.generate import check_size, finish, pieces_of_tile, record_of
from ..tiling.grid import Grid
from ..tiling.picture import Picture
from ..tiling.pieces import Piece
from .plan import tiles_folder
from .stored import annotation_lines

FACTS = {"predicted_iou", "stability_score", "crop_box", "point_coords"}
"""Fields of each piece in a tile's file, besides its mask."""


class TiledPicture:
    """Annotates one large image.

    generator: with the output mode "coco_rle"
    out: output folder; name: of the image's results
    tile, overlap: see `Grid`
    """

    def __init__(
        self,
        generator: SamAutomaticMaskGenerator,
        picture: Picture,
        out: Path,
        name: str,
        tile: int,
        overlap: float,
    ) -> None:
        check_size(picture.size, picture.name)
        self.generator, self.picture = generator, picture
        self.grid = Grid(picture.size, tile, overlap)
        self.folder = tiles_folder(out, name)
        self.failed: list[str] = []
        self.pieces: list[Piece] = []

    def run(self, progress: Callable[[float], None] | None = None) -> None:
        """Segment each tile, or read its masks from an earlier run, and merge them. raises: OutputError"""
        make_folder(self.folder)
        found: list[Piece] = []
        columns = len(self.grid.lefts)
        windows = self.grid.windows
        for number, window in enumerate(windows):
            path = self.folder / f"{number // columns}-{number % columns}.json"
            pieces = _read(path, number, window)
            if pieces is None:
                try:
                    pieces = pieces_of_tile(self.generator, self.picture, window, number)
                except ImageError as e:
                    self.failed.append(f"the tile at {window[0]}, {window[1]}: {' '.join(str(e).split())}")
                    pieces = []
                else:
                    write_atomically(path, json_bytes([asdict(piece) for piece in pieces]))
            found += pieces
            if progress is not None:
                progress((number + 1) / len(windows))
        if len(self.failed) == len(windows):
            raise ImageError(f"{self.picture.name}: none of its {len(windows)} tiles can be read ({self.failed[0]})")
        self.pieces = finish(found, self.grid, self.generator)

    @property
    def error(self) -> str | None:
        """One sentence about tiles that could not be read."""
        if not self.failed:
            return None
        count, all_tiles = len(self.failed), len(self.grid.windows)
        name = self.picture.name
        return (
            f"{name}: {count} of {counted(all_tiles, 'tile')} could not be read, the others are done ({self.failed[0]})"
        )

    def document(self, file_name: str) -> Iterator[bytes]:
        """SA-1B annotations, in chunks of text; boxes count pixels, as in COCO."""
        height, width = self.grid.size
        image: dict[str, Any] = {"image_id": 1, "file_name": file_name, "width": width, "height": height}
        if self.picture.georeference is not None:
            image["georeference"] = asdict(self.picture.georeference)
        return annotation_lines(image, map(self._record, range(1, len(self.pieces) + 1), self.pieces))

    def _record(self, number: int, piece: Piece) -> dict[str, Any]:
        record = record_of(piece, self.grid.size)
        x, y, w, h = record["bbox"]
        return {"id": number, **record, "bbox": [x, y, w + 1, h + 1]}

    def preview(self, longest: int) -> np.ndarray:
        """The image with coloured masks, small ones on top, scaled to at most ``longest`` pixels on its longer side."""
        small = self.picture.thumbnail(longest)
        ratio = small.shape[0] / self.grid.size[0], small.shape[1] / self.grid.size[1]
        ordered = sorted(self.pieces, key=lambda piece: -piece.area)
        return draw_masks(small, (_shrunk(piece, small.shape[:2], ratio) for piece in ordered))

    def clear(self) -> None:
        """Remove the tile files when no tile is pending."""
        if not self.failed:
            shutil.rmtree(self.folder, ignore_errors=True)
            with suppress(OSError):  # not empty
                self.folder.parent.rmdir()


def _read(path: Path, number: int, window: Window) -> list[Piece] | None:
    """The pieces that an earlier run found in a tile; None if the file is missing or damaged."""
    try:
        records = json.loads(path.read_text("ascii"))
        return [_checked(record, number, window) for record in records]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _checked(record: dict[str, Any], number: int, window: Window) -> Piece:
    """Validate a piece against its tile. raises: ValueError, TypeError, KeyError, AttributeError"""
    piece = Piece(**{**record, "box": tuple(record["box"]), "tile": number})
    x0, y0, x1, y1 = piece.box
    if not all(type(edge) is int for edge in piece.box):
        raise TypeError("a corner is not a whole number")
    if not (window[0] <= x0 < x1 <= window[2] and window[1] <= y0 < y1 <= window[3]):
        raise ValueError("it is not inside its tile")
    if rle_area({"size": [y1 - y0, x1 - x0], "counts": piece.counts}) != piece.area or not piece.area:
        raise ValueError("its area is another")
    facts = piece.facts
    points = [number for x, y in facts["point_coords"] for number in (x, y)]
    numbers = [facts["predicted_iou"], facts["stability_score"], *facts["crop_box"], *points]
    if facts.keys() != FACTS or len(facts["crop_box"]) != 4:
        raise ValueError("its facts are others")
    if not all(type(value) in (int, float) and math.isfinite(value) for value in numbers):
        raise TypeError("a fact is no number")
    return piece


def _shrunk(piece: Piece, size: tuple[int, int], ratio: tuple[float, float]) -> np.ndarray:
    """A piece's mask in the image scaled down to (h, w)."""
    x0, y0, x1, y1 = piece.box
    out = np.zeros(size, bool)
    rows = _sampled(size[0], ratio[0], y0, y1)
    columns = _sampled(size[1], ratio[1], x0, x1)
    out[rows[0] : rows[0] + len(rows[1]), columns[0] : columns[0] + len(columns[1])] = piece.at(columns[1], rows[1])
    return out


def _sampled(length: int, ratio: float, low: int, high: int) -> tuple[int, np.ndarray]:
    """Pixels of a scaled-down side with centres in [low, high): the first one, and all centres in original pixels."""
    middles = ((np.arange(length) + 0.5) / ratio).astype(np.int64)
    inside = np.flatnonzero((middles >= low) & (middles < high))
    return (int(inside[0]), middles[inside]) if len(inside) else (0, middles[:0])
