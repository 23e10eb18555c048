"""The fast decoder against the plain one, which parity tests compare with the original."""

import copy
import warnings

import numpy as np
import pytest
import torch
from torch.nn.utils import prune

from sam_hub.families.sam_hq.decoder import HqMaskDecoder
from sam_hub.inference import decoding, fast_decoder
from sam_hub.inference.fast_decoder import FastDecoder, supports
from sam_hub.inference.predictor import SamPredictor
from sam_hub.models.configuration_sam import HqMaskDecoderConfig, SamMaskDecoderConfig
from sam_hub.models.mask_decoder import MaskDecoder
from sam_hub.ops.geometry import resized_size, scale_points

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
    called = []
    forward = MaskDecoder.forward
    monkeypatch.setattr(decoding, "FastDecoder", lambda *a: called.append(1) or FastDecoder(*a))
    masks, iou, low_res = predictor.predict(**prompt, multimask_output=multimask)
    assert called and MaskDecoder.forward is forward
    monkeypatch.setattr(decoding, "supports", lambda *a: False)
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


def test_an_answer_does_not_depend_on_what_was_asked_before(shaped, photo) -> None:
    """Bit by bit."""
    predictor, image = SamPredictor(shaped), photo(0, 80, 100)
    many = torch.rand(5, 1, 2, generator=torch.Generator().manual_seed(0)) * 50, torch.ones(5, 1, dtype=torch.int64)
    for prompt in PROMPTS.values():
        predictor.set_image(image)
        first = predictor.predict(**prompt)
        predictor.predict_torch(*many)
        for other in PROMPTS.values():
            predictor.predict(**other, multimask_output=False)
        predictor.predict(**prompt, mask_input=first[2][:1])
        predictor.set_image(photo(1, 40, 90))
        predictor.predict(**PROMPTS["click"])
        predictor.set_image(image)
        for again in (predictor.predict(**prompt), predictor.predict(**prompt)):
            for a, b in zip(first, again, strict=True):
                np.testing.assert_array_equal(a, b)


def truth(model, embedding: torch.Tensor, prompt: dict, size: tuple[int, int]) -> np.ndarray:
    """Low-res logits (3, h, w) of the model itself, called without any predictor."""
    scaled = torch.from_numpy(scale_points(prompt["point_coords"], size, resized_size(size, 128)))[None, None]
    labels = torch.from_numpy(prompt["point_labels"])[None, None]
    with torch.no_grad():
        return (
            model(image_embeddings=embedding, input_points=scaled, input_labels=labels).pred_masks[0, 0].float().numpy()
        )


