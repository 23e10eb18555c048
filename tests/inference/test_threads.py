"""Predictors and generators in threads, tasks and processes: each gets its own image's answer or an error."""

import asyncio
import copy
import multiprocessing
import pickle
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest

from sam_hub.errors import SharedPredictorError
from sam_hub.inference.amg import SamAutomaticMaskGenerator
from sam_hub.inference.predictor import SamPredictor

CLICK = np.array([[20.0, 30]]), np.array([1])
SETTINGS = dict(
    points_per_side=3, pred_iou_thresh=0.1, stability_score_thresh=0.1, output_mode="coco_rle", box_nms_thresh=1.0
)


@pytest.fixture
def photos(photo) -> list[np.ndarray]:
    return [photo(0, 60, 80), photo(1, 80, 50), photo(2, 64, 64)]


def segmentations(generator: SamAutomaticMaskGenerator, image: np.ndarray) -> list:
    return [record["segmentation"] for record in generator.generate(image)]


def test_one_generator_in_several_threads(pocket_shaped, photos):
    generator = SamAutomaticMaskGenerator(pocket_shaped, **SETTINGS)
    expected = [segmentations(generator, photo) for photo in photos]
    assert all(expected) and expected[0] != expected[1]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: segmentations(generator, photos[i % 3]), range(12)))
    assert found == [expected[i % 3] for i in range(12)]


class OneImage:
    """A foreign predictor that wraps ours."""

    def __init__(self, predictor: SamPredictor) -> None:
        self.inner = predictor
        self.set_image, self.reset_image, self.click_each = (
            predictor.set_image,
            predictor.reset_image,
            predictor.click_each,
        )

    @property
    def mask_frame(self):
        return self.inner.mask_frame


def test_foreign_predictors_take_turns(pocket_shaped, photos):
    generator = SamAutomaticMaskGenerator(OneImage(SamPredictor(pocket_shaped)), **SETTINGS)
    expected = [segmentations(generator, photo) for photo in photos]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: segmentations(generator, photos[i % 3]), range(9)))
    assert found == [expected[i % 3] for i in range(9)]


def test_a_generator_leaves_the_image_of_its_predictor_alone(pocket_shaped, photos):
    predictor = SamPredictor(pocket_shaped)
    predictor.set_image(photos[0])
    before = predictor.predict(*CLICK)
    SamAutomaticMaskGenerator(predictor, **SETTINGS).generate(photos[1])
    for a, b in zip(before, predictor.predict(*CLICK), strict=True):
        np.testing.assert_array_equal(a, b)


def test_who_lost_the_image_is_told(pocket_shaped, photos):
    """Two threads set images in turn, in a fixed order."""
    predictor = SamPredictor(pocket_shaped)
    predictor.set_image(photos[0])
    other = threading.Thread(target=predictor.set_image, args=[photos[1]])
    other.start()
    other.join()
    for ask in (
        lambda: predictor.predict(*CLICK),
        lambda: predictor.predict_low_res(*CLICK),
        lambda: predictor.click_each(CLICK[0], lambda s: s > 0),
        lambda: predictor.mask_frame,
        predictor.get_image_embedding,
    ):
        with pytest.raises(SharedPredictorError, match=r"copy\.copy"):
            ask()
    predictor.set_image(photos[0])
    predictor.predict(*CLICK)


def test_an_image_may_be_set_in_one_thread_and_used_in_another(pocket_shaped, photos):
    predictor = SamPredictor(pocket_shaped)
    predictor.set_image(photos[0])
    expected = predictor.predict(*CLICK)[2]
    predictor.reset_image()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(predictor.set_image, photos[0]).result()
        np.testing.assert_array_equal(predictor.predict(*CLICK)[2], expected)
        pool.submit(predictor.set_image, photos[1]).result()
        predictor.predict(*CLICK)  # this thread has set none that was replaced


