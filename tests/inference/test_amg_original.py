"""Everything mode against the original generator of PyPI's segment-anything."""

from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sam_hub.inference.amg import SamAutomaticMaskGenerator
from sam_hub.inference.upsample import MaskFrame
from sam_hub.ops.geometry import resized_size
from sam_hub.ops.masks import rle_to_mask

LOW = 48
INPUT = 4 * LOW


def blobs(points: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Masks that depend only on click and crop: (N, 3, LOW, LOW) logits and (N, 3) scores.

    Each click finds the nearest of 12 centres, as neighbouring clicks on a real object find the same mask, with a
    shape of its own; steep and flat ones, rings and islands, some that reach into the padding, some empty.
    """
    height, width = resized_size(size, INPUT)
    rng = np.random.default_rng(size[0] * 7919 + size[1])
    centres = rng.uniform(0, 1, (12, 2)) * [width, height] / 4
    y, x = np.mgrid[:LOW, :LOW]
    logits, scores = np.empty((len(points), 3, LOW, LOW), np.float32), np.empty((len(points), 3), np.float32)
    for i, point in enumerate(points * [width / size[1], height / size[0]] / 4):
        nearest = int(((centres - point) ** 2).sum(axis=1).argmin())
        for j in range(3):
            own = np.random.default_rng([nearest, j, *(point * 100).astype(int)])
            radius = (2 + 3 * nearest % 11) * (1 + j) * own.uniform(0.85, 1.15)
            away = np.hypot(
                x - centres[nearest, 0] - own.normal(0, 0.7), (y - centres[nearest, 1]) * own.uniform(0.8, 1.2)
            )
            steep = own.choice([0.2, 1.5, 4])
            field = radius - away
            if j == 2:
                field = np.maximum(np.minimum(field, away - radius / 4), 2 - np.hypot(x - 5, y - 45 + nearest * 3))
            logits[i, j] = steep * field + own.normal(0, 0.05, (LOW, LOW))
            scores[i, j] = own.uniform(0.8, 1)
    return logits, scores


class BlobPredictor:
    """A predictor for both `SamAutomaticMaskGenerator` and the original generator."""

    def __init__(self) -> None:
        self.model = SimpleNamespace(mask_threshold=0.0)
        self.device = torch.device("cpu")
        self.transform = SimpleNamespace(apply_coords=lambda coords, size: coords)

    def set_image(self, image: np.ndarray) -> None:
        size = image.shape[:2]
        self.mask_frame = MaskFrame((INPUT, INPUT), resized_size(size, INPUT), size)

    def reset_image(self) -> None:
        self.mask_frame = None

    def click_each(self, points, select):
        logits, scores = blobs(points, self.mask_frame.original_size)
        which = np.argwhere(select(scores))
        return scores, which, logits[which[:, 0], which[:, 1]]

    def predict_torch(self, points, labels, multimask_output, return_logits):
        frame = self.mask_frame
        logits, scores = blobs(points[:, 0].numpy(), frame.original_size)
        masks = F.interpolate(torch.from_numpy(logits), frame.padded_size, mode="bilinear", align_corners=False)
        masks = masks[..., : frame.input_size[0], : frame.input_size[1]]
        masks = F.interpolate(masks, frame.original_size, mode="bilinear", align_corners=False)
        return masks, torch.from_numpy(scores), torch.from_numpy(logits)


def mask_of(record: dict) -> np.ndarray:
    segmentation = record["segmentation"]
    return segmentation if isinstance(segmentation, np.ndarray) else rle_to_mask(segmentation)


def assert_same(ours: list[dict], theirs: list[dict], exact: bool = True) -> None:
    """Same records in the same order; pixels may differ where a logit is within rounding of 0."""
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert list(a) == list(b)
        one, other = mask_of(a), mask_of(b)
        assert (one & other).sum() >= 0.99 * (one | other).sum()
        assert abs(a["area"] - b["area"]) <= 0.01 * b["area"]
        np.testing.assert_allclose(a["bbox"], b["bbox"], atol=2)
        np.testing.assert_allclose(a["predicted_iou"], b["predicted_iou"], atol=1e-5)
        np.testing.assert_allclose(a["stability_score"], b["stability_score"], atol=2e-3)
        np.testing.assert_allclose(a["point_coords"], b["point_coords"], atol=1e-9)
        assert a["crop_box"] == b["crop_box"]
        if exact and isinstance(b["segmentation"], dict):
            assert a["segmentation"]["size"] == list(b["segmentation"]["size"])
            assert type(a["segmentation"]["counts"]) is type(b["segmentation"]["counts"])


ARGUMENTS = {
    "defaults": {},
    "coarse": {"points_per_side": 9, "points_per_batch": 7},
    "crops": {"points_per_side": 8, "crop_n_layers": 1},
    "crops, two layers": {"points_per_side": 8, "crop_n_layers": 2, "crop_n_points_downscale_factor": 2},
    "overlap": {"points_per_side": 8, "crop_n_layers": 1, "crop_overlap_ratio": 0.1, "crop_nms_thresh": 0.3},
    "strict": {"pred_iou_thresh": 0.95, "stability_score_thresh": 0.98, "stability_score_offset": 0.5},
    "lax": {"points_per_side": 10, "pred_iou_thresh": 0.82, "stability_score_thresh": 0.6, "box_nms_thresh": 0.9},
    "any iou": {"points_per_side": 10, "pred_iou_thresh": 0.0},
    "clean": {"points_per_side": 12, "min_mask_region_area": 150},
    "clean crops": {"points_per_side": 8, "min_mask_region_area": 150, "crop_n_layers": 1},
    "grids": {"points_per_side": None, "point_grids": [np.random.default_rng(0).uniform(0, 1, (40, 2))]},
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_same_masks_from_the_same_decoder(original: ModuleType, name: str) -> None:
    arguments = ARGUMENTS[name]
    size = (500, 331) if len(name) % 2 else (120, 160)
    image = np.zeros((*size, 3), np.uint8)
    generator = original.load().SamAutomaticMaskGenerator(
        SimpleNamespace(image_encoder=SimpleNamespace(img_size=1)), **arguments
    )
    generator.predictor = BlobPredictor()
    theirs = generator.generate(image)
    ours = SamAutomaticMaskGenerator(BlobPredictor(), **arguments).generate(image)
    assert_same(ours, theirs)
    assert len(ours) >= 2


@pytest.mark.parametrize(("layers", "mode"), [(0, "binary_mask"), (0, "uncompressed_rle"), (1, "coco_rle")])
def test_same_masks_from_the_same_weights(original: ModuleType, shaped, photo, layers: int, mode: str) -> None:
    """Random weights find large masks that are much alike, so none is suppressed here."""
    arguments = dict(
        points_per_side=6 if layers == 0 else 4,
        crop_n_layers=layers,
        output_mode=mode,
        pred_iou_thresh=0.88,  # the original's defaults, where `pocket` has its own
        stability_score_thresh=0.8,
        stability_score_offset=1.0,
        box_nms_thresh=1.0,
        crop_nms_thresh=1.0,
    )
    sam = original.original_sam(shaped)
    generator = original.load().SamAutomaticMaskGenerator(sam, **arguments)
    image = photo(layers, *((90, 120) if layers else (140, 101)))
    ours, theirs = SamAutomaticMaskGenerator(shaped, **arguments).generate(image), generator.generate(image)
    assert_same(ours, theirs)
    assert len(ours) >= 10