class Adapted(torch.nn.Linear):
    """A layer with unchanged weights that computes something else, as adapters do."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * 1.5


class Wrapped(torch.nn.Module):
    def __init__(self, base: torch.nn.Linear) -> None:
        super().__init__()
        self.base = base

    @property
    def weight(self) -> torch.Tensor:
        return self.base.weight

    @property
    def bias(self) -> torch.Tensor:
        return self.base.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) * 1.5


class Half(torch.nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight * 0.5


def louder(*arguments):
    return arguments[-1] * 1.5


def _hook(layer):
    layer.register_forward_hook(louder)


def _pre_hook(layer):
    layer.register_forward_pre_hook(lambda module, given: (given[0] * 1.5,))


def _patch(layer):
    forward = layer.forward
    layer.forward = lambda x: forward(x) * 1.5


def _patch_class(layer):
    """Undone by the test."""
    forward = torch.nn.Linear.forward
    torch.nn.Linear.forward = lambda self, x: forward(self, x) * (1.5 if self is layer else 1)


def _global_hook(layer):
    torch.nn.modules.module.register_module_forward_hook(lambda m, given, out: out * 1.5 if m is layer else None)


def _another_class(layer):
    layer.__class__ = Adapted


def _parametrization(layer):
    torch.nn.utils.parametrize.register_parametrization(layer, "weight", Half())


def _pruning(layer):
    prune.l1_unstructured(layer, "weight", 0.5)


CHANGES = [_hook, _pre_hook, _patch, _patch_class, _global_hook, _another_class, _parametrization, _pruning]
LAYERS = {
    "read": "transformer.layers.1.cross_attn_token_to_image.v_proj",
    "read last": "transformer.final_attn_token_to_image.k_proj",
    "called": "transformer.layers.0.mlp.lin1",
}


@pytest.mark.parametrize("where", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("change", CHANGES)
def test_what_a_layer_computes_counts_and_not_its_weight(pocket_shaped, photo, change, where: str) -> None:
    """After the predictor has prepared an image, and for a fresh one."""
    model, image = copy.deepcopy(pocket_shaped), photo(0, 80, 100)
    predictor = SamPredictor(model)
    predictor.set_image(image)
    before = predictor.predict(**PROMPTS["clicks"])[2]
    linear, hooks = torch.nn.Linear.forward, torch.nn.modules.module._global_forward_hooks.copy()
    try:
        change(model.mask_decoder.get_submodule(where))
        fresh = SamPredictor(model)
        fresh.set_image(image)
        for each in (predictor, predictor, fresh):
            expected = truth(model, each.features, PROMPTS["clicks"], image.shape[:2])
            np.testing.assert_allclose(each.predict(**PROMPTS["clicks"])[2], expected, rtol=1e-5, atol=1e-5)
        click = dict(point_coords=np.array([[20.0, 30]]), point_labels=np.array([1]))
        drawn = predictor.click_each(click["point_coords"], lambda s: s > -9)[2]
        expected = truth(model, predictor.features, click, image.shape[:2])
        np.testing.assert_allclose(drawn, expected, rtol=1e-5, atol=1e-5)
    finally:
        torch.nn.Linear.forward = linear
        torch.nn.modules.module._global_forward_hooks.clear()
        torch.nn.modules.module._global_forward_hooks.update(hooks)
    assert np.abs(predictor.predict(**PROMPTS["clicks"])[2] - before).max() > 1e-3 or change in (
        _patch_class,
        _global_hook,
    )


def test_a_wrapped_layer_is_called(pocket_shaped, photo) -> None:
    model, image = copy.deepcopy(pocket_shaped), photo(0, 80, 100)
    attention = model.mask_decoder.transformer.layers[0].cross_attn_image_to_token
    attention.q_proj = Wrapped(attention.q_proj)
    predictor = SamPredictor(model)
    predictor.set_image(image)
    for _ in range(2):
        found = predictor.predict(**PROMPTS["clicks"])[2]
        expected = truth(model, predictor.features, PROMPTS["clicks"], image.shape[:2])
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_quantised_layers_are_called(pocket_shaped, photo) -> None:
    model, image = copy.deepcopy(pocket_shaped), photo(0, 80, 100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        model.mask_decoder = torch.ao.quantization.quantize_dynamic(model.mask_decoder, {torch.nn.Linear})
    predictor = SamPredictor(model)
    predictor.set_image(image)
    for _ in range(2):
        found = predictor.predict(**PROMPTS["clicks"])[2]
        expected = truth(model, predictor.features, PROMPTS["clicks"], image.shape[:2])
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


class Doubled(torch.Tensor):
    """Weights that represent other values than they store, as in quantisation."""

    @classmethod
    def __torch_function__(cls, function, types, arguments=(), named=None):
        if function is torch.nn.functional.linear:
            x, weight, *bias = arguments
            return function(x, weight.as_subclass(torch.Tensor) * 2, *bias, **(named or {}))
        return super().__torch_function__(function, types, arguments, named)


def test_weights_of_another_class_are_not_read(pocket_shaped, photo) -> None:
    model, image = copy.deepcopy(pocket_shaped), photo(0, 80, 100)
    predictor = SamPredictor(model)
    predictor.set_image(image)
    before = predictor.predict(**PROMPTS["clicks"])[2]
    layer = model.mask_decoder.transformer.layers[0].mlp.lin1
    layer.weight = torch.nn.Parameter(layer.weight.detach().as_subclass(Doubled), requires_grad=False)
    assert type(layer.weight) is Doubled
    for _ in range(2):
        found = predictor.predict(**PROMPTS["clicks"])[2]
        expected = truth(model, predictor.features, PROMPTS["clicks"], image.shape[:2])
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert np.abs(found - before).max() > 1e-3


def test_hooks_on_the_model_run(pocket_shaped, photo) -> None:
    model = copy.deepcopy(pocket_shaped)
    predictor = SamPredictor(model)
    predictor.set_image(photo(0, 80, 100))
    predictor.predict(**PROMPTS["click"])
    seen = []
    model.register_forward_hook(lambda *a: seen.append(1))
    predictor.predict(**PROMPTS["click"])
    assert seen


def reversed_choice(masks, iou, *arguments, **named):
    return masks[:, :, 1:].flip(2), iou[:, :, 1:].flip(2)


def doubled(self, image_embeddings, *arguments, **named):
    found = PREDICTED(self, image_embeddings, *arguments, **named)
    return (found[0] * 2, *found[1:])


PREDICTED = MaskDecoder.forward
UPSCALED = MaskDecoder.upscale


def test_methods_of_an_instance_or_of_a_patched_class_are_called(pocket_shaped, photo, monkeypatch) -> None:
    model, image = copy.deepcopy(pocket_shaped), photo(0, 80, 100)
    predictor = SamPredictor(model)
    predictor.set_image(image)
    before = predictor.predict(**PROMPTS["clicks"])[2]
    for patch in (
        lambda m: m.setattr(model.mask_decoder, "select_masks", reversed_choice),
        lambda m: m.setattr(MaskDecoder, "upscale", lambda self, *a: UPSCALED(self, *a) * 2),
        lambda m: m.setattr(MaskDecoder, "forward", doubled),
    ):
        with monkeypatch.context() as m:
            patch(m)
            expected = truth(model, predictor.features, PROMPTS["clicks"], image.shape[:2])
            found = predictor.predict(**PROMPTS["clicks"])[2]
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
            assert np.abs(found - before).max() > 1e-3
    np.testing.assert_array_equal(predictor.predict(**PROMPTS["clicks"])[2], before)


def test_autocast_goes_the_plain_way(pocket_shaped, photo) -> None:
    predictor, image = SamPredictor(pocket_shaped), photo(0, 80, 100)
    predictor.set_image(image)
    exact = predictor.predict(**PROMPTS["click"])
    with torch.autocast("cpu", torch.bfloat16):
        narrow = [predictor.predict(**PROMPTS["click"]) for _ in range(3)]
        clicked = predictor.click_each(PROMPTS["click"]["point_coords"], lambda s: s > -9)[2]
        plain = truth(pocket_shaped, predictor.features, PROMPTS["click"], image.shape[:2])
    assert np.abs(plain - exact[2]).max() > 1e-3
    for found in narrow:
        np.testing.assert_allclose(found[2], plain, rtol=1e-5, atol=1e-5)
        assert np.abs(found[2] - exact[2]).max() < 0.1 * np.abs(exact[2]).max()
        np.testing.assert_array_equal(found[2], narrow[0][2])
    assert np.abs(clicked - exact[2]).max() < 0.1 * np.abs(exact[2]).max()
    after = predictor.predict(**PROMPTS["click"])
    for a, b in zip(exact, after, strict=True):
        np.testing.assert_array_equal(a, b)


def write(p: torch.Tensor) -> None:
    with torch.no_grad():
        p.mul_(1.25)


def write_unseen(p: torch.Tensor) -> None:
    p.data.mul_(1.25)


def write_one_number_unseen(p: torch.Tensor) -> None:
    p.data.view(-1)[-1] += 0.5


@pytest.mark.parametrize("change", [write, write_unseen, write_one_number_unseen])
def test_changed_weights_are_seen(pocket_shaped, photo, change) -> None:
    """Every weight of the decoder, in every way of writing to it."""
    model, image = copy.deepcopy(pocket_shaped), photo(0, 80, 100)
    predictor = SamPredictor(model, cache_size=1)
    predictor.set_image(image)
    watched = [*model.mask_decoder.named_parameters(), ("no_mask", model.prompt_encoder.no_mask_embed.weight)]
    watched.append(("positions", model.shared_image_embedding.positional_embedding))
    for name, p in watched:
        predictor.predict(**PROMPTS["clicks"])
        kept = p.detach().clone()
        change(p)
        found = predictor.predict(**PROMPTS["clicks"])[2]
        expected = truth(model, predictor.features, PROMPTS["clicks"], image.shape[:2])
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4, err_msg=name)
        p.data.copy_(kept)


def test_assigned_weights_are_seen(pocket_shaped, photo) -> None:
    model, image = copy.deepcopy(pocket_shaped), photo(0, 80, 100)
    predictor = SamPredictor(model)
    predictor.set_image(image)
    before, embedding = predictor.predict(**PROMPTS["clicks"])[2], predictor.features
    weights = {k: v * 1.1 if v.is_floating_point() else v.clone() for k, v in model.state_dict().items()}
    model.load_state_dict(weights, assign=True)
    expected = truth(model, embedding, PROMPTS["clicks"], image.shape[:2])
    np.testing.assert_allclose(predictor.predict(**PROMPTS["clicks"])[2], expected, rtol=1e-4, atol=1e-4)
    predictor.set_image(image)
    fresh = SamPredictor(model)
    fresh.set_image(image)
    assert not torch.equal(predictor.features, embedding)
    assert torch.equal(predictor.features, fresh.features)
    assert np.abs(before - expected).max() > 1e-3


def test_a_model_ranked_by_stability_is_scored_by_it(pocket_shaped, photo, monkeypatch) -> None:
    monkeypatch.setattr(pocket_shaped.mask_decoder.config, "rank_by", "stability")
    predictor = SamPredictor(pocket_shaped)
    predictor.set_image(photo(0, 80, 100))
    points = np.array([[20.0, 30], [50, 9]])
    score, which, low_res = predictor.click_each(points, lambda s: s > -1)
    assert which.tolist() == [[n, m] for n in range(2) for m in range(3)]
    inner, outer = (low_res > 1).sum((1, 2)), (low_res > -1).sum((1, 2))
    np.testing.assert_allclose(score.ravel(), inner / outer, rtol=1e-6)
