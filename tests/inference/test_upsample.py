"""Windows against `resize_masks` on the whole image, which other tests compare with the original's two resizes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sam_hub.inference.upsample import MaskFrame, Upsampler
from sam_hub.models.mask_resizing import resize_masks
from sam_hub.ops.masks import mask_to_box, stability_score

LOW = 64
FRAMES = {  # input size, image size
    "photo": ((192, 256), (427, 570)),
    "portrait": ((256, 171), (1200, 801)),
    "smaller than the low-res mask": ((256, 171), (60, 40)),
    "strip": ((256, 1), (5000, 10)),
    "pixel": ((256, 256), (1, 1)),
}


def blobs(seed: int) -> np.ndarray:
    """Low-res logits (LOW, LOW) with some ground above 1 and most below -1."""
    noise = torch.randn(1, 1, 10, 10, generator=torch.Generator().manual_seed(seed))
    return (F.interpolate(noise, (LOW, LOW), mode="bicubic")[0, 0] * 4 - 3).numpy()


@pytest.mark.parametrize("size", [(192, 192), (193, 320), (448, 65)])
def test_bicubic_rows_that_lie_on_a_low_res_pixel(size: tuple) -> None:
    """Of an image three, five, ... times as large, every third, fifth, ... row reads one low-res row alone."""
    logits = torch.randn(1, LOW, LOW, generator=torch.Generator().manual_seed(0))
    whole = resize_masks(logits, (256, 256), (256, 256), size, None, "bicubic")[0].numpy()
    upsampler = Upsampler((LOW, LOW), MaskFrame((256, 256), (256, 256), size, "bicubic"))
    part, _ = upsampler(logits[0].numpy(), (slice(0, LOW), slice(0, LOW)))
    np.testing.assert_allclose(part, whole, atol=5e-5)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("how", ["crop", "bicubic", "probability"])
@pytest.mark.parametrize("sizes", FRAMES.values(), ids=FRAMES)
def test_windows_are_parts_of_the_whole(sizes: tuple, how: str, seed: int) -> None:
    used, size = sizes if how == "crop" else ((256, 256), sizes[1])
    frame, logits = MaskFrame((256, 256), used, size, how), blobs(seed)
    whole = resize_masks(torch.from_numpy(logits)[None], (256, 256), used, size, None, how)[0].numpy()
    upsampler = Upsampler((LOW, LOW), frame)
    window = upsampler.window(logits, -1.0)
    if window is None:
        assert (whole <= -1).all()
        return
    margin = logits[upsampler.margin(window)]
    part, (x, y) = upsampler(margin, window)
    inside = np.s_[y : y + part.shape[0], x : x + part.shape[1]]
    # The logit of a probability is steep at its ends, where no threshold is.
    np.testing.assert_allclose(part.clip(-4, 4), whole[inside].clip(-4, 4), atol=2e-4 if how == "probability" else 5e-5)
    outside = np.ones(size, dtype=bool)
    outside[inside] = False
    assert not outside.any() or whole[outside].max() <= -1

    bounds = upsampler.box_bounds(margin, window, 0.0)
    if bounds is not None:
        inner, outer = bounds
        box = mask_to_box(whole > 0)
        assert (outer[:2] <= box[:2]).all() and (box[:2] <= inner[:2]).all()
        assert (inner[2:] <= box[2:]).all() and (box[2:] <= outer[2:]).all()


def test_windows_are_small_and_bounds_are_close() -> None:
    logits = np.full((LOW, LOW), -5.0, dtype=np.float32)
    logits[20:30, 8:24] = 5
    upsampler = Upsampler((LOW, LOW), MaskFrame((256, 256), (256, 256), (640, 640)))  # 10 pixels for one
    window = upsampler.window(logits, -1.0)
    part, (x, y) = upsampler(logits[upsampler.margin(window)], window)
    assert 100 < part.shape[0] <= 120 and 160 < part.shape[1] <= 180  # at most one low-res pixel more on each side
    assert 70 <= x < 80 and 190 <= y < 200
    inner, outer = upsampler.box_bounds(logits[upsampler.margin(window)], window, 0.0)
    box = mask_to_box(part > 0) + np.array([x, y, x, y])
    assert np.abs(inner - box).max() <= 10 and np.abs(outer - box).max() <= 10


def test_bounds_hold_for_thin_tips() -> None:
    """A line of weak pixels can vanish between the pixels of the image: it must not count as certain."""
    logits = np.full((LOW, LOW), -50.0, dtype=np.float32)
    logits[30:34, 30:34] = 5
    logits[31, 34:60] = 0.01
    upsampler = Upsampler((LOW, LOW), MaskFrame((256, 256), (256, 256), (100, 100)))
    window = upsampler.window(logits, -1.0)
    margin = logits[upsampler.margin(window)]
    part, (x, _) = upsampler(margin, window)
    right = x + np.flatnonzero((part > 0).any(axis=0))[-1]
    inner, outer = upsampler.box_bounds(margin, window, 0.0)
    assert inner[2] <= right < outer[2] - 30


def test_padding_is_not_looked_at() -> None:
    logits = np.full((LOW, LOW), -5.0, dtype=np.float32)
    logits[40:] = 5  # below the image, which ends with row 32
    upsampler = Upsampler((LOW, LOW), MaskFrame((256, 256), (128, 256), (100, 200)))
    assert upsampler.window(logits, -1.0) is None


@pytest.mark.parametrize("grid", [(16, 16), (5, 5)])
def test_what_the_image_reads_is_within_the_visible_cells(grid: tuple[int, int]) -> None:
    padded = (16 * grid[0], 16 * grid[1])
    low = (4 * grid[0], 4 * grid[1])
    for used in range(1, padded[0] + 1, 11 if grid[0] > 5 else 3):
        for image in (3, used, 500):
            frame = MaskFrame(padded, (used, padded[1]), (image, image))
            read = Upsampler(low, frame).visible
            rows, columns = frame.visible(grid)
            assert read[0] <= 4 * rows and columns == grid[1]
            assert rows <= read[0] // 4 + 2 or image < used, "and not much more is drawn"
    assert MaskFrame(padded, padded, (9, 9), "bicubic").visible(grid) == grid


@pytest.mark.parametrize("how", ["crop", "probability"])
@pytest.mark.parametrize("sizes", FRAMES.values(), ids=FRAMES)
def test_no_mask_is_more_stable_than_its_bound(sizes: tuple, how: str) -> None:
    used, size = sizes if how == "crop" else ((256, 256), sizes[1])
    upsampler = Upsampler((LOW, LOW), MaskFrame((256, 256), used, size, how))
    for seed in range(8):
        for steepness in (0.3, 1, 3):
            logits, offset = blobs(seed) * np.float32(steepness), (1.0, 0.5)[seed % 2]
            window = upsampler.window(logits, -offset)
            if window is None:
                continue
            margin = logits[upsampler.margin(window)]
            score = stability_score(upsampler(margin, window)[0], 0, offset)
            bound = upsampler.stability_bound(margin, window, 0, offset)
            assert bound >= score
    assert Upsampler((LOW, LOW), MaskFrame((256, 256), used, size, "bicubic")).stability_bound(*[None] * 4) == np.inf


def test_the_bound_is_close_for_large_masks() -> None:
    y, x = np.mgrid[:LOW, :LOW]
    logits = (20 - np.hypot(x - 32, y - 32)).astype(np.float32) / 4  # +-1 is 4 low-res pixels to either side
    upsampler = Upsampler((LOW, LOW), MaskFrame((256, 256), (256, 256), (640, 640)))
    window = upsampler.window(logits, -1.0)
    bound = upsampler.stability_bound(logits[upsampler.margin(window)], window, 0, 1.0)
    assert (16 / 24) ** 2 < bound < (17.5 / 22.5) ** 2
