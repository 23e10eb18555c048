"""One interactive step against a plain restatement of the paper."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_hub.evaluation.clicks import corrective_click, farthest_pixel
from sam_hub.models.configuration_sam import PAD_COORDINATE, PAD_LABEL, HqMaskDecoderConfig
from sam_hub.models.encoders import EncoderOutput
from sam_hub.models.loss import LossWeights
from sam_hub.models.modeling_sam import SamModel
from sam_hub.training.interactive import (
    InteractiveStep,
    corrections,
    first_prompts,
    interactive_losses,
    mean_over_images,
    plan_rounds,
    to_input,
)
from sam_hub.training.recipe import PAPER_RECIPES, PromptRecipe

from ..models.conftest import TINY_ENCODERS, randomise, tiny_config

PAPER = PAPER_RECIPES["sam-vit-h"].prompts


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def random_batch(images: int = 2, objects: int = 3, size: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(images, 3, 64, 64, generator=generator)
    coarse = torch.rand(images, objects, 4, 4, generator=generator)
    return pixels, (F.interpolate(coarse, size=size, mode="bilinear") > 0.5).float()


def one_mask_loss(logits: torch.Tensor, score: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """20 focal + dice, and the squared error of the predicted IoU, of one mask (h, w), pixel by pixel."""
    p, t = logits.sigmoid().flatten(), target.flatten()
    p_t = torch.where(t == 1, p, 1 - p)
    alpha = torch.where(t == 1, 0.25, 0.75)
    focal = (-alpha * (1 - p_t) ** 2 * p_t.log()).mean()
    dice = 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)
    hard = (logits > 0).flatten()
    union = (hard | t.bool()).sum()
    iou = (hard & t.bool()).sum() / union if union else torch.tensor(1.0)
    return 20 * focal + dice, (score - iou) ** 2


def restated(model: SamModel, pixels, target, recipe, plan, seeds, paper: bool) -> torch.Tensor:
    """Each image and each object in turn; a model's public forward; losses from `one_mask_loss`."""
    per_image = []
    size = target.shape[-1]
    stride = 64 // size

    def at_labels(low_res: torch.Tensor) -> torch.Tensor:
        return F.interpolate(low_res[None, None], (size, size), mode="bilinear")[0, 0]

    for b, seed in enumerate(seeds):
        generator = torch.Generator().manual_seed(seed)
        truth = target[b].bool()
        points, labels, boxes = (v[None] for v in first_prompts(truth, recipe, stride, generator))
        previous, losses = None, []
        for number, kind in enumerate(plan):
            if kind == "click":
                clicks = []
                for n in range(len(truth)):
                    wrong = (at_labels(previous[0, n]) > 0) ^ truth[n]
                    clicks.append((wrong if wrong.any() else truth[n]).flatten().float())
                at = torch.multinomial(torch.stack(clicks), 1, generator=generator)[:, 0]
                xy = torch.stack([at % size, at // size], dim=-1) * stride + (stride - 1) / 2
                points = torch.cat([points, xy[None, :, None]], 2)
                labels = torch.cat([labels, truth.flatten(1).gather(1, at[:, None]).long()[None]], 2)
            prompts = dict(input_points=points, input_labels=labels, input_boxes=boxes, input_masks=previous)
            three = model(pixels[b : b + 1], multimask_output=True, **prompts)
            one = model(pixels[b : b + 1], multimask_output=False, **prompts)
            for n in range(len(truth)):
                pairs = [
                    one_mask_loss(at_labels(three.pred_masks[0, n, m]), three.iou_scores[0, n, m], target[b, n])
                    for m in range(3)
                ]
                ambiguous = min((mask for mask, _ in pairs), key=torch.Tensor.item) + sum(iou for _, iou in pairs) / 3
                single = sum(one_mask_loss(at_labels(one.pred_masks[0, n, 0]), one.iou_scores[0, n, 0], target[b, n]))
                mine = (ambiguous if number == 0 else single) if paper else (ambiguous + single) / 2
                losses.append(mine)
            if number == 0:
                best = three.iou_scores[0].argmax(-1)
                previous = torch.stack([three.pred_masks[0, n, m] for n, m in enumerate(best)])[None].detach()
            else:
                previous = one.pred_masks[:, :, 0].detach()
        per_image.append(torch.stack(losses).mean())
    return torch.stack(per_image).mean()


@pytest.mark.parametrize("paper, size", [(True, 16), (False, 16), (False, 32)])
def test_loss_and_gradients_are_what_the_paper_says(new_model: Callable[..., SamModel], paper: bool, size: int):
    """Labels of 16 pixels are low-res, those of 32 finer than the mask.

    In float64: logits of random weights are so small that float32 rounds some to the other side, which moves a click.
    """
    pixels, target = random_batch(size=size)
    pixels = pixels.double()
    recipe = PAPER if paper else PromptRecipe()
    plan = ("first", "click", "mask", "click", "mask")
    losses, gradients = [], []
    for restate in (False, True):
        model = new_model().eval().double()
        if restate:
            loss = restated(model, pixels, target, recipe, plan, [3, 4], paper)
        else:
            step = InteractiveStep(model, recipe, LossWeights())
            loss = step(target, torch.tensor([3, 4]), plan, pixel_values=pixels)["loss"]
        loss.backward()
        losses.append(loss.detach().double())
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert torch.isclose(*losses, rtol=1e-5)
    assert gradients[0].keys() == gradients[1].keys() and len(gradients[0]) > 100
    for name, mine in gradients[0].items():
        scale = gradients[1][name].abs().max().clamp(min=1e-3)
        assert (mine - gradients[1][name]).abs().max() <= 1e-3 * scale, name


def test_the_papers_plan_has_eleven_rounds():
    plans = [plan_rounds(PAPER, torch.Generator().manual_seed(i)) for i in range(200)]
    for plan in plans:
        assert len(plan) == 11 and plan[0] == "first" and plan[-1] == "mask"
        assert Counter(plan) == {"first": 1, "click": 8, "mask": 2}
    assert {plan[:-1].index("mask") for plan in plans} == set(range(1, 10))  # before, among or after the clicks


def test_some_steps_stop_after_the_first_prompt():
    plans = [plan_rounds(PromptRecipe(), torch.Generator().manual_seed(i)) for i in range(300)]
    assert set(plans) == {("first",), ("first", "click", "click")}
    assert 0.3 < sum(len(p) == 1 for p in plans) / 300 < 0.5


def test_first_prompts_are_a_click_or_a_box():
    target = torch.zeros(20, 10, 16, 16, dtype=torch.bool)
    target[:, :, 4:9, 3:12] = True
    points, labels, boxes = first_prompts(target, PromptRecipe(), 4, torch.Generator().manual_seed(0))
    clicked, boxed = labels[..., 0] == 1, (boxes != PAD_COORDINATE).all(-1)
    assert (clicked ^ boxed).all() and (labels[boxed] == PAD_LABEL).all()
    assert 0.4 < boxed.float().mean() < 0.6
    x, y = points[clicked][:, 0].unbind(-1)
    assert ((x >= 12) & (x < 48) & (y >= 16) & (y < 36)).all()
    assert (boxes[boxed] - torch.tensor([12.0, 16.0, 48.0, 36.0])).abs().max() <= 64 * 20 / 1024


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.floats(0, 1), st.integers(1, 20), st.integers(1, 20), st.sampled_from([2, 4]))
def test_a_first_click_is_on_the_object_and_a_first_box_around_it(seed, probability, h, w, stride):
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(4, h, w, generator=generator) < torch.rand(4, 1, 1, generator=generator)
    target[:, h // 2, w // 3] = True
    recipe = PromptRecipe(box_probability=probability)
    points, labels, boxes = first_prompts(target, recipe, stride, generator)
    clicked, boxed = labels[:, 0] == 1, (boxes != PAD_COORDINATE).any(-1)
    assert (clicked ^ boxed).all() and ((labels[:, 0] == PAD_LABEL) == boxed).all()
    x, y = ((points[:, 0] + 0.5) / stride - 0.5).unbind(-1)
    assert torch.equal(x, x.round()) and torch.equal(y, y.round())
    assert target[torch.arange(4), y.long(), x.long()].all()
    limit = recipe.box_noise_limit * max(h, w) * stride
    for mask, box in zip(target[boxed], boxes[boxed], strict=True):
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        tight = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) * stride
        assert (box - tight).abs().max() <= limit + 1  # one more where a box would have vanished


def test_careful_clicks_are_those_of_evaluation():
    generator = torch.Generator().manual_seed(4)
    target = torch.rand(300, 12, 15, generator=generator) < torch.rand(300, 1, 1, generator=generator)
    target[:, 5, 5] = True
    predicted = torch.rand(300, 12, 15, generator=generator) < 0.5
    predicted[:20] = target[:20]
    middle = torch.tensor([farthest_pixel(t.numpy()) for t in target])
    pairs = zip(predicted.numpy(), target.numpy(), strict=True)
    worst = torch.tensor([corrective_click(mine, truth) or (-1, -1, -1) for mine, truth in pairs])
    for probability in (0.0, 0.5, 1.0):
        recipe = PromptRecipe(box_probability=0.0, careful_probability=probability)
        points, _, _ = first_prompts(target, recipe, 1, generator)
        x, y = points[:, 0].long().unbind(-1)
        assert target[torch.arange(300), y, x].all()
        clicks, labels = corrections(predicted, target, recipe, generator)
        x, y = clicks.long().unbind(-1)
        wrong, at = (predicted ^ target).flatten(1).any(1), (torch.arange(300), y, x)
        assert ((predicted ^ target)[at] == wrong).all() and (labels == target[at].long()).all()
        assert not wrong[:20].any() and wrong[20:].any()
        first = (points[:, 0] == middle).all(1).float().mean()
        next_ = (torch.cat([clicks, labels[:, None]], 1) == worst).all(1)[wrong].float().mean()
        for share in (first, next_):  # one pixel of a small region may be the middle by chance
            assert share == 1 if probability == 1 else abs(share - probability) < 0.2


def test_careful_corrections_reach_the_rounds(new_model: Callable[..., SamModel], monkeypatch):
    """A click of a round with `careful_probability` 1 is the middle of the largest mistake of the mask before."""
    seen = []
    model, (pixels, target) = new_model().eval(), random_batch()
    predict = model.predict_masks

    def spy(embedding, points, labels, boxes, previous, **more):
        seen.append((points, labels, previous))
        return predict(embedding, points, labels, boxes, previous, **more)

    monkeypatch.setattr(model, "predict_masks", spy)
    recipe = PromptRecipe(box_probability=0.0, careful_probability=1.0)
    plan = ("first", "click")
    interactive_losses(model, model.encode(pixels), target, recipe, LossWeights(), plan, generators(1, 2))
    (first, _, _), (points, labels, previous) = seen
    middle = [[farthest_pixel(t.numpy()) for t in row] for row in target.bool()]
    assert torch.equal(first[:, :, 0], to_input(torch.tensor(middle).float(), 4))
    for i, j in np.ndindex(*target.shape[:2]):
        x, y, label = corrective_click((previous[i, j] > 0).numpy(), target[i, j].bool().numpy())
        assert torch.equal(points[i, j, 1], to_input(torch.tensor([x, y]).float(), 4)) and labels[i, j, 1] == label


def test_what_no_box_may_ask_for_is_clicked(new_model: Callable[..., SamModel], monkeypatch):
    seen = []
    model, (pixels, target) = new_model().eval(), random_batch()
    predict = model.predict_masks

    def spy(embedding, points, labels, boxes, *more, **options):
        seen.append((None if labels is None else labels[..., 0] == 1, (boxes != PAD_COORDINATE).any(-1)))
        return predict(embedding, points, labels, boxes, *more, **options)

    monkeypatch.setattr(model, "predict_masks", spy)
    boxable = torch.tensor([[True, False, True], [False, True, True]])
    for mine in (None, boxable):
        step = InteractiveStep(model, PromptRecipe(box_probability=1.0), LossWeights()).eval()
        step(target, torch.tensor([1, 2]), ("first",), pixel_values=pixels, boxable=mine)
        clicked, boxed = seen.pop()
        assert torch.equal(boxed, torch.ones_like(boxable) if mine is None else mine) and torch.equal(clicked, ~boxed)
    model.config.prompt_encoder_config.prompt_kinds = ["boxes"]
    step(target, torch.tensor([1, 2]), ("first",), pixel_values=pixels, boxable=boxable)
    clicked, boxed = seen.pop()
    assert clicked is None and boxed.all()


def test_a_sample_learns_the_same_in_any_batch(new_model: Callable[..., SamModel]):
    """Prompts belong to the sample, and padding objects count for nothing."""
    pixels, target = random_batch()
    step = InteractiveStep(new_model(), PAPER, LossWeights()).eval()
    plan = ("first", "click", "mask")
    with torch.no_grad():
        both = step(target, torch.tensor([7, 8]), plan, pixel_values=pixels)["loss"]
        one = step(target[:1], torch.tensor([7]), plan, pixel_values=pixels[:1])["loss"]
        padded = torch.cat([target[1:], torch.zeros(1, 2, 16, 16)], 1)
        valid = torch.tensor([[True] * 3 + [False] * 2])
        # A padded object draws from the same generator, so its image is compared with itself.
        encoded = step.sam.encode(pixels[1:])
        alone = interactive_losses(step.sam, encoded, padded, PAPER, LossWeights(), ("first",), generators(8))
        other = step(padded, torch.tensor([8]), ("first",), pixel_values=pixels[1:], valid=valid)["loss"]
        second = step(target[1:], torch.tensor([8]), plan, pixel_values=pixels[1:])["loss"]
    assert torch.isclose(both, (one + second) / 2, rtol=1e-5)
    assert torch.isclose(other, alone[0, :3].mean(), rtol=1e-5)
    assert torch.isclose(mean_over_images(alone, valid), other)


def test_sam_hq_learns_through_its_own_token():
    config = tiny_config(image_size=64, output_intermediate=True)
    config.mask_decoder_config = HqMaskDecoderConfig(
        **{k: v for k, v in config.mask_decoder_config.to_dict().items() if k != "model_type"}, vit_dim=24
    )
    model = randomise(SamModel(config))
    pixels, target = random_batch()
    step = InteractiveStep(model, PAPER, LossWeights())
    step(target, torch.tensor([1, 2]), ("first", "click"), pixel_values=pixels)["loss"].backward()
    for name in ("hq_token", "hq_mask_mlp", "compress_vit_conv1", "mask_conv1", "mask_tokens", "iou_token"):
        gradient = sum(p.grad.abs().sum() for p in getattr(model.mask_decoder, name).parameters())
        assert gradient > 0, name


@pytest.mark.parametrize(
    ("kinds", "boxes", "clicks"), [(("boxes",), 1.0, 0), (("points", "boxes"), 0.5, 0), (None, 0.5, 1)]
)
def test_a_model_is_asked_only_what_it_understands(
    new_model: Callable[..., SamModel], kinds, boxes, clicks, monkeypatch
):
    model = new_model()
    if kinds:
        model.config.prompt_encoder_config.prompt_kinds = kinds
    asked = []
    predict = model.predict_masks
    monkeypatch.setattr(model, "predict_masks", lambda *a, **o: asked.append(a) or predict(*a, **o))
    pixels, target = random_batch(2, 40)
    step = InteractiveStep(model, PromptRecipe(), LossWeights())
    step(target, torch.tensor([1, 2]), ("first", "click"), pixel_values=pixels)
    assert len(asked) == 1 + clicks
    share = (asked[0][3] != PAD_COORDINATE).all(-1).float().mean()
    assert share == 1 if boxes == 1.0 else abs(share - boxes) < 0.25


@pytest.mark.parametrize("vision", sorted(TINY_ENCODERS))
def test_every_encoder_learns(vision: str, new_model: Callable[..., SamModel]):
    model = new_model(vision)
    pixels, target = random_batch(1, 2)
    step = InteractiveStep(model, PAPER, LossWeights())
    parameters = dict(model.vision_encoder.named_parameters())
    grads = torch.autograd.grad(model.encode(pixels).embedding.sum(), list(parameters.values()), allow_unused=True)
    finer = {name for name, grad in zip(parameters, grads, strict=True) if grad is None}
    assert finer < set(parameters) and not (finer and model.mask_decoder.feature_maps)  # SAM's decoder reads no maps
    step(target, torch.tensor([1]), ("first", "mask"), pixel_values=pixels)["loss"].backward()
    silent = {n for n, p in parameters.items() if p.grad is None or not p.grad.isfinite().all()}
    assert silent == finer


def test_an_embedding_stands_for_its_image(new_model: Callable[..., SamModel]):
    pixels, target = random_batch()
    step = InteractiveStep(new_model(), replace(PAPER), LossWeights()).eval()
    with torch.no_grad():
        seeds, plan = torch.tensor([1, 2]), ("first", "click")
        direct = step(target, seeds, plan, pixel_values=pixels)["loss"]
        encoded: EncoderOutput = step.sam.encode(pixels)
        cached = step(target, seeds, plan, embedding=encoded.embedding)["loss"]
    assert torch.equal(direct, cached)
