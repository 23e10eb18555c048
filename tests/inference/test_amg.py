"""Everything mode: bugs of the original that are fixed here, and additions. Numbers are its issues on GitHub."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from torch.utils._python_dispatch import TorchDispatchMode

from sam_hub.inference import amg, decoding, fast_decoder
from sam_hub.inference.amg import PRESETS, Found, SamAutomaticMaskGenerator
from sam_hub.inference.predictor import SamPredictor
from sam_hub.inference.upsample import MaskFrame, Upsampler
from sam_hub.ops.geometry import resized_size
from sam_hub.ops.masks import mask_to_box, mask_to_uncompressed_rle, rle_to_mask
from sam_hub.ops.tidying import tidy

INPUT = 256


class BoxPredictor:
    """Answers the k-th click of an image with the k-th of some rectangles, in pixels of a resized image of 256.

    rectangles: x0, y0, x1, y1, upper edges exclusive, multiples of 4; ``scores`` their predicted IoU, 0.9 by default
    """

    def __init__(
        self, rectangles: list, scores: list | None = None, inside: float = 200, outside: float = -200
    ) -> None:
        self.rectangles, self.scores = rectangles, scores or [0.9] * len(rectangles)
        self.levels = inside, outside
        self.crops: list[tuple[int, int]] = []
        self.clicks: list[np.ndarray] = []

    def set_image(self, image: np.ndarray) -> None:
        size = image.shape[:2]
        self.crops.append(size)
        self.mask_frame = MaskFrame((INPUT, INPUT), resized_size(size, INPUT), size)
        self.next = 0

    def reset_image(self) -> None:
        del self.mask_frame

    def click_each(self, points, select):
        self.clicks.append(points)
        n = INPUT // 4
        masks = np.full((len(points), 1, n, n), self.levels[1], np.float32)
        scores = np.zeros((len(points), 1), np.float32)
        for i in range(len(points)):
            if self.next < len(self.rectangles):
                x0, y0, x1, y1 = (v // 4 for v in self.rectangles[self.next])
                masks[i, 0, y0:y1, x0:x1] = self.levels[0]
                scores[i] = self.scores[self.next]
            self.next += 1
        which = np.argwhere(select(scores))
        return scores, which, masks[which[:, 0], which[:, 1]]


IMAGE = np.zeros((INPUT, INPUT, 3), np.uint8)
BIG, SMALL, FAR = [0, 0, 200, 200], [40, 40, 80, 80], [208, 208, 252, 252]


def boxes(records: list[dict]) -> list[list[int]]:
    """XYXY with exclusive edges, to the nearest 4 pixels: what the rectangles were."""
    found = [mask_to_box(r["segmentation"]) + np.array([0, 0, 1, 1]) for r in records]
    return [(np.rint(b / 4) * 4).astype(int).tolist() for b in found]


def test_records() -> None:
    (record,) = SamAutomaticMaskGenerator(BoxPredictor([SMALL]), points_per_side=2).generate(IMAGE)
    mask = record["segmentation"]
    assert mask.shape == (INPUT, INPUT) and mask.dtype == bool
    assert record["area"] == mask.sum() and record["area"] == pytest.approx(1600, abs=100)
    x0, y0, x1, y1 = mask_to_box(mask)
    assert record["bbox"] == [x0, y0, x1 - x0, y1 - y0]
    assert record["point_coords"] == [[64.0, 64.0]] and record["crop_box"] == [0, 0, 256, 256]
    assert record["predicted_iou"] == pytest.approx(0.9) and 0.95 <= record["stability_score"] <= 1
    for mode in ("coco_rle", "uncompressed_rle"):
        (other,) = SamAutomaticMaskGenerator(BoxPredictor([SMALL]), 2, output_mode=mode).generate(IMAGE)
        rle = other["segmentation"]
        rle = coco_mask.frPyObjects(rle, *rle["size"]) if mode == "uncompressed_rle" else rle
        np.testing.assert_array_equal(coco_mask.decode(rle), mask)


@pytest.mark.filterwarnings("ignore:no mask is left")
@pytest.mark.parametrize("clean", [0, 10])
@pytest.mark.parametrize("layers", [0, 1])
@pytest.mark.parametrize(("inside", "outside"), [(-20, -20), (0.5, -0.5)])
def test_nothing_survives(layers: int, clean: int, inside: float, outside: float) -> None:
    """With crops the original raises an IndexError (614, 703); with all logits below -1 its stability is 0 / 0."""
    predictor = BoxPredictor([SMALL, BIG], inside=inside, outside=outside)
    arguments = dict(points_per_side=2, crop_n_layers=layers, min_mask_region_area=clean)
    assert SamAutomaticMaskGenerator(predictor, **arguments).generate(IMAGE) == []
    assert (
        SamAutomaticMaskGenerator(predictor, stability_score_thresh=0.0, **arguments).generate(IMAGE[:, :128])
        is not None
    )
    nothing = BoxPredictor([])
    assert (
        SamAutomaticMaskGenerator(nothing, pred_iou_thresh=0, stability_score_thresh=0, **arguments).generate(IMAGE)
        == []
    )


def test_many_masks_of_a_large_image() -> None:
    """More than 2^31 pixels of masks, at which ``nonzero`` breaks (427, 554, 641); they are never all in memory."""
    grid = [[x, y, x + 16, y + 16] for x in range(0, 240, 18) for y in range(0, 240, 18)]
    rectangles = [[v // 4 * 4 for v in r] for r in grid]
    image = np.zeros((4096, 4096, 3), np.uint8)
    records = SamAutomaticMaskGenerator(BoxPredictor(rectangles), 14, output_mode="coco_rle").generate(image)
    assert len(records) * 4096 * 4096 > 2**31 and len(records) == len(rectangles) == 196
    assert all(r["area"] == pytest.approx(256 * 256, rel=0.1) for r in records)


@pytest.mark.parametrize("size", [(1, 1), (10, 10000), (2, 3), (300, 200)])
@pytest.mark.parametrize("layers", [0, 2])
def test_images_of_any_size(pocket_shaped, size: tuple[int, int], layers: int) -> None:
    """Also if all black."""
    generator = SamAutomaticMaskGenerator(
        pocket_shaped, 2, crop_n_layers=layers, pred_iou_thresh=0.1, stability_score_thresh=0.1, min_mask_region_area=4
    )
    for record in generator.generate(np.zeros((*size, 3), np.uint8)):
        assert record["segmentation"].shape == size and record["area"] == record["segmentation"].sum() > 0


def test_coordinates_reach_the_model_as_float32(pocket_shaped, photo, monkeypatch) -> None:
    """MPS has no float64 (94)."""
    seen = []
    plain = decoding.ImageDecoder.choose
    monkeypatch.setattr(decoding.ImageDecoder, "choose", lambda self, p, *a: seen.append(p.dtype) or plain(self, p, *a))
    SamAutomaticMaskGenerator(pocket_shaped, 2).generate(photo(0, 50, 60))
    assert seen == [torch.float32]


def test_clicks_of_a_crop_are_in_its_pixels_and_come_back_in_the_images() -> None:
    """Other ports forget to rescale the points of crops."""
    predictor = BoxPredictor([[64, 64, 128, 128]])
    generator = SamAutomaticMaskGenerator(predictor, 4, crop_n_layers=1, crop_n_points_downscale_factor=2)
    records = generator.generate(np.zeros((100, 200, 3), np.uint8))
    full, *crops = predictor.crops
    assert full == (100, 200) and len(set(crops)) == 1 and len(crops) == 4
    assert [len(c) for c in predictor.clicks] == [16, 4, 4, 4, 4]
    height, width = crops[0]
    for clicks in predictor.clicks[1:]:
        np.testing.assert_allclose(clicks[-1], [0.75 * width, 0.75 * height])
    for record in records[:-1]:  # that of the whole image is last: its crop is largest
        x, y, w, h = record["crop_box"]
        assert (w, h) == (width, height)
        np.testing.assert_allclose(record["point_coords"], [[x + 0.25 * w, y + 0.25 * h]])


def test_one_encoding_for_each_crop(pocket_shaped, photo, monkeypatch) -> None:
    """Not one for each batch of points, and none for an image that is already set."""
    calls = []
    encode = pocket_shaped.encode
    monkeypatch.setattr(pocket_shaped, "encode", lambda *a, **k: calls.append(1) or encode(*a, **k))
    predictor, image = SamPredictor(pocket_shaped), photo(0, 60, 80)
    predictor.set_image(image)
    SamAutomaticMaskGenerator(predictor, 4, points_per_batch=3, crop_n_layers=1).generate(image)
    assert len(calls) == 1 + 4


def test_the_background_can_be_left_out() -> None:
    """(250) SA-1B drops masks of 95 % and more; then smaller masks inside are kept."""
    predictor = BoxPredictor([[0, 0, 256, 256], [0, 0, 248, 248]], [0.99, 0.9])
    assert boxes(SamAutomaticMaskGenerator(predictor, 2).generate(IMAGE)) == [[0, 0, 256, 256]]
    records = SamAutomaticMaskGenerator(predictor, 2, max_mask_area_ratio=0.95).generate(IMAGE)
    assert boxes(records) == [[0, 0, 248, 248]]


def test_the_background_is_measured_against_the_image_in_crops_too() -> None:
    """A mask that fills its crop is a small part of the image."""
    predictor = BoxPredictor([[40, 40, 216, 216]])
    arguments = dict(crop_n_layers=1, skip_full_image=True)
    kept = SamAutomaticMaskGenerator(predictor, 1, max_mask_area_ratio=0.4, **arguments).generate(IMAGE)
    assert kept
    for record in kept:
        assert record["area"] > 0.4 * record["crop_box"][2] * record["crop_box"][3]
        assert record["area"] < 0.4 * IMAGE.shape[0] * IMAGE.shape[1]
    assert not SamAutomaticMaskGenerator(predictor, 1, max_mask_area_ratio=0.1, **arguments).generate(IMAGE)


def test_min_mask_area_drops_masks_and_min_mask_region_area_does_not() -> None:
    """(187, 194)"""
    predictor = BoxPredictor([BIG, SMALL, FAR])
    assert len(SamAutomaticMaskGenerator(predictor, 2, min_mask_region_area=10000).generate(IMAGE)) == 3
    assert boxes(SamAutomaticMaskGenerator(predictor, 2, min_mask_area=10000).generate(IMAGE)) == [BIG]


def test_non_overlapping() -> None:
    """(690, 507) The part keeps its pixels, and the whole yields them."""
    records = SamAutomaticMaskGenerator(BoxPredictor([BIG, SMALL, FAR]), 2, non_overlapping=True).generate(IMAGE)
    assert boxes(records) == [BIG, SMALL, FAR]
    assert sum(r["segmentation"].astype(int) for r in records).max() == 1
    big, small = records[0], records[1]
    assert big["segmentation"][60, 60] == 0 and small["segmentation"][60, 60] == 1
    assert big["area"] == big["segmentation"].sum() < 200 * 200 - 1500


def test_skip_full_image() -> None:
    """(771)"""
    predictor = BoxPredictor([SMALL])
    SamAutomaticMaskGenerator(predictor, 2, crop_n_layers=1, skip_full_image=True).generate(IMAGE)
    assert len(predictor.crops) == 4 and IMAGE.shape[:2] not in predictor.crops
    with pytest.raises(ValueError, match="needs crops"):
        SamAutomaticMaskGenerator(predictor, skip_full_image=True)


def test_a_suppressed_mask_is_not_enlarged(monkeypatch) -> None:
    calls = []
    call = Upsampler.__call__
    monkeypatch.setattr(Upsampler, "__call__", lambda self, *a: calls.append(1) or call(self, *a))
    near = [BIG, [0, 0, 196, 200], [4, 0, 200, 196], SMALL]
    records = SamAutomaticMaskGenerator(BoxPredictor(near, [0.9, 0.99, 0.95, 0.92]), 2).generate(IMAGE)
    assert boxes(records) == [near[1], SMALL] and len(calls) == 2


@pytest.mark.filterwarnings("ignore:no mask is left")
def test_an_unstable_mask_is_not_enlarged(monkeypatch) -> None:
    calls = []
    call = Upsampler.__call__
    monkeypatch.setattr(Upsampler, "__call__", lambda self, *a: calls.append(1) or call(self, *a))
    for inside, expected in ((0.5, 0), (200, 1)):
        records = SamAutomaticMaskGenerator(BoxPredictor([BIG], inside=inside), 2).generate(IMAGE)
        assert len(records) == len(calls) == expected


def test_memory_does_not_grow_with_the_clicks_of_a_batch(pocket_shaped, photo) -> None:
    """(351) Only what is returned does; what the decoder needs in between it needs for a few clicks at a time."""
    largest = {}

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                largest[n] = max(largest[n], result.numel() * result.element_size())
            return result

    predictor = SamPredictor(pocket_shaped)
    predictor.set_image(photo(0, 90, 120))
    together = fast_decoder.PIXELS_TOGETHER["cpu"] // 64
    for n in (together, 2 * together):
        largest[n] = 0
        with Watch():
            predictor.click_each(np.random.default_rng(0).uniform(0, 90, (n, 2)), lambda iou: np.zeros(iou.shape, bool))
    assert largest[together] <= 4 * together * 98 * 98 * 4
    assert largest[2 * together] == largest[together]


def test_half_precision_finds_nearly_the_same(pocket_shaped, photo) -> None:
    """bfloat16, which the plain decoder does; how fast it is on a GPU is not measured here."""
    arguments = dict(points_per_side=4, stability_score_thresh=0.5, box_nms_thresh=1.0)
    image = photo(1, 90, 120)
    full = SamAutomaticMaskGenerator(pocket_shaped, **arguments).generate(image)
    half = SamAutomaticMaskGenerator(copy.deepcopy(pocket_shaped).to(torch.bfloat16), **arguments).generate(image)
    assert len(full) > 5 and abs(len(half) - len(full)) <= 0.3 * len(full)
    for a in full:
        clicked = [b for b in half if b["point_coords"] == a["point_coords"]]
        overlaps = [
            (a["segmentation"] & b["segmentation"]).sum() / (a["segmentation"] | b["segmentation"]).sum()
            for b in clicked
        ]
        a["best"] = max(overlaps, default=0)
    assert np.median([a["best"] for a in full]) > 0.9


def test_progress_and_stop() -> None:
    predictor, steps = BoxPredictor([BIG, SMALL, FAR]), []
    generator = SamAutomaticMaskGenerator(predictor, 4, points_per_batch=2)
    assert boxes(generator.generate(IMAGE, progress=lambda *at: steps.append(at))) == [BIG, SMALL, FAR]
    assert steps == [(n, 16) for n in range(2, 17, 2)]
    assert boxes(generator.generate(IMAGE, stop=lambda: predictor.next >= 2)) == [], "the image before counts too"
    predictor.next = 0
    assert boxes(generator.generate(IMAGE, stop=lambda: predictor.next >= 2)) == [BIG, SMALL]


def test_several_images(monkeypatch) -> None:
    predictor = BoxPredictor([BIG])
    generator = SamAutomaticMaskGenerator(predictor, 2)
    images = [IMAGE, IMAGE[:100], IMAGE[:, :100]]
    found = list(generator.generate_many(images))
    assert [r[0]["segmentation"].shape for r in found] == [(256, 256), (100, 256), (256, 100)]
    assert len(list(generator.generate_many(images, stop=lambda: len(predictor.crops) >= 5))) == 2


def test_tidied_masks_are_those_of_tidy(pocket_shaped, photo) -> None:
    """Every mask is tidied, except for components and holes that were clicked."""
    arguments = dict(points_per_side=3, pred_iou_thresh=-9, stability_score_thresh=0.0, box_nms_thresh=1.0)
    image, share = photo(1, 90, 120), 0.3
    plain = SamAutomaticMaskGenerator(pocket_shaped, **arguments, crop_nms_thresh=1.0).generate(image)
    tidied = SamAutomaticMaskGenerator(pocket_shaped, **arguments, crop_nms_thresh=1.0, tidy=share).generate(image)
    expected = [tidy(r["segmentation"], share, np.array(r["point_coords"])) for r in plain]
    changed = sum(not np.array_equal(r["segmentation"], mask) for r, mask in zip(plain, expected, strict=True))
    assert changed > 3
    key = lambda mask: mask.tobytes()  # noqa: E731
    assert {key(r["segmentation"]) for r in tidied} == {key(mask) for mask in expected}
    for r in tidied:
        ys, xs = np.nonzero(r["segmentation"])
        assert r["area"] == len(xs) and r["bbox"] == [xs.min(), ys.min(), np.ptp(xs), np.ptp(ys)]


def test_presets() -> None:
    predictor = BoxPredictor([BIG])
    fast = SamAutomaticMaskGenerator.from_preset(predictor, "fast")
    assert len(fast.point_grids[0]) == 256
    fine = SamAutomaticMaskGenerator.from_preset(predictor, "fine", points_per_side=20)
    assert [len(g) for g in fine.point_grids] == [400, 100] and fine.stability_score_thresh == 0.92
    assert set(PRESETS) == {"fast", "default", "fine"}
    with pytest.raises(ValueError, match="'default', 'fast', 'fine'"):
        SamAutomaticMaskGenerator.from_preset(predictor, "slow")


def test_wrong_arguments() -> None:
    predictor = BoxPredictor([])
    for wrong, message in (
        (dict(points_per_side=None), "exactly one"),
        (dict(points_per_side=0), "at least 1 point per side; got 0"),
        (dict(point_grids=[np.zeros((1, 2))]), "exactly one"),
        (dict(tidy=1.0), "below 1; got 1.0"),
        (dict(output_mode="png"), "unknown output_mode 'png'"),
        (dict(points_per_side=None, point_grids=[np.zeros((1, 2))], crop_n_layers=1), "needs 2 point_grids; got 1"),
    ):
        with pytest.raises(ValueError, match=message):
            SamAutomaticMaskGenerator(predictor, **wrong)


def test_a_failure_leaves_no_image_set(pocket_shaped, photo, monkeypatch) -> None:
    predictor = SamPredictor(pocket_shaped)
    monkeypatch.setattr(amg, "Upsampler", SimpleNamespace)
    with pytest.raises(TypeError):
        SamAutomaticMaskGenerator(predictor, 2).generate(photo(0, 50, 60))
    assert not predictor.is_image_set


def test_of_masks_that_cleaning_makes_alike_the_unchanged_is_kept() -> None:
    """Even if the changed one has the higher predicted IoU."""
    mask = np.zeros((100, 100), bool)
    mask[10:60, 10:60] = True
    spotted = mask.copy()
    spotted[90:93, 90:93] = True
    found = [
        Found(mask_to_uncompressed_rle(m), mask_to_box(m), iou, 1.0, np.zeros(2), [0, 0, 100, 100])
        for m, iou in ((spotted, 0.99), (mask, 0.9))
    ]
    generator = SamAutomaticMaskGenerator(BoxPredictor([]), 2, min_mask_region_area=20)
    assert [f.predicted_iou for f in generator._clean(found)] == [0.9]
    (cleaned,) = generator._clean(found[:1])
    np.testing.assert_array_equal(rle_to_mask(cleaned.rle), mask)
    assert cleaned.box.tolist() == [10, 10, 59, 59]


def test_a_model_that_is_none_is_named():
    for wrong in (
        dict(points_per_batch=0),
        dict(points_per_batch=None),
        dict(crop_n_layers=-1),
        dict(crop_n_points_downscale_factor=0),
        dict(crop_overlap_ratio=1.0),
        dict(crop_overlap_ratio=float("nan")),
    ):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be (a whole number of )?at least"):
            SamAutomaticMaskGenerator(BoxPredictor([]), 2, **wrong)
    for name in ("pred_iou_thresh", "stability_score_thresh", "box_nms_thresh"):
        with pytest.raises(ValueError, match=f"{name} must be a number; got nan"):
            SamAutomaticMaskGenerator(BoxPredictor([]), 2, **{name: float("nan")})
    with pytest.raises(TypeError, match="needs a SamModel or its name; got int"):
        SamAutomaticMaskGenerator(3)
