"""Draws docs/seam.jpg, the picture of docs/large.md: ``python docs/generate_seam.py``.

Masks of `pocket` in four tiles of a photo, unretouched: as each tile has them, and merged.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from sam_hub import SamAutomaticMaskGenerator, SamModel
from sam_hub.ops.drawing import draw_masks
from sam_hub.tiling.generate import finish, pieces_of_tile
from sam_hub.tiling.grid import Grid
from sam_hub.tiling.picture import Picture
from sam_hub.tiling.pieces import Piece

ROOT = Path(__file__).resolve().parents[1]
PHOTO, TILE, OVERLAP, GAP = "astronaut.jpg", 320, 0.25, 12


def panel(picture: Picture, pieces: list[Piece], grid: Grid) -> np.ndarray:
    """The photo with masks, large ones below, and the borders of the tiles in white."""
    height, width = picture.size
    whole = (0, 0, width, height)
    pixels, _ = picture.read(whole)
    ordered = sorted(pieces, key=lambda piece: -piece.area)
    drawn = draw_masks(pixels, (piece.within(whole) for piece in ordered))
    for x in (x for left in grid.lefts for x in (left, left + TILE - 1) if 0 < x < width - 1):
        drawn[::4, x] = 255
    for y in (y for top in grid.tops for y in (top, top + TILE - 1) if 0 < y < height - 1):
        drawn[y, ::4] = 255
    return drawn


def main() -> None:
    generator = SamAutomaticMaskGenerator(SamModel.from_pretrained("pocket"), points_per_side=12)
    with Picture(ROOT / "examples" / PHOTO) as picture:
        grid = Grid(picture.size, TILE, OVERLAP)
        pieces = [p for i, window in enumerate(grid.windows) for p in pieces_of_tile(generator, picture, window, i)]
        merged = finish(pieces, grid, generator)
        print(f"{len(pieces)} masks in {len(grid.windows)} tiles, {len(merged)} merged")
        before, after = panel(picture, pieces, grid), panel(picture, merged, grid)
    gap = np.full((before.shape[0], GAP, 3), 255, np.uint8)
    Image.fromarray(np.hstack([before, gap, after])).save(ROOT / "docs" / "seam.jpg", quality=88)


if __name__ == "__main__":
    main()
