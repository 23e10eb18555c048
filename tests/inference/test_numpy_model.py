"""`pocket` in NumPy equals the PyTorch model up to rounding, with random weights and every kind of prompt."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from sam_hub import SamImageProcessor, SamModel, SamPredictor
from sam_hub.cli import loading
from sam_hub.errors import CheckpointError
from sam_hub.hub import ASSETS
from sam_hub.inference.backends import Prompts
from sam_hub.inference.image_predictor import ImagePredictor
from sam_hub.inference.numpy_model.backend import NumpyBackend, supports
from sam_hub.inference.numpy_model.layers import gelu
from sam_hub.models.fine_decoder import with_fine_features

from ..models.conftest import IMAGE_SIZE, randomise, tiny_config

LIMIT = 2e-5
GRID = IMAGE_SIZE // 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = randomise(with_fine_features(SamModel(tiny_config("sam_hub_pocket"))), 3).eval()
    place = tmp_path_factory.mktemp("pocket")
    model.save_pretrained(place)
    SamImageProcessor.for_config(model.config).save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def pair(folder: Path) -> tuple[ImagePredictor, SamPredictor]:
    """In NumPy and in PyTorch."""
    assert supports(folder)
    return ImagePredictor(NumpyBackend(folder)), SamPredictor(SamModel.from_pretrained(folder).eval())


def photo(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def assert_close(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    assert np.abs(ours - theirs).max() <= LIMIT * max(1, np.abs(theirs).max())


@pytest.mark.parametrize("size", [(96, 96), (37, 96), (96, 41), (1, 1), (5, 300)])
def test_the_encoder(pair: tuple, size: tuple[int, int]) -> None:
    prepared = pair[0].preparation(photo(*size))
    np.testing.assert_array_equal(prepared.pixel_values, pair[1].preparation(photo(*size)).pixel_values)
    ours, theirs = (p.backend.to_arrays(p.backend.encode(prepared)) for p in pair)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert np.abs(theirs[name]).max() > 0.1
        assert_close(value, theirs[name])


ROUGH = np.random.default_rng(5).normal(0, 5, (1, 1, 4 * GRID, 4 * GRID)).astype(np.float32)
XY = np.array([[[20.5, 30], [70, 11]], [[0, 0], [95, 95]]], np.float32)
BOXES = np.array([[3, 4, 50, 60], [80, 20, 95, 90]], np.float32)
PROMPTS = {
    "a click": Prompts(XY[:1, :1], np.array([[1]])),
    "object and background": Prompts(XY, np.array([[1, 0], [0, 1]])),
    "padding": Prompts(XY, np.array([[1, -10], [1, 0]])),
    "not a point": Prompts(XY, np.array([[-1, 1], [-1, 0]])),
    "boxes": Prompts(boxes=BOXES),
    "points and boxes": Prompts(XY, np.array([[1, 0], [1, 1]]), BOXES),
    "points, boxes and a mask for all": Prompts(XY, np.array([[1, 0], [1, 1]]), BOXES, ROUGH),
    "boxes and a mask for each": Prompts(boxes=BOXES, masks=np.concatenate([ROUGH, -ROUGH])),
    "a mask": Prompts(masks=ROUGH),
    "nothing": Prompts(),
}


@pytest.mark.parametrize("several", [True, False], ids=["three masks", "one mask"])
@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS)
def test_the_decoder(pair: tuple, prompts: Prompts, several: bool) -> None:
    found = []
    for predictor in pair:
        predictor.set_image(photo(60, 96))
        labels = prompts.labels if prompts.labels is None else prompts.labels.astype(np.int64)
        given = Prompts(prompts.points, labels, prompts.boxes, prompts.masks)
        found.append(predictor.backend.decode(predictor._image.held, given, several))
    (masks, iou), (expected_masks, expected_iou) = found
    assert expected_masks.std() > 0.01
    assert_close(masks, expected_masks)
    assert_close(iou, expected_iou)


def test_gelu() -> None:
    x = np.concatenate([np.linspace(-9, 9, 4001), [-1e4, -60, 0, 60, 1e4]]).astype(np.float32)
    expected = F.gelu(torch.from_numpy(x).double()).numpy()
    assert np.abs(gelu(x) - expected).max() < 1e-6
    assert np.abs(F.gelu(torch.from_numpy(x), approximate="tanh").numpy() - expected).max() > 1e-4


def test_the_embedded_model_gives_the_same_masks() -> None:
    image = np.asarray(Image.open(Path(__file__).parents[2] / "examples" / "coffee.jpg").convert("RGB"))
    light, usual = loading.load_quickly("pocket", None, 1), SamPredictor("pocket")
    assert isinstance(light.backend, NumpyBackend) and light.capabilities.tidy == usual.capabilities.tidy > 0
    for predictor in (light, usual):
        predictor.set_image(image)
    for prompt in (
        {"point_coords": np.array([[222, 262]]), "point_labels": np.array([1])},
        {"box": [172, 17, 412, 310]},
    ):
        ours, theirs = (p.predict(**{k: np.array(v) for k, v in prompt.items()}) for p in (light, usual))
        assert theirs[0].any() and (ours[0] != theirs[0]).sum() <= 3
        np.testing.assert_allclose(ours[1], theirs[1], atol=1e-5)
        np.testing.assert_allclose(ours[2], theirs[2], atol=2e-4)


@pytest.mark.parametrize(
    ("part", "setting", "value"),
    [
        ("vision_config", "model_type", "sam_hub_tiny_vit"),
        ("vision_config", "output_fine_features", False),
        ("prompt_encoder_config", "model_type", "sam_hub_other"),
        ("prompt_encoder_config", "hidden_act", "relu"),
        ("mask_decoder_config", "model_type", "sam_mask_decoder"),
        ("mask_decoder_config", "hidden_act", "gelu"),
        ("mask_decoder_config", "rank_by", "stability"),
        ("mask_decoder_config", "always_multimask", True),
        (None, "text_embedding_size", 512),
    ],
)
def test_other_models_are_left_to_torch(
    folder: Path, tmp_path: Path, part: str | None, setting: str, value: object
) -> None:
    config = json.loads((folder / "config.json").read_text())
    (config[part] if part else config)[setting] = value
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert not supports(tmp_path)


def test_damaged_weights_are_a_sentence(folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    for content in (None, b"nothing"):
        if content:
            (tmp_path / "model.safetensors").write_bytes(content)
        with pytest.raises(CheckpointError, match="damaged or missing"):
            NumpyBackend(tmp_path)


@pytest.mark.parametrize(
    ("name", "device", "photos", "light"),
    [
        ("pocket", None, 1, True),
        ("pocket", "cpu", 10_000, True),
        ("pocket", None, loading.FEW_PHOTOS + 1, False),
        ("pocket", "cuda", 1, False),
        (str(ASSETS / "pocket"), None, 1, True),
        ("a folder of a user", None, 1, False),
        ("mobile-sam", "cpu", 1, False),
    ],
)
def test_who_takes_the_light_way(
    monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, device: str | None, photos: int, light: bool
) -> None:
    name = str(folder) if name == "a folder of a user" else name
    monkeypatch.setattr(loading, "load_predictor", lambda *asked, precision: (*asked, precision))
    found = loading.load_quickly(name, device, photos, "fast")
    assert isinstance(found, ImagePredictor) if light else found == (name, device, "fast")
