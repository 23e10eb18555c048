"""The fast decoder against the plain one, which parity tests tie to the original."""

import numpy as np
import pytest
import torch

from sam_hub.families.sam_hq.decoder import HqMaskDecoder
from sam_hub.inference import decoding, fast_decoder
from sam_hub.inference.fast_decoder import FastDecoder, supports
from sam_hub.inference.predictor import SamPredictor
from sam_hub.models.configuration_sam import HqMaskDecoderConfig, SamMaskDecoderConfig
from sam_hub.models.mask_decoder import MaskDecoder

DECODERS = {
    "sam": {},  # also slimsam, mobile-sam, repvit-sam, efficientvit-sam and pocket
    "edge-sam": {"rank_by": "stability"},
    "tinysam": {"always_multimask": True},
    "deeper": {"num_hidden_layers": 3, "hidden_size": 64, "mlp_dim": 48, "num_attention_heads": 4},
}


def random_decoder(settings: dict, dtype: torch.dtype = torch.float32) -> MaskDecoder:
    """Every parameter random, norms and biases too."""
    torch.manual_seed(1)
    decoder = MaskDecoder(SamMaskDecoderConfig(**settings)).eval()
    decoder.config._attn_implementation = "sdpa"
    with torch.no_grad():
        for name, p in decoder.named_parameters():
            if p.dim() == 1:
                p.copy_((1.0 if "norm" in name and name.endswith("weight") else 0.0) + 0.3 * torch.randn(p.shape))
    return decoder.to(dtype)


def inputs(decoder: MaskDecoder, prompts: int = 5, tokens: int = 3, size: tuple[int, int] = (12, 9)) -> tuple:
    """embedding, image_pe (1, C, h, w), no-mask vector (1, 1, C, 1, 1), sparse (1, N, T, C)"""
    c, dtype = decoder.config.hidden_size, decoder.iou_token.weight.dtype
    generator = torch.Generator().manual_seed(2)
    shapes = (1, c, *size), (1, c, *size), (1, 1, c, 1, 1), (1, prompts, tokens, c)
    return tuple(torch.randn(s, generator=generator, dtype=dtype) for s in shapes)


