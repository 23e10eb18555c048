"""Which masks are returned and which is best, where families differ from SAM (EdgeSAM, TinySAM), and label -2."""

import copy

import numpy as np
import pytest
import torch

from sam_hub.inference.predictor import SamPredictor
from sam_hub.models.mask_decoder import stability_score
from sam_hub.models.modeling_sam import SamModel
from sam_hub.ops import masks as numpy_masks

PIXELS = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(7))
CLICKS = dict(
    input_points=torch.tensor([[[[20.0, 30.0]], [[70.0, 11.5]], [[48.0, 90.0]]]]),
    input_labels=torch.ones(1, 3, 1, dtype=torch.long),
)


@pytest.fixture
def model(tiny_vit) -> SamModel:
    """A copy whose decoder's configuration may be changed."""
    return copy.deepcopy(tiny_vit)


def test_stability_is_the_shared_formula():
    logits = 2 * torch.randn(4, 3, 20, 30, generator=torch.Generator().manual_seed(2))
    logits[0, 0] = -9.0  # both masks empty
    expected = numpy_masks.stability_score(logits.numpy(), 0.0, 1.0)
    assert expected[0, 0] == 0 and 0.2 < expected[1].mean() < 0.8
    np.testing.assert_allclose(stability_score(logits).numpy(), expected, atol=1e-6)


@torch.no_grad()
def test_one_three_or_four_masks(model):
    one = model(PIXELS, **CLICKS, multimask_output=False)
    three = model(PIXELS, **CLICKS)
    for number, expected in {1: one, 3: three}.items():
        found = model(PIXELS, **CLICKS, num_multimask_outputs=number, multimask_output=number == 1)
        assert torch.equal(found.pred_masks, expected.pred_masks)
        assert torch.equal(found.iou_scores, expected.iou_scores)
    four = model(PIXELS, **CLICKS, num_multimask_outputs=4)
    assert torch.equal(four.pred_masks, torch.cat([one.pred_masks, three.pred_masks], dim=2))
    assert torch.equal(four.iou_scores, torch.cat([one.iou_scores, three.iou_scores], dim=2))
    with pytest.raises(ValueError, match="must be 1, 3 or 4; got 2"):
        model(PIXELS, **CLICKS, num_multimask_outputs=2)


@torch.no_grad()
@pytest.mark.parametrize("rank_by", ["iou", "stability"])
def test_an_untrained_first_token_is_not_used(model, rank_by):
    """One mask of TinySAM is the best of the three, by what its scores are worth."""
    generator = torch.Generator().manual_seed(11)
    scale = torch.tensor([9.0, 1.0, 3.0, 0.5, 9.0, 2.0, 3.0, 1.0]).view(1, 2, 4, 1, 1)  # the first would be the best
    masks = scale * torch.randn(1, 2, 4, 12, 12, generator=generator)
    iou = torch.tensor([[[0.9, 0.1, 0.2, 0.3], [0.9, 0.6, 0.1, 0.2]]])
    decoder = model.mask_decoder
    decoder.config.always_multimask, decoder.config.rank_by = True, rank_by
    best = {"iou": (3, 1), "stability": (2, 2)}[rank_by]
    one, score = decoder.select_masks(masks, iou, multimask_output=False)
    assert one.shape[:3] == score.shape == (1, 2, 1)
    for n, k in enumerate(best):
        assert torch.equal(one[0, n, 0], masks[0, n, k])
        assert score[0, n, 0] == iou[0, n, k]
    three = model(PIXELS, **CLICKS)
    assert torch.equal(decoder.select_masks(masks, iou, multimask_output=True)[0], masks[:, :, 1:])
    single = model(PIXELS, **CLICKS, multimask_output=False).pred_masks
    assert all((single[0, n, 0] == three.pred_masks[0, n]).all((-2, -1)).any() for n in range(3))


def test_the_predictor_scores_by_what_ranks(model):
    """EdgeSAM's IoU head was not trained, so its best score must not be used."""
    click = dict(point_coords=np.array([[30.0, 20.0]]), point_labels=np.array([1]))
    photo = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    scores = {}
    for rank_by in ("iou", "stability"):
        model.mask_decoder.config.rank_by = rank_by
        predictor = SamPredictor(model)
        predictor.set_image(photo)
        _, scores[rank_by], low_res = predictor.predict(**click)
    np.testing.assert_allclose(scores["stability"], numpy_masks.stability_score(low_res, 0.0, 1.0), atol=1e-6)
    assert np.abs(scores["stability"] - scores["iou"]).max() > 0.01


@torch.no_grad()
def test_label_minus_two_is_a_token_of_zeros(model):
    """EdgeSAM fills slots with it: attended to, unlike padding, and empty, unlike "not a point"."""
    embed, fourier = model.prompt_encoder, model.shared_image_embedding
    labels = torch.tensor([[[1, -2, -1, 0]]])
    points = torch.tensor([[[[5.0, 6.0]] * 4]]).reshape(1, 1, 4, 2)
    sparse, _, valid = embed(fourier, (96, 96), points, labels)
    assert valid is None
    assert (sparse[0, 0, 1] == 0).all()
    assert all(sparse[0, 0, i].abs().max() > 0.1 for i in (0, 2, 3, 4))
    seen = model(PIXELS, input_points=points[:, :, :2], input_labels=labels[:, :, :2]).pred_masks
    alone = model(PIXELS, input_points=points[:, :, :1], input_labels=labels[:, :, :1]).pred_masks
    assert (seen - alone).abs().max() > 1e-3
