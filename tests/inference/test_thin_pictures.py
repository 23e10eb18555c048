"""For images a hundred thousand times as long as wide, memory depends only on the number of pixels."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image

from sam_hub.inference import upsample
from sam_hub.inference.upsample import MaskFrame, Upsampler
from sam_hub.models.mask_resizing import resize_masks
from sam_hub.ops import images

LONG = 100_000


def peak(work) -> int:
    """Bytes of numpy's arrays that ``work`` holds at once."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("how", ["crop", "bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(LONG, 1), (1, LONG)])
def test_weights_of_a_resize_and_its_result_are_small(how, size):
    used = ((1024, 1) if size[0] == LONG else (1, 1024)) if how == "crop" else (1024, 1024)
    logits = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)

    def enlarge() -> None:
        upsampler = Upsampler((256, 256), MaskFrame((1024, 1024), used, size, how))
        assert upsampler.nbytes < 64 * LONG
        window = tuple(slice(0, side) for side in upsampler.visible)
        part, place = upsampler(logits[upsampler.margin(window)], window)
        assert part.shape == size and place == (0, 0)

    assert peak(enlarge) < 300 * LONG, "a dense matrix alone has 1,024 bytes for each pixel"


@pytest.mark.parametrize("size", [(700, 3), (3, 700), (40, 30)])
def test_either_order_of_the_axes_is_the_same_mask(monkeypatch, size):
    logits = torch.randn(1, 64, 64, generator=torch.Generator().manual_seed(0))
    frame = MaskFrame((256, 256), (256, 256), size, "bilinear")
    whole = resize_masks(logits, (256, 256), (256, 256), size, None, "bilinear")[0].numpy()
    for piece in (0, 2**24):
        monkeypatch.setattr(upsample, "PIECE", piece)
        part, _ = Upsampler((64, 64), frame)(logits[0].numpy(), (slice(0, 64), slice(0, 64)))
        np.testing.assert_allclose(part, whole, atol=5e-5)
        assert part.flags.f_contiguous, "as run lengths want it"


@pytest.mark.parametrize("mode", ["stretch", "stretch_smooth"])
def test_a_high_picture_is_stretched_in_parts(monkeypatch, mode):
    """The part between Pillow's two passes has the width of the result and the height of the picture."""
    resize, held = Image.Image.resize, []

    def counted(image, size, *more):
        held.append(4 * size[0] * image.height)
        return resize(image, size, *more)

    monkeypatch.setattr(Image.Image, "resize", counted)
    high = np.random.default_rng(0).integers(0, 256, (200_000, 2, 3), dtype=np.uint8)
    found = getattr(images, mode)(high, 1024)
    assert found.shape == (1024, 1024, 3) and max(held) <= 2**28
    monkeypatch.setattr(images, "HELD", 2**40)
    whole = getattr(images, mode)(high[:3000], 100)
    monkeypatch.setattr(images, "HELD", 4 * 3000 * 7)
    assert np.abs(getattr(images, mode)(high[:3000], 100).astype(float) - whole).max() <= 1


def test_a_wide_picture_is_stretched_without_rows_of_its_width():
    wide = np.random.default_rng(0).integers(0, 256, (1, 50_000, 3), dtype=np.uint8)
    assert peak(lambda: images.stretch_float(wide, 256)) < 16 << 20


def test_a_model_takes_them_in_little_memory():
    """In a process that may take 1.5 GB more than one with the model: preparation, embedding, masks of all kinds."""
    code = f"""
import os, resource
import numpy as np
from sam_hub import SamPredictor, SamModel, SamImageProcessor
model = SamModel.from_pretrained("pocket")
own = SamImageProcessor.from_pretrained("pocket")
modes = [{{}}, {{"resize_mode": "stretch"}}, {{"resize_mode": "stretch_float", "mask_resize": "bicubic"}},
         {{"resize_mode": "stretch_smooth", "mask_resize": "bilinear"}}]
SamPredictor(model, own).set_image(np.zeros((9, 9, 3), np.uint8))
taken = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
resource.setrlimit(resource.RLIMIT_AS, (taken + 3 * 2**29,) * 2)
for size in (({10 * LONG}, 1), (1, {10 * LONG})):
    for mode in modes:
        predictor = SamPredictor(model, SamImageProcessor.from_dict({{**own.to_dict(), **mode}}))
        predictor.set_image(np.zeros((*size, 3), np.uint8))
        masks, scores, _ = predictor.predict(np.array([[0, 0]]), np.array([1]))
        assert masks.shape[1:] == size
print("done")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and "done" in done.stdout, done.stderr[-2000:]
