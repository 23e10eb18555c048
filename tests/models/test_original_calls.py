"""Prompt encoder, mask decoder and model with ``segment_anything``'s calls, against the original package."""

import copy

import numpy as np
import pytest
import torch

from sam_hub.errors import ImageError, PromptError
from sam_hub.models.configuration_sam import SamConfig
from sam_hub.models.modeling_sam import SamModel

from .conftest import IMAGE_SIZE, WIDTH, randomise

N = 3
RNG = np.random.default_rng(0)
POINTS = torch.from_numpy(RNG.uniform(0, IMAGE_SIZE - 1, (N, 2, 2))).float()
LABELS = torch.tensor([[1, 0], [1, 1], [0, 1]])
BOXES = torch.tensor([[5.0, 5, 60, 60], [0, 0, 30, 90], [10.5, 20, 80, 85]])
PROMPTS = {
    "points": dict(points=(POINTS, LABELS)),
    "boxes": dict(boxes=BOXES),
    "points and boxes": dict(points=(POINTS, LABELS), boxes=BOXES),
    "masks": dict(masks=True),
    "points and masks": dict(points=(POINTS, LABELS), masks=True),
    "nothing": {},
}


def prompts_of(name, side):
    given = {"points": None, "boxes": None, "masks": None, **PROMPTS[name]}
    if given["masks"]:
        given["masks"] = torch.from_numpy(RNG.normal(size=(N, 1, 4 * side, 4 * side)) * 4).float()
    return given


@pytest.fixture(scope="module")
def pair(tiny_vit, original):
    """A tiny model and the original with its weights."""
    return tiny_vit, original.original_sam(tiny_vit)


def decoded(model, embedding, given, multimask_output):
    sparse, dense = model.prompt_encoder(**given)
    masks, iou = model.mask_decoder(
        image_embeddings=embedding,
        image_pe=model.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=multimask_output,
    )
    return sparse, dense, masks, iou


