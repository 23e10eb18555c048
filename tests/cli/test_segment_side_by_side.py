"""Several photos in parallel: the same results in the same order, and nothing left behind if one fails."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sam_hub.errors import ImageError
from sam_hub.inference.backends import Backend, Capabilities, Prompts
from sam_hub.inference.image_predictor import ImagePredictor
from sam_hub.ops.preparation import Preparation, Prepared
from sam_hub.segmentation.outputs import plan_outputs
from sam_hub.segmentation.run import PhotoResult, Request, Segmenter, segment_photos

SIDE, PHOTOS = 32, 7


class Brightness(Backend):
    """Masks pixels above the photo's mean brightness, after waiting until enough photos are in progress."""

    def __init__(self, at_once: int) -> None:
        self.preparation = Preparation(SIDE, (SIDE, SIDE), SIDE)
        self.capabilities = Capabilities()
        self.photos_at_once = at_once
        self.threads: set[int] = set()
        self.together = threading.Barrier(at_once)
        self.seen = 0

    def wait(self) -> None:
        if self.seen > 1:  # the first photo, with which the model is loaded, is alone
            self.together.wait(timeout=20)

    def encode(self, image: Prepared) -> np.ndarray:
        self.seen += 1
        self.wait()
        self.threads.add(threading.get_ident())
        grey = image.pixel_values[0].mean(0)
        return grey - grey.mean()

    def decode(
        self, held: np.ndarray, prompts: Prompts, multimask_output: bool = True, hq_token_only: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        return held[None, None, ::4, ::4], np.full((1, 1), held.std(), np.float32)


class Patient(ImagePredictor):
    """Predicts only after the others have set their images: with a shared predictor, all but one would lose theirs."""

    def predict(self, *given: Any, **named: Any) -> tuple:
        self.backend.wait()
        return super().predict(*given, **named)


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{i}.png" for i in range(PHOTOS)]
    for i, path in enumerate(paths):
        noise = np.random.default_rng(i).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((SIDE, SIDE)).save(path)
    return paths


def results(photos: list[Path], backend: Backend, out: Path, raises: bool = False) -> list[PhotoResult]:
    request = Request.parse(["5,5"], [], None, None)
    segmenter = Segmenter(request, lambda: Patient(backend))
    to = plan_outputs(str(out), [], False, photos, [], request.objects, request.candidates)
    return list(segment_photos(photos, segmenter, to, raises))


def test_the_answers_are_those_of_one_after_the_other(photos: list[Path], tmp_path: Path) -> None:
    one, several = Brightness(1), Brightness(2)
    expected, found = results(photos, one, tmp_path / "one"), results(photos, several, tmp_path / "two")
    assert len(one.threads) == 1 and len(several.threads) >= 2
    assert [r.path for r in found] == photos
    for a, b in zip(expected, found, strict=True):
        assert a.photo.scores == b.photo.scores
        np.testing.assert_array_equal(a.photo.masks[0, 0], b.photo.masks[0, 0])
        assert a.files[0].path.read_bytes() == b.files[0].path.read_bytes()
    assert len({r.photo.scores[0, 0] for r in found}) == PHOTOS


def test_a_photo_that_fails_fails_in_its_turn(photos: list[Path], tmp_path: Path) -> None:
    photos[2].write_bytes(b"nothing")
    photos[5].write_bytes(b"nothing")
    order = [0, 2, 1, 3, 4, 5, 6]  # one that loads the model, and two pairs
    found = results([photos[i] for i in order], Brightness(2), tmp_path / "out")
    assert [isinstance(r.error, ImageError) for r in found] == [i in (2, 5) for i in order]
    written = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert written == [f"{i}.mask.png" for i in (0, 1, 3, 4, 6)]


def test_an_error_that_is_let_through_ends_the_run(photos: list[Path], tmp_path: Path) -> None:
    photos[1].write_bytes(b"nothing")
    backend = Brightness(2)
    backend.together = threading.Barrier(1)  # those after it may be begun or not
    with pytest.raises(ImageError):
        results(photos, backend, tmp_path / "out", raises=True)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["0.mask.png"]
    assert not [t for t in threading.enumerate() if t.name.startswith("sam-hub-photo")]
