"""The value range of a model's own processor is applied exactly once, on every path of an image."""

import warnings
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from sam_hub.annotation.plan import Photo
from sam_hub.annotation.work import AnnotationTask, Annotator
from sam_hub.inference.amg import SamAutomaticMaskGenerator
from sam_hub.inference.backends import Backend, Capabilities
from sam_hub.inference.image_predictor import ImagePredictor
from sam_hub.models.image_processing_sam import SamImageProcessor
from sam_hub.ops.images import read_image
from sam_hub.ops.preparation import Preparation
from sam_hub.segmentation.prompts import Prompt
from sam_hub.segmentation.run import Request, Segmenter
from sam_hub.tiling.generate import generate_tiled

SIDE = 48
OWN = (0, 4095)
LEVELS = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
DEEP = LEVELS.astype(np.uint16) * 16
EXACT = np.rint(DEEP / 4095 * 255).astype(np.uint8)


class Watching(Backend):
    """Records the grey levels that it receives, and gives empty masks."""

    capabilities = Capabilities()

    def __init__(self) -> None:
        self.preparation = Preparation.from_settings({"size": {"longest_edge": SIDE}, "value_range": list(OWN)})
        self.seen: list[np.ndarray] = []

    def encode(self, image):
        self.seen.append(image.resized)
        return image.resized.mean()

    def decode(self, held, prompts, multimask_output=True, hq_token_only=False):
        count = len(prompts), 3 if multimask_output else 1
        return np.full((*count, 12, 12), -1, np.float32), np.zeros(count, np.float32)


def by_predictor(predictor, path):
    predictor.set_image(DEEP)


def by_predictor_again(predictor, path):
    predictor.set_image(read_image(path, OWN))


def by_generator(predictor, path):
    SamAutomaticMaskGenerator(predictor, points_per_side=1).generate(DEEP)


def by_segment(predictor, path):
    request = Request(prompts=[Prompt(points=[(9, 9)], labels=[1])])
    segmenter = Segmenter(request, lambda: predictor)
    segmenter(path)
    predictor._cache.clear()
    segmenter(path)


def by_window(predictor, path):
    request = Request(prompts=[Prompt(points=[(9, 9)], labels=[1])], window=SIDE)
    Segmenter(request, lambda: predictor)(path)


def by_everything(predictor, path, tile=None):
    task = AnnotationTask(
        path.parent / "out", "model", "cpu", {"points_per_side": 1}, False, 1, tile=tile, overlap=0.25
    )
    outcome = Annotator(task, predictor, raises=True)(Photo("deep", "deep.png", str(path), None, None))
    assert outcome.error is None


def by_tiles(predictor, path):
    list(generate_tiled(SamAutomaticMaskGenerator(predictor, points_per_side=1), path, tile=SIDE))


ENTRANCES = [by_predictor, by_predictor_again, by_generator, by_segment, by_window, by_everything, by_tiles]


@pytest.mark.parametrize("enter", [*ENTRANCES, partial(by_everything, tile=SIDE)])
def test_it_is_applied_once(enter, tmp_path):
    path, backend = tmp_path / "deep.png", Watching()
    Image.fromarray(DEEP).save(path)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "no mask is left")
        warnings.filterwarnings("ignore", ".*less than a quarter")  # `segment` looks at the photo before the model
        enter(ImagePredictor(backend), path)
    assert backend.seen
    for seen in backend.seen:
        np.testing.assert_array_equal(seen[..., 0], EXACT)


def test_what_a_call_says_wins():
    backend = Watching()
    predictor = ImagePredictor(backend)
    predictor.set_image(read_image(EXACT), value_range=(0, 127))
    np.testing.assert_array_equal(backend.seen[0][..., 0], np.minimum(np.rint(EXACT.astype(int) * 255 / 127), 255))
    predictor.set_image(EXACT)  # an array of somebody else's is read as the model says
    assert backend.seen[1].max() <= 16


def test_crops_of_the_pipeline():
    processor = SamImageProcessor(size={"longest_edge": SIDE}, value_range=OWN)
    _, _, crops, _ = processor.generate_crop_boxes(DEEP, points_per_crop=1)
    found = processor(crops, return_tensors="pt")["pixel_values"]
    plain = SamImageProcessor(size={"longest_edge": SIDE})
    assert torch.equal(found, plain(EXACT, return_tensors="pt")["pixel_values"])
    bright = processor(read_image(EXACT), value_range=(0, 127), return_tensors="pt")["pixel_values"]
    assert torch.equal(bright, plain(EXACT, value_range=(0, 127), return_tensors="pt")["pixel_values"])


def test_what_is_computed_from_grey_levels_is_an_ordinary_array():
    levels = read_image(EXACT)
    assert type(levels * 2) is type(levels / 2) is type(np.stack([levels])) is np.ndarray
    assert isinstance(levels.max(), np.uint8) and levels.mean().shape == ()
