"""The decoder with finer features: it starts equal to the plain one, and trains both maps' layers."""

from pathlib import Path

import pytest
import torch

from sam_hub.inference.fast_decoder import supports
from sam_hub.models.configuration_sam import SamConfig
from sam_hub.models.fine_decoder import FineMaskDecoder, with_fine_features
from sam_hub.models.modeling_sam import SamModel

from ..models.conftest import IMAGE_SIZE, randomise, tiny_config


@pytest.fixture
def plain() -> SamModel:
    return randomise(SamModel(tiny_config("sam_hub_pocket"))).eval()


def image() -> torch.Tensor:
    return torch.randn(2, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(3))


PROMPTS = {
    "input_points": torch.tensor([[[[20.0, 30.0]], [[50.0, 60.0]]]] * 2),
    "input_labels": torch.ones(2, 2, 1, dtype=torch.long),
}


@torch.no_grad()
def test_the_first_step_equals_the_plain_decoder(plain: SamModel):
    fine = with_fine_features(plain)
    assert type(fine.mask_decoder) is FineMaskDecoder and supports(fine.mask_decoder)
    assert fine.config.capabilities.feature_maps == fine.mask_decoder.feature_maps
    for many in (True, False):
        mine, theirs = (m(image(), **PROMPTS, multimask_output=many) for m in (fine, plain))
        assert torch.equal(mine.pred_masks, theirs.pred_masks) and torch.equal(mine.iou_scores, theirs.iou_scores)


@torch.no_grad()
def test_a_model_of_pockets_size_gives_the_same_masks_with_silent_features():
    vision = {"model_type": "sam_hub_pocket", "image_size": 512}
    plain = randomise(SamModel(SamConfig(vision_config=vision, prompt_encoder_config={"image_size": 512}))).eval()
    fine = with_fine_features(plain)
    pixels = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(4))
    prompts = {
        "input_points": torch.tensor([[[[100.0, 120.0]]]]),
        "input_boxes": torch.tensor([[[40.0, 50, 200, 210]]]),
    }
    for given in ({"input_points": prompts["input_points"]}, prompts):
        mine, theirs = fine(pixels, **given), plain(pixels, **given)
        assert torch.equal(mine.pred_masks, theirs.pred_masks) and torch.equal(mine.iou_scores, theirs.iou_scores)


@pytest.mark.parametrize("name", ["conv_s1", "conv_s0"])
def test_each_map_is_learnt_from_and_moves_the_masks(plain: SamModel, name: str):
    fine = with_fine_features(plain)
    before = fine(image(), **PROMPTS).pred_masks
    before.square().mean().backward()
    conv = getattr(fine.mask_decoder, name)
    assert conv.weight.grad.abs().sum() > 0
    with torch.no_grad():
        conv.weight.normal_()
        assert (fine(image(), **PROMPTS).pred_masks - before).abs().max() > 1e-3


@torch.no_grad()
def test_prompts_read_the_features_of_their_own_image(plain: SamModel):
    fine = randomise(with_fine_features(plain), 1).eval()
    both = fine(image(), **PROMPTS).pred_masks
    for i in range(2):
        alone = fine(image()[i : i + 1], **{k: v[i : i + 1] for k, v in PROMPTS.items()}).pred_masks
        torch.testing.assert_close(both[i : i + 1], alone, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_it_is_saved_and_loaded(plain: SamModel, tmp_path: Path):
    fine = randomise(with_fine_features(plain), 1).eval()
    fine.save_pretrained(tmp_path)
    loaded = SamModel.from_pretrained(tmp_path).eval()
    assert torch.equal(loaded(image(), **PROMPTS).pred_masks, fine(image(), **PROMPTS).pred_masks)


@torch.no_grad()
def test_the_shapes_of_the_maps_are_known(plain: SamModel):
    fine = with_fine_features(plain)
    encoded = fine.encode(image())
    shapes = fine.mask_decoder.feature_shapes(tuple(encoded.embedding.shape[-2:]))
    assert {name: tuple(t.shape[1:]) for name, t in encoded.features.items()} == shapes


def test_features_that_are_missing_are_named(plain: SamModel):
    fine = with_fine_features(plain)
    with pytest.raises(ValueError, match=r"intermediate_embeddings \(stride_8, stride_4\)"):
        fine(image_embeddings=fine.encode(image()).embedding, **PROMPTS)