def close(found, expected):
    atol = 2e-5 * max([1.0, *expected.detach().abs().flatten().tolist()])
    torch.testing.assert_close(found, expected, atol=atol, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", PROMPTS)
def test_parts_answer_as_those_of_the_original(pair, name):
    ours, theirs = pair
    side = ours.prompt_encoder.image_embedding_size[0]
    given = prompts_of(name, side)
    embedding = torch.from_numpy(RNG.normal(size=(1, WIDTH, side, side))).float()
    for multimask_output in (True, False):
        found, expected = (decoded(model, embedding, given, multimask_output) for model in pair)
        for one, other in zip(found, expected, strict=True):
            assert one.shape == other.shape
            close(one, other)
    by_place = ours.mask_decoder(embedding, ours.prompt_encoder.get_dense_pe(), *found[:2], False)
    assert all(torch.equal(a, b) for a, b in zip(by_place, found[2:], strict=True))
    for size in ("embed_dim", "image_embedding_size", "input_image_size", "mask_input_size"):
        assert getattr(ours.prompt_encoder, size) == getattr(theirs.prompt_encoder, size)


@torch.no_grad()
def test_a_batch_of_images_as_the_original_takes_it(pair):
    ours, theirs = pair
    images = [torch.from_numpy(RNG.integers(0, 256, (3, *size))).float() for size in ((96, 60), (40, 96))]
    batch = [
        {"image": images[0], "original_size": (48, 30), "point_coords": POINTS, "point_labels": LABELS},
        {"image": images[1], "original_size": (80, 192), "boxes": BOXES[:2]},
    ]
    for found, expected in zip(ours(batch, multimask_output=True), theirs(batch, multimask_output=True), strict=True):
        assert found.keys() == expected.keys()
        close(found["low_res_logits"], expected["low_res_logits"])
        close(found["iou_predictions"], expected["iou_predictions"])
        assert found["masks"].shape == expected["masks"].shape and found["masks"].dtype == torch.bool
        assert (found["masks"] != expected["masks"]).float().mean() < 1e-3
    single = ours(batch, False)
    assert [len(each["masks"][0]) for each in single] == [1, 1]
    named = ours(batched_input=batch, multimask_output=False)
    assert torch.equal(named[1]["low_res_logits"], single[1]["low_res_logits"])
    with pytest.raises(PromptError, match="original_size"):
        ours([{"image": images[0]}], multimask_output=True)
    with pytest.raises(ImageError, match="long side to 96"):
        ours([{"image": torch.zeros(3, 97, 50), "original_size": (97, 50)}], multimask_output=True)


@torch.no_grad()
@pytest.mark.parametrize("multimask_output", [True, False])
def test_no_prompts_give_no_masks(any_encoder, multimask_output):
    """A detector found nothing in the second image."""
    image = torch.zeros(3, IMAGE_SIZE, IMAGE_SIZE)
    batch = [{"image": image, "original_size": (30, 40), "boxes": boxes} for boxes in (BOXES, BOXES[:0])]
    some, none = any_encoder(batch, multimask_output=multimask_output)
    for name, value in none.items():
        assert len(value) == 0 and value.shape[1:] == some[name].shape[1:] and value.dtype == some[name].dtype


def test_fine_tuning_as_notebooks_do_it(pair):
    """One box for each image of a batch, gradients in the decoder alone."""
    model = copy.deepcopy(pair[0])
    images = torch.from_numpy(RNG.normal(size=(N, 3, IMAGE_SIZE, IMAGE_SIZE))).float()
    with torch.no_grad():
        embedding = model.image_encoder(images)
        sparse, dense = model.prompt_encoder(points=None, boxes=BOXES[:, None], masks=None)
    masks, iou = model.mask_decoder(
        image_embeddings=embedding,
        image_pe=model.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=False,
    )
    (masks.sum() + iou.sum()).backward()
    assert all(p.grad is not None for p in model.mask_decoder.output_hypernetworks_mlps[0].parameters())
    assert all(p.grad is None for p in model.vision_encoder.parameters())
    for i in range(N):
        alone = decoded(model, embedding[i : i + 1], dict(points=None, boxes=BOXES[i : i + 1], masks=None), False)
        close(masks[i : i + 1], alone[2])
    with pytest.raises(ValueError, match="2 images, 3 prompts"):
        decoded(model, embedding[:2], dict(points=None, boxes=BOXES, masks=None), False)
    with pytest.raises(ValueError, match="different numbers"):
        model.prompt_encoder(points=(POINTS, LABELS), boxes=BOXES[:2], masks=None)
    with pytest.raises(PromptError, match="no padding"):
        model.prompt_encoder(points=(POINTS, LABELS * 0 - 10), boxes=None, masks=None)


@torch.no_grad()
def test_a_copy_reads_its_own_positions(pair):
    other = copy.deepcopy(pair[0])
    other.shared_image_embedding.positional_embedding.mul_(2)
    assert not torch.equal(other.prompt_encoder.get_dense_pe(), pair[0].prompt_encoder.get_dense_pe())
    assert other.state_dict().keys() == pair[0].state_dict().keys()
    assert torch.equal(other.prompt_encoder.get_dense_pe(), other.get_image_wide_positional_embeddings())


def test_a_family_says_what_its_parts_cannot_take():
    vision = {"model_type": "sam_hub_efficient_sam", "hidden_size": 24, "num_attention_heads": 3, "mlp_dim": 40}
    size = {"image_size": IMAGE_SIZE}
    config = SamConfig(
        vision_config={**vision, **size, "num_hidden_layers": 1, "output_channels": WIDTH, "pretrained_grid": 4},
        prompt_encoder_config={"model_type": "sam_hub_efficient_sam_prompt_encoder", "hidden_size": WIDTH, **size},
        mask_decoder_config={"model_type": "sam_hub_efficient_sam_mask_decoder", "hidden_size": WIDTH, "mlp_dim": 48,
                             "num_attention_heads": 4},
    )  # fmt: skip
    model = randomise(SamModel(config)).eval()
    for given, what in ((dict(points=(POINTS, LABELS)), "background points"), (dict(masks=POINTS[:, None]), "masks")):
        with pytest.raises(PromptError, match=what):
            model.prompt_encoder(**given)
    with pytest.raises(PromptError, match="needs a prompt"):
        model.prompt_encoder(points=None, boxes=None, masks=None)
    with pytest.raises(ImageError, match="stretched to 96 x 96"):
        model.preprocess(torch.zeros(3, 96, 60))
