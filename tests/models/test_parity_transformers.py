"""`SamModel` against ``transformers.SamModel`` with the original's eps, on random weights.

In float64 the two agree to 1e-9, which no wrong constant survives; in float32 their relative RMS distance, which
the goldens use too, is below 1e-5.
"""

import copy

import pytest
import torch
import transformers

from sam_hub.models.modeling_sam import SamModel

SIZE, WIDTH = 96, 64
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}


@pytest.fixture(scope="module")
def folder(tiny_vit, tmp_path_factory):
    """What ours saved."""
    folder = tmp_path_factory.mktemp("saved")
    tiny_vit.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pair(tiny_vit, folder):
    """Ours, and transformers' loaded from what ours saved."""
    theirs, info = transformers.SamModel.from_pretrained(folder, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert theirs.config.mask_decoder_config.layer_norm_eps == 1e-5
    return copy.deepcopy(tiny_vit).double(), theirs.eval().double()


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return random(2, 3, SIZE, SIZE, seed=5)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def coordinates(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * SIZE


def boxes(images: int, objects: int) -> torch.Tensor:
    low = coordinates(images, objects, 2, seed=2) / 2
    return torch.cat([low, low + 5 + coordinates(images, objects, 2, seed=3) / 3], dim=-1)


LABELS = torch.tensor([1, 0, 1]).expand(2, 4, 3)
PROMPTS = {
    "one point": dict(input_points=coordinates(2, 4, 1, 2)),
    "points": dict(input_points=coordinates(2, 4, 3, 2), input_labels=LABELS),
    "not a point": dict(input_points=coordinates(2, 4, 3, 2), input_labels=torch.tensor([1, -1, 0]).expand(2, 4, 3)),
    "boxes": dict(input_boxes=boxes(2, 4)),
    "points and boxes": dict(input_points=coordinates(2, 4, 3, 2), input_labels=LABELS, input_boxes=boxes(2, 4)),
    "point and mask": dict(input_points=coordinates(2, 1, 1, 2), input_masks=3 * random(2, 1, 24, 24)),
    "box and mask": dict(input_boxes=boxes(2, 1), input_masks=3 * random(2, 1, 24, 24)),
    "no prompt": {},
}


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    assert a.shape == b.shape and a.dtype == b.dtype
    return ((a - b).norm() <= TOLERANCE[a.dtype] * b.norm()).item()


@torch.no_grad()
@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_same_embeddings_masks_and_scores(pair, pixels, prompt, multimask):
    ours, theirs = (model.double() for model in pair)
    assert close(ours.get_image_embeddings(pixels), theirs.get_image_embeddings(pixels))
    for dtype in (torch.float64, torch.float32):
        prompts = {k: v if k == "input_labels" else v.to(dtype) for k, v in PROMPTS[prompt].items()}
        prompts.update(pixel_values=pixels.to(dtype), multimask_output=multimask)
        a, b = (model.to(dtype)(**prompts) for model in pair)
        assert b.pred_masks.std() > 0.1, "the comparison would be vacuous"
        assert close(a.pred_masks, b.pred_masks)
        assert close(a.iou_scores, b.iou_scores)


@torch.no_grad()
def test_same_hidden_states_and_attentions(folder, pixels):
    """In float32, because transformers' eager softmax is float32 whatever the model."""
    ours = SamModel.from_pretrained(folder, attn_implementation="eager").eval()
    theirs = transformers.SamModel.from_pretrained(folder, attn_implementation="eager").eval()
    given = dict(pixel_values=pixels.float(), output_hidden_states=True, output_attentions=True)
    a, b = ours(**given), theirs(**given)
    assert close(a.pred_masks, b.pred_masks)
    assert len(a.vision_hidden_states) == len(ours.vision_encoder.layers) + 1
    assert len(a.vision_attentions) == len(ours.vision_encoder.layers)
    assert len(a.mask_decoder_attentions) == len(ours.mask_decoder.transformer.layers)
    for mine, other in zip(a.vision_attentions, b.vision_attentions, strict=True):
        assert close(mine, other.reshape(mine.shape))  # theirs joins images and heads


@torch.no_grad()
def test_the_implementation_of_attention_can_change_at_any_time(tiny_vit, pixels):
    """transformers chooses the encoder's attention in __init__, so that setting it later does nothing."""
    model = copy.deepcopy(tiny_vit).double()
    fused = model(pixels)
    assert model(pixels, output_attentions=True).mask_decoder_attentions[0] is None
    model.set_attn_implementation("eager")
    plain = model(pixels, output_attentions=True)
    assert plain.mask_decoder_attentions[0] is not None
    assert close(plain.pred_masks, fused.pred_masks)


@torch.no_grad()
def test_prompt_embeddings_and_positional_grid(pair):
    ours, theirs = (model.double() for model in pair)
    for prompt in ("points", "boxes", "points and boxes", "point and mask"):
        given = {"input_points": None, "input_labels": None, "input_boxes": None, "input_masks": None} | PROMPTS[prompt]
        if given["input_points"] is not None and given["input_labels"] is None:
            given["input_labels"] = torch.ones(given["input_points"].shape[:-1], dtype=torch.long)
        for a, b in zip(ours.get_prompt_embeddings(**given), theirs.get_prompt_embeddings(**given), strict=True):
            assert close(a, b)
    assert close(ours.get_image_wide_positional_embeddings(), theirs.get_image_wide_positional_embeddings())


@torch.no_grad()
def test_guidance_of_persam(pair, pixels):
    """attention_similarity and target_embedding do what they do in transformers."""
    ours, theirs = (model.double() for model in pair)
    similarity = random(2, 1, 1, 36, seed=9)
    target = random(2, 1, 1, WIDTH, seed=10)
    prompt = dict(input_points=coordinates(2, 1, 1, 2), attention_similarity=similarity, target_embedding=target)
    a, b = ours(pixel_values=pixels, **prompt), theirs(pixel_values=pixels, **prompt)
    assert not close(a.pred_masks, ours(pixel_values=pixels, input_points=prompt["input_points"]).pred_masks)
    assert close(a.pred_masks, b.pred_masks)


@torch.no_grad()
def test_guidance_differs_from_object_to_object(pair, pixels):
    """Each of several objects has its own attention, and answers as it does alone."""
    ours, points = pair[0].double(), coordinates(1, 3, 1, 2)
    similarity, target = 3 * random(3, 1, 1, 36, seed=9), random(1, 3, 1, WIDTH, seed=10)
    embedding = ours.encode(pixels[:1]).embedding
    together = ours(
        image_embeddings=embedding,
        input_points=points,
        attention_similarity=similarity,
        target_embedding=target,
    ).pred_masks
    for i in range(3):
        alone = ours(
            image_embeddings=embedding,
            input_points=points[:, i : i + 1],
            attention_similarity=similarity[i : i + 1],
            target_embedding=target[:, i : i + 1],
        ).pred_masks
        assert close(together[:, i : i + 1], alone)


@torch.no_grad()
def test_round_trip_through_transformers(pair, pixels, tmp_path):
    """transformers saves, ours loads; and 1e-6 written by transformers is read as the original's 1e-5."""
    ours, theirs = (model.double() for model in pair)
    theirs.config.mask_decoder_config.layer_norm_eps = 1e-6
    theirs.float().save_pretrained(tmp_path)
    theirs.config.mask_decoder_config.layer_norm_eps = 1e-5
    again = SamModel.from_pretrained(tmp_path).eval().double()
    assert again.config.mask_decoder_config.layer_norm_eps == 1e-5
    assert close(again(pixels).pred_masks, ours(pixels).pred_masks)
