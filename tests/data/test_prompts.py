"""Properties of prompts sampled from masks, for any mask."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_hub.data.prompts import boxes_of, corrective_points, noisy_boxes, random_points

seeds = st.integers(0, 10_000)


def masks(seed: int, count: int = 4, h: int = 9, w: int = 13) -> tuple[torch.Tensor, torch.Generator]:
    generator = torch.Generator().manual_seed(seed)
    density = torch.rand(count, 1, 1, generator=generator)
    made = torch.rand(count, h, w, generator=generator) < density
    made[:, h // 2, w // 3] = True  # never empty
    return made, generator


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_a_click_is_on_its_object(seed):
    objects, generator = masks(seed)
    x, y = random_points(objects, generator).long().unbind(-1)
    assert objects[torch.arange(len(objects)), y, x].all()


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_a_correction_lies_in_the_error_and_has_its_label(seed):
    truth, generator = masks(seed)
    guess, _ = masks(seed + 1)
    guess[0] = truth[0]  # no error at all: the click is on the object
    points, labels = corrective_points(guess, truth, generator)
    x, y = points.long().unbind(-1)
    at = torch.arange(len(truth)), y, x
    assert (labels == truth[at].long()).all()
    wrong = (guess ^ truth)[at]
    has_error = (guess ^ truth).flatten(1).any(-1)
    assert (wrong == has_error).all()
    assert labels[0] == 1


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_boxes_are_tight_and_noise_is_bounded(seed):
    objects, generator = masks(seed)
    tight = boxes_of(objects)
    for mask, (x0, y0, x1, y1) in zip(objects, tight.int().tolist(), strict=True):
        inside = torch.zeros_like(mask)
        inside[y0:y1, x0:x1] = True
        assert not (mask & ~inside).any()
        assert mask[y0, x0:x1].any() and mask[y1 - 1, x0:x1].any()
        assert mask[y0:y1, x0].any() and mask[y0:y1, x1 - 1].any()
    limit = 1.5
    moved = noisy_boxes(tight, 0.1, limit, objects.shape[1:], generator)
    assert (moved - tight).abs().max() <= limit + 1  # one more where a box would have vanished
    assert (moved[:, 2:] > moved[:, :2]).all()
    assert (moved >= 0).all() and (moved[:, 0::2] <= 13).all() and (moved[:, 1::2] <= 9).all()


def test_noise_has_the_size_that_the_paper_gives():
    boxes = torch.tensor([[400.0, 300.0, 500.0, 500.0]]).repeat(4000, 1)
    moved = noisy_boxes(boxes, 0.1, 20, (1000, 1000), torch.Generator().manual_seed(0))
    spread = (moved - boxes).std(dim=0)
    assert torch.allclose(spread[[0, 2]], torch.tensor([9.6, 9.6]), atol=0.6)  # 10 % of 100, cut at 2 sigma
    assert torch.allclose(spread[[1, 3]], torch.tensor([14.4, 14.4]), atol=0.8)  # 10 % of 200, cut at 1 sigma
