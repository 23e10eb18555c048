"""Tiles against one run over the whole image, with an ideal predictor, so that only merging can differ."""

import cv2
import numpy as np
import pytest

from sam_hub.inference.amg import SamAutomaticMaskGenerator
from sam_hub.inference.upsample import MaskFrame
from sam_hub.ops.masks import rle_to_mask
from sam_hub.tiling.generate import generate_tiled
from sam_hub.tiling.grid import Grid, shared

tifffile = pytest.importorskip("tifffile")
SIDE, TILE, SPACING = 900, 240, 20
LOW_RES = 4
"""Pixels of the image to one of a low-res mask."""


class PerfectPredictor:
    """A click gives the connected area of its colour, at a quarter of the resolution; the ground is nothing."""

    def set_image(self, image: np.ndarray) -> None:
        height, width = image.shape[:2]
        side = -(-max(height, width) // (4 * LOW_RES)) * 4 * LOW_RES
        self.mask_frame = MaskFrame((side, side), (height, width), (height, width))
        colours = image.astype(np.int32) @ [65536, 256, 1]
        self._areas = np.zeros((side, side), np.int32)  # 0 on the ground
        for colour in np.unique(colours[colours > 0]):
            _, numbers = cv2.connectedComponents((colours == colour).astype(np.uint8), connectivity=4)
            self._areas[:height, :width][numbers > 0] = numbers[numbers > 0] + self._areas.max()
        self._drawn = {0: np.full((side // LOW_RES, side // LOW_RES), -10, np.float32)}

    def reset_image(self) -> None:
        self._areas = None

    def _logits(self, area: int) -> np.ndarray:
        if area not in self._drawn:
            mask, side = (self._areas == area).astype(np.float32), len(self._areas) // LOW_RES
            self._drawn[area] = cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA) * 20 - 10
        return self._drawn[area]

    def click_each(self, points, select):
        scores = np.full((len(points), 1), 0.9, np.float32)
        x, y = points.astype(int).T
        low_res = np.array([self._logits(area) for area in self._areas[y, x].tolist()])
        which = np.argwhere(select(scores))
        return scores, which, low_res


def generator(side: int) -> SamAutomaticMaskGenerator:
    return SamAutomaticMaskGenerator(
        PerfectPredictor(), points_per_side=side // SPACING, pred_iou_thresh=0.5, stability_score_thresh=0.5,
        output_mode="coco_rle",
    )  # fmt: skip


def picture(seed: int) -> np.ndarray:
    """Ellipses of distinct colours on black, that touch and cover each other."""
    rng = np.random.default_rng(seed)
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    for i in range(50):
        colour = (10 + 3 * i, 255 - 4 * i, 100 + i)
        axes = rng.integers(20, 110, 2).tolist()
        cv2.ellipse(image, rng.integers(0, SIDE, 2).tolist(), axes, int(rng.integers(180)), 0, 360, colour, -1)
    return image


def test_masks_at_seams_are_those_of_an_untiled_run(tmp_path):
    image = picture(4)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", tile=(64, 64))
    whole = [rle_to_mask(r["segmentation"]) for r in generator(SIDE).generate(image)]
    tiled = list(generate_tiled(generator(TILE), tmp_path / "a.tif", TILE, 0.25))
    masks = [rle_to_mask(r["segmentation"]) for r in tiled]
    grid = Grid((SIDE, SIDE), TILE, 0.25)
    assert len(grid.windows) == 25
    at_seams = np.zeros((SIDE, SIDE), bool)
    for a, b in grid.neighbours:
        x0, y0, x1, y1 = shared(grid.windows[a], grid.windows[b])
        at_seams[y0:y1, x0:x1] = True
    near = [mask for mask in whole if (mask & at_seams).any() and mask.sum() > 400]
    ious = [max((mask & other).sum() / (mask | other).sum() for other in masks) for mask in near]
    assert len(near) > 30
    assert np.mean(np.array(ious) >= 0.9) >= 0.98
    assert abs(len(masks) - len(whole)) <= 0.05 * len(whole)