def everything(iou: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(iou, dtype=torch.bool)


@pytest.mark.parametrize("together", [1, 2, 64])
@pytest.mark.parametrize("settings", DECODERS.values(), ids=DECODERS)
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_fast_is_plain(settings: dict, dtype: torch.dtype, limit: float, together: int, monkeypatch) -> None:
    decoder = random_decoder(settings, dtype)
    embedding, pe, no_mask, sparse = inputs(decoder)
    monkeypatch.setitem(fast_decoder.PIXELS_TOGETHER, "cpu", together * 12 * 9)
    with torch.no_grad():
        masks, iou, _ = decoder(embedding, pe, sparse, no_mask)
    fast = FastDecoder(decoder, embedding + no_mask[0], pe)
    fast_iou, which, fast_masks = fast(sparse, everything)
    assert which.tolist() == [[n, m] for n in range(5) for m in range(4)]
    assert (fast_iou - iou[0]).abs().max() <= limit * iou.abs().max()
    assert (fast_masks.view_as(masks[0]) - masks[0]).abs().max() <= limit * masks.abs().max()


def test_only_the_chosen_masks_are_drawn() -> None:
    decoder = random_decoder({})
    embedding, pe, no_mask, sparse = inputs(decoder, prompts=7)
    with torch.no_grad():
        masks, iou, _ = decoder(embedding, pe, sparse, no_mask)
    fast = FastDecoder(decoder, embedding + no_mask[0], pe)
    ordered = iou.flatten().sort().values
    gap = ordered.diff().argmax()  # far from any score, so that rounding cannot move one across
    threshold = ordered[gap : gap + 2].mean()
    fast_iou, which, drawn = fast(sparse, lambda scores: scores > threshold)
    assert which.tolist() == (iou[0] > threshold).nonzero().tolist() and 0 < len(which) < iou.numel()
    torch.testing.assert_close(drawn, masks[0][which[:, 0], which[:, 1]], atol=1e-5, rtol=1e-5)
    nothing = fast(sparse, lambda scores: scores > 1e9)
    assert nothing[1].shape == (0, 2) and nothing[2].shape == (0, 48, 36)
    torch.testing.assert_close(nothing[0], fast_iou)


@pytest.mark.parametrize("visible", [(12, 5), (7, 9), (1, 1)])
def test_only_the_visible_part_is_drawn(visible: tuple[int, int]) -> None:
    decoder = random_decoder({})
    embedding, pe, no_mask, sparse = inputs(decoder, prompts=3)
    fast = FastDecoder(decoder, embedding + no_mask[0], pe)
    whole, part = fast(sparse, everything)[2], fast(sparse, everything, visible)[2]
    inside = np.s_[:, : 4 * visible[0], : 4 * visible[1]]
    torch.testing.assert_close(part[inside], whole[inside], atol=1e-5, rtol=1e-5)
    part[inside] = 0
    assert part.shape == whole.shape and not part.any()


def test_other_decoders_are_refused() -> None:
    hq = HqMaskDecoder(HqMaskDecoderConfig(hidden_size=32, mlp_dim=16, num_attention_heads=4, vit_dim=8))
    half = random_decoder({}, torch.bfloat16)
    for decoder in (hq, half):
        assert not supports(decoder)
        embedding, pe, *_ = inputs(half)
        with pytest.raises(ValueError, match="cannot stand in"):
            FastDecoder(decoder, embedding, pe)


PROMPTS = {
    "click": dict(point_coords=np.array([[20.0, 30]]), point_labels=np.array([1])),
    "clicks": dict(point_coords=np.array([[20.0, 30], [50, 9]]), point_labels=np.array([1, 0])),
    "box": dict(box=np.array([5.0, 6, 70, 60])),
    "both": dict(point_coords=np.array([[20.0, 30]]), point_labels=np.array([0]), box=np.array([5.0, 6, 70, 60])),
}


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_predictor_takes_the_fast_way(shaped, photo, prompt: dict, multimask: bool, monkeypatch) -> None:
    predictor = SamPredictor(shaped)
    predictor.set_image(photo(0, 80, 100))
    predictor.predict(**prompt)  # a first prompt goes the plain way
    called = []
    monkeypatch.setattr(shaped, "forward", lambda **kw: called.append(kw))
    masks, iou, low_res = predictor.predict(**prompt, multimask_output=multimask)
    assert not called
    monkeypatch.undo()
    monkeypatch.setattr(decoding, "supports", lambda decoder: False)
    plain = predictor.predict(**prompt, multimask_output=multimask)
    np.testing.assert_allclose(iou, plain[1], atol=1e-5)
    np.testing.assert_allclose(low_res, plain[2], atol=1e-5 * np.abs(plain[2]).max())
    assert (masks != plain[0]).mean() < 1e-3


def test_predictor_falls_back_where_prompts_are_padded_or_masks(shaped, photo, monkeypatch) -> None:
    predictor = SamPredictor(shaped)
    predictor.set_image(photo(0, 80, 100))
    monkeypatch.setattr(decoding, "FastDecoder", None)
    points = torch.tensor([[[20.0, 30], [5, 5]], [[9, 9], [-10, -10]]])
    predictor.predict_torch(points, torch.tensor([[1, 0], [1, -10]]))
    predictor.predict(**PROMPTS["click"], mask_input=np.zeros((1, 32, 32), np.float32))
    with pytest.raises(TypeError, match="NoneType"):  # else this test would prove nothing
        predictor.predict(**PROMPTS["click"])
        predictor.predict(**PROMPTS["click"])


def test_the_fast_decoder_is_made_when_it_pays(shaped, photo, monkeypatch) -> None:
    """Factoring an image costs as much as some prompts: not for a first one alone."""
    made = []
    fast = decoding.FastDecoder
    monkeypatch.setattr(decoding, "FastDecoder", lambda *a: made.append(1) or fast(*a))
    predictor, image = SamPredictor(shaped), photo(0, 80, 100)
    for expected in (0, 1, 1):
        if not expected:
            predictor.set_image(image)
        predictor.predict(**PROMPTS["click"])
        assert len(made) == expected
    predictor.set_image(image)
    predictor.predict_torch(torch.rand(2, 1, 2) * 50, torch.ones(2, 1, dtype=torch.int))
    assert len(made) == 2


def test_changed_weights_are_seen(pocket_shaped, photo) -> None:
    predictor = SamPredictor(pocket_shaped)
    predictor.set_image(photo(0, 80, 100))
    before = predictor.predict(**PROMPTS["click"])[1]
    bias = pocket_shaped.mask_decoder.iou_prediction_head.proj_out.bias
    gain = pocket_shaped.mask_decoder.transformer.layers[1].layer_norm4.weight
    with torch.no_grad():
        bias.add_(1)
        gain.mul_(1.5)
        after = predictor.predict(**PROMPTS["click"])[1:]
        fresh = SamPredictor(pocket_shaped)
        fresh.set_image(photo(0, 80, 100))
        fresh.predict(**PROMPTS["click"])
        expected = fresh.predict(**PROMPTS["click"])[1:]
        bias.sub_(1)
        gain.div_(1.5)
    assert np.abs(after[0] - before).min() > 0.5
    np.testing.assert_array_equal(after[1], expected[1])


def test_a_model_ranked_by_stability_is_scored_by_it(pocket_shaped, photo, monkeypatch) -> None:
    monkeypatch.setattr(pocket_shaped.mask_decoder.config, "rank_by", "stability")
    predictor = SamPredictor(pocket_shaped)
    predictor.set_image(photo(0, 80, 100))
    points = np.array([[20.0, 30], [50, 9]])
    score, which, low_res = predictor.click_each(points, lambda s: s > -1)
    assert which.tolist() == [[n, m] for n in range(2) for m in range(3)]
    inner, outer = (low_res > 1).sum((1, 2)), (low_res > -1).sum((1, 2))
    np.testing.assert_allclose(score.ravel(), inner / outer, rtol=1e-6)