def test_one_predictor_in_several_threads_is_never_wrong(pocket_shaped, photos):
    predictor = SamPredictor(pocket_shaped)
    expected = []
    for photo in photos:
        predictor.set_image(photo)
        expected.append(predictor.predict(*CLICK)[0])
    predictor.reset_image()
    told = []

    def visit(i: int) -> bool:
        try:
            predictor.set_image(photos[i % 3])
            return np.array_equal(predictor.predict(*CLICK)[0], expected[i % 3])
        except SharedPredictorError:
            told.append(i)
            return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(visit, range(40)))


def test_an_image_and_its_owner_change_together(pocket_shaped, photos, monkeypatch):
    """A prompt that comes while another thread puts its image in place."""
    predictor = SamPredictor(pocket_shaped)
    predictor.set_image(photos[0])
    claim, placing, asked = predictor._ownership.claim, threading.Event(), threading.Event()

    def slow_claim() -> None:
        placing.set()
        asked.wait(0.5)
        claim()

    monkeypatch.setattr(predictor._ownership, "claim", slow_claim)
    other = threading.Thread(target=predictor.set_image, args=[photos[1]])
    other.start()
    assert placing.wait(20)
    with pytest.raises(SharedPredictorError):
        predictor.predict(*CLICK)
    asked.set()
    other.join()


def test_encoding_anew_leaves_the_image_of_another_thread(pocket_shaped, photos, monkeypatch):
    """The model was cast, and another thread sets its image while this one's is encoded again."""
    model = copy.deepcopy(pocket_shaped)
    predictor = SamPredictor(model)
    predictor.set_image(photos[0])
    model.double()
    encode, first = predictor._encode, threading.Event()

    def overtaken(pixels):
        found = encode(pixels)
        if not first.is_set():
            first.set()
            other = threading.Thread(target=predictor.set_image, args=[photos[1]])
            other.start()
            other.join()
        return found

    monkeypatch.setattr(predictor, "_encode", overtaken)
    predictor.predict(*CLICK)
    assert predictor.original_size == photos[1].shape[:2]


def test_copies_in_several_threads(pocket_shaped, photos):
    predictor = SamPredictor(pocket_shaped)
    expected = []
    for photo in photos:
        predictor.set_image(photo)
        expected.append(predictor.predict(*CLICK)[0])

    def visit(i: int) -> bool:
        own = copy.copy(predictor)
        own.set_image(photos[i % 3])
        return np.array_equal(own.predict(*CLICK)[0], expected[i % 3])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(visit, range(24)))


def test_tasks_of_one_thread(pocket_shaped, photos):
    predictor = SamPredictor(pocket_shaped)
    expected = []
    for photo in photos[:2]:
        predictor.set_image(photo)
        expected.append(predictor.predict(*CLICK)[0])

    async def visit(i: int, own: SamPredictor):
        own.set_image(photos[i])
        await asyncio.sleep(0)
        return own.predict(*CLICK)[0]

    async def together(make) -> list:
        return await asyncio.gather(*(visit(i, make()) for i in range(2)), return_exceptions=True)

    first, second = asyncio.run(together(lambda: predictor))
    assert isinstance(first, SharedPredictorError)
    np.testing.assert_array_equal(second, expected[1])
    for found, wanted in zip(asyncio.run(together(lambda: copy.copy(predictor))), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    predictor.predict(*CLICK)  # outside of any task it is the image that was set last


def in_process(predictor: SamPredictor, image: np.ndarray) -> np.ndarray:
    predictor.set_image(image)
    return predictor.predict(*CLICK)[2]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes(pocket_shaped, photos, method):
    predictor = SamPredictor(pocket_shaped)
    expected = [in_process(predictor, photo) for photo in photos[:2]]
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        for photo, wanted in zip(photos, expected, strict=False):
            found = pool.submit(in_process, predictor, photo).result(timeout=300)
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_a_predictor_can_be_pickled(pocket_shaped, photos):
    predictor = SamPredictor(pocket_shaped)
    expected = in_process(predictor, photos[0])
    found = pickle.loads(pickle.dumps(predictor))
    np.testing.assert_array_equal(found.predict(*CLICK)[2], expected)
    SamAutomaticMaskGenerator(found, **SETTINGS).generate(photos[0])
