"""The encoder in bfloat16, which this machine may emulate: types, masks, and when it is used."""

import numpy as np
import pytest
import torch

from sam_hub.errors import WrongUsage
from sam_hub.inference import precision
from sam_hub.inference.predictor import SamPredictor
from sam_hub.models.modeling_sam import SamModel

from ..models.conftest import randomise, tiny_config
from ..models.test_sam2 import tiny_config as tiny_sam2

IMAGE = np.random.default_rng(0).integers(0, 256, (70, 96, 3), np.uint8)
CLICK = dict(point_coords=np.array([[40.0, 30]]), point_labels=np.array([1]))
MODELS = {
    "sam": lambda: SamModel(tiny_config("sam_vision_model")),
    "mobile_sam": lambda: SamModel(tiny_config("sam_hub_tiny_vit")),
    "sam2": lambda: SamModel(tiny_sam2("sam2")),
}


@pytest.fixture
def with_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: True)


def both(model: SamModel) -> tuple[SamPredictor, SamPredictor]:
    """In full and in fast precision, with the image set."""
    predictors = SamPredictor(model), SamPredictor(model, precision="fast")
    for predictor in predictors:
        predictor.set_image(IMAGE)
    return predictors


@pytest.mark.parametrize("family", MODELS)
def test_products_in_bfloat16_and_the_rest_in_float32(family, with_bfloat16):
    model = randomise(MODELS[family]()).eval()
    full, fast = both(model)
    for a, b in [(full.encoded.embedding, fast.encoded.embedding)] + [
        (full.encoded.features[name], fast.encoded.features[name]) for name in full.encoded.features
    ]:
        relative = float((a - b).square().mean().sqrt() / a.square().mean().sqrt())
        assert b.dtype == torch.float32 and 1e-4 < relative < 0.05
    (masks, scores, _), (found, guessed, _) = (p.predict(**CLICK, return_logits=True) for p in (full, fast))
    assert np.abs(masks - found).max() < 0.1 * np.abs(masks).max() and np.abs(scores - guessed).max() < 0.05
    assert full.backend.identity() != fast.backend.identity()  # of saved embeddings


@pytest.mark.parametrize("family", ["sam", "mobile_sam"])
def test_norms_after_the_neck_are_in_float32(family, with_bfloat16):
    """Values of the embedding are no multiples of bfloat16's steps."""
    _, fast = both(randomise(MODELS[family]()).eval())
    embedding = fast.encoded.embedding
    assert (embedding != embedding.bfloat16().float()).float().mean() > 0.9


def test_the_same_without_the_hardware(monkeypatch):
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: False)
    full, fast = both(randomise(MODELS["sam"]()).eval())
    assert torch.equal(full.encoded.embedding, fast.encoded.embedding)
    assert full.backend.identity() == fast.backend.identity()


def test_the_same_for_encoders_that_gain_little(with_bfloat16):
    full, fast = both(SamModel.from_pretrained("pocket").eval())
    assert torch.equal(full.encoded.embedding, fast.encoded.embedding)


def test_a_model_of_another_type_keeps_it(with_bfloat16):
    _, fast = both(randomise(MODELS["sam"]()).eval().double())
    assert fast.encoded.embedding.dtype == torch.float64


def test_an_unknown_precision_is_refused():
    with pytest.raises(WrongUsage, match="take 'full' or 'fast'"):
        SamPredictor("pocket", precision="half")
