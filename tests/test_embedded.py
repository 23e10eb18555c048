"""`pocket`, the bundled model: small, complete, and usable without a network."""

import json
import socket

import pytest
import torch
from PIL import Image
from safetensors import safe_open

from sam_hub import SamModel, SamPredictor, SamProcessor
from sam_hub.hub import ASSETS
from sam_hub.zoo import ZOO

POCKET = ASSETS / "pocket"


@pytest.fixture(scope="module")
def predictor() -> SamPredictor:
    return SamPredictor(SamModel.from_pretrained("pocket"))


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_it_is_stored_in_half_precision_below_20_mb():
    file = POCKET / "model.safetensors"
    assert file.stat().st_size <= 20e6
    with safe_open(file, "pt") as weights:
        kinds = {key: weights.get_slice(key).get_dtype() for key in weights.keys()}  # noqa: SIM118 no mapping
    assert {kind for key, kind in kinds.items() if not key.endswith("num_batches_tracked")} == {"F16"}


def test_it_loads_in_single_precision_without_a_network(no_network):
    model = SamModel.from_pretrained("pocket")
    assert model.dtype == torch.float32
    assert sum(p.numel() for p in model.parameters()) == ZOO["pocket"].params
    assert all(torch.isfinite(t).all() for t in model.state_dict().values())
    assert SamModel.from_pretrained("pocket", dtype=torch.float16).dtype == torch.float16


def test_its_processor_prepares_what_the_encoder_was_trained_on(no_network):
    processor, config = SamProcessor.from_pretrained("pocket"), SamModel.from_pretrained("pocket").config
    prepared = processor.image_processor
    assert prepared.size["longest_edge"] == config.vision_config.image_size == ZOO["pocket"].image_size
    assert prepared.image_mean == pytest.approx([127 / 255] * 3)
    assert prepared.image_std == pytest.approx([128 / 255] * 3)


@pytest.mark.parametrize(
    ("photo", "box", "points", "labels"),
    [
        ("astronaut.jpg", (20, 10, 365, 511), [(220, 130), (200, 400), (330, 330)], [1, 1, 1]),
        ("cat.jpg", (25, 0, 400, 299), [(120, 270), (370, 120)], [1, 1]),
        ("coffee.jpg", (172, 17, 412, 310), [(365, 280)], [0]),
    ],
)
def test_the_prompts_of_make_try_give_the_thing(root, predictor, photo, box, points, labels):
    """Most of the mask lies in the box, and it fills much of it."""
    image = Image.open(root / "examples" / photo)
    predictor.set_image(image)
    mask = predictor.predict(points, labels, box=box, multimask_output=False)[0][0]
    x0, y0, x1, y1 = box
    inside = mask[y0:y1, x0:x1]
    assert mask.shape == image.size[::-1]
    assert inside.sum() >= 0.9 * mask.sum()
    assert inside.mean() > 0.4


def test_its_card_tells_what_it_is_and_where_its_data_came_from(root):
    card = (POCKET / "README.md").read_text()
    for word in ("license: apache-2.0", "mask-generation", "COCO", "Clothing Co-Parsing", "DSB 2018", "ImageNet"):
        assert word in card
    assert "sam_hub" in json.loads((POCKET / "config.json").read_text())["model_type"]
