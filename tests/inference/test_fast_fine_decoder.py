"""The fast decoder for decoders with finer features: those of `pocket` and SAM 2."""

import copy

import numpy as np
import pytest
import torch

from sam_hub.families.sam2.configuration import Sam2MaskDecoderConfig
from sam_hub.families.sam2.decoder import Sam2MaskDecoder
from sam_hub.inference import decoding, fast_decoder
from sam_hub.inference.amg import SamAutomaticMaskGenerator
from sam_hub.inference.fast_decoder import FastDecoder, supports
from sam_hub.inference.predictor import SamPredictor
from sam_hub.models.configuration_parts import FineMaskDecoderConfig
from sam_hub.models.fine_decoder import FineMaskDecoder, with_fine_features
from sam_hub.models.mask_decoder import MaskDecoder
from sam_hub.models.modeling_sam import SamModel

from ..models.conftest import randomise, tiny_config
from ..models.test_sam2 import tiny_config as tiny_sam2

SMALL = {"hidden_size": 64, "mlp_dim": 48, "num_attention_heads": 4}
DECODERS = {
    "pocket": lambda: FineMaskDecoder(FineMaskDecoderConfig(**SMALL)),
    "sam2": lambda: Sam2MaskDecoder(Sam2MaskDecoderConfig(**SMALL)),
}
H, W = 6, 9


def random_decoder(kind: str, dtype: torch.dtype = torch.float64) -> MaskDecoder:
    decoder = randomise(DECODERS[kind](), 1).eval().to(dtype)
    decoder.config._attn_implementation = "sdpa"
    return decoder


def inputs(decoder: MaskDecoder) -> tuple:
    """embedding, image_pe, no-mask vector, sparse, and the maps"""
    c, dtype = decoder.config.hidden_size, decoder.iou_token.weight.dtype
    generator = torch.Generator().manual_seed(2)
    maps = {name: (1, *shape) for name, shape in decoder.feature_shapes((H, W)).items()}
    shapes = (1, c, H, W), (1, c, H, W), (1, 1, c, 1, 1), (1, 5, 3, c)
    features = {name: torch.randn(s, generator=generator, dtype=dtype) for name, s in maps.items()}
    return *(torch.randn(s, generator=generator, dtype=dtype) for s in shapes), features


def everything(iou: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(iou, dtype=torch.bool)


@torch.no_grad()
@pytest.mark.parametrize("kind", DECODERS)
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_fast_is_plain(kind: str, dtype: torch.dtype, limit: float) -> None:
    decoder = random_decoder(kind, dtype)
    embedding, pe, no_mask, sparse, features = inputs(decoder)
    masks, iou, *_ = decoder(embedding, pe, sparse, no_mask, features=features)
    without, *_ = decoder(embedding, pe, sparse, no_mask, features={n: 0 * f for n, f in features.items()})
    assert (masks - without).abs().max() > 0.1, "the maps must matter"
    fast_iou, which, drawn = FastDecoder(decoder, embedding + no_mask[0], pe, features=features)(sparse, everything)
    assert which.tolist() == [[n, m] for n in range(5) for m in range(4)]
    assert (fast_iou - iou[0]).abs().max() <= limit * iou.abs().max()
    assert (drawn.view_as(masks[0]) - masks[0]).abs().max() <= limit * masks.abs().max()


@torch.no_grad()
@pytest.mark.parametrize("kind", DECODERS)
@pytest.mark.parametrize("visible", [(6, 5), (3, 9), (1, 1)])
def test_only_the_visible_part_is_drawn(kind: str, visible: tuple[int, int]) -> None:
    decoder = random_decoder(kind)
    embedding, pe, no_mask, sparse, features = inputs(decoder)
    fast = FastDecoder(decoder, embedding + no_mask[0], pe, features=features)
    whole, part = fast(sparse, everything)[2], fast(sparse, everything, visible)[2]
    inside = np.s_[:, : 4 * visible[0], : 4 * visible[1]]
    torch.testing.assert_close(part[inside], whole[inside])
    part[inside] = 0
    assert not part.any()


def test_a_class_that_changes_more_is_called_instead() -> None:
    class Other(FineMaskDecoder):
        def draw_masks(self, *args):
            return 2 * super().draw_masks(*args)

    assert not supports(Other(FineMaskDecoderConfig(**SMALL)))
    decoder = random_decoder("sam2")
    assert supports(decoder)
    decoder.conv_s1.register_forward_hook(lambda *args: None)
    assert not supports(decoder)


MODELS = {
    "pocket": lambda: randomise(
        with_fine_features(randomise(SamModel(tiny_config("sam_hub_pocket"))).eval()), 1
    ).eval(),
    "sam2": lambda: randomise(SamModel(tiny_sam2("sam2"))).eval(),
}
PROMPTS = {
    "click": dict(point_coords=np.array([[20.0, 30]]), point_labels=np.array([1])),
    "box": dict(box=np.array([5.0, 6, 70, 60])),
    "both": dict(point_coords=np.array([[20.0, 30]]), point_labels=np.array([0]), box=np.array([5.0, 6, 70, 60])),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> SamModel:
    return MODELS[request.param]()


@pytest.fixture
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list:
    """Grows whenever the fast decoder is made ready for an image."""
    made, ready = [], fast_decoder.ReadyImage.__init__
    monkeypatch.setattr(fast_decoder.ReadyImage, "__init__", lambda *a, **k: made.append(1) or ready(*a, **k))
    return made


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_predictor_answers_as_the_model(model, photo, counted, prompt, multimask, monkeypatch) -> None:
    predictor = SamPredictor(model)
    predictor.set_image(photo)
    fast = predictor.predict(**PROMPTS[prompt], multimask_output=multimask, return_logits=True)
    assert counted
    monkeypatch.setattr(decoding.ImageDecoder, "_is_fast_way_open", lambda self: False)
    plain = predictor.predict(**PROMPTS[prompt], multimask_output=multimask, return_logits=True)
    for a, b in zip(fast, plain, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5 * np.abs(b).max())


def test_a_change_of_a_projection_is_seen(model, photo) -> None:
    model = copy.deepcopy(model)
    predictor = SamPredictor(model)
    predictor.set_image(photo)
    before = predictor.predict(**PROMPTS["click"], return_logits=True)[2]
    with torch.no_grad():
        model.mask_decoder.conv_s0.weight.mul_(2)
    predictor.set_image(photo)
    after = predictor.predict(**PROMPTS["click"], return_logits=True)[2]
    assert np.abs(after - before).max() > 1e-3
    other = SamPredictor(model)
    other.set_image(photo)
    np.testing.assert_array_equal(after, other.predict(**PROMPTS["click"], return_logits=True)[2])


def test_everything_mode_finds_the_same(model, photo, counted, monkeypatch) -> None:
    settings = dict(points_per_side=4, pred_iou_thresh=-100.0, stability_score_thresh=0.0)
    fast = SamAutomaticMaskGenerator(SamPredictor(model), **settings).generate(photo)
    assert counted and fast
    monkeypatch.setattr(decoding.ImageDecoder, "_is_fast_way_open", lambda self: False)
    plain = SamAutomaticMaskGenerator(SamPredictor(model), **settings).generate(photo)
    assert len(fast) == len(plain)
    for a, b in zip(fast, plain, strict=True):
        assert (a["segmentation"] == b["segmentation"]).mean() > 0.999
