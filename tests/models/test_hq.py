"""SAM-HQ: early features reach the decoder, caches keep them, and one mask comes out. The goldens prove the numbers."""

import copy

import numpy as np
import pytest
import torch
import transformers

from sam_hub.families.sam_hq.decoder import HqMaskDecoder
from sam_hub.inference.predictor import SamPredictor
from sam_hub.models.configuration_sam import HqMaskDecoderConfig
from sam_hub.models.image_processing_sam import SamImageProcessor
from sam_hub.models.modeling_sam import SamModel
from sam_hub.models.processing_sam import SamProcessor

SIZE = 96
POINTS = {"input_points": torch.tensor([[[[30.0, 40.0]], [[70.0, 20.0]]], [[[5.0, 90.0]], [[50.0, 50.0]]]])}
BOXES = {"input_boxes": torch.tensor([[[9.0, 9, 60, 50], [1, 2, 30, 90]], [[5, 5, 90, 90], [20, 10, 40, 30]]])}


@pytest.fixture(scope="module", params=["sam_vision_model", "sam_hub_tiny_vit"])
def model(request, make_config, randomised):
    several = {"global_attn_indexes": [1, 2]} if request.param == "sam_vision_model" else {}
    config = make_config(request.param, output_intermediate=True, **several)
    vision = config.vision_config
    config.mask_decoder_config = HqMaskDecoderConfig(
        hidden_size=config.prompt_encoder_config.hidden_size,
        mlp_dim=48,
        num_attention_heads=4,
        iou_head_hidden_dim=28,
        vit_dim=vision.hidden_sizes[2] if request.param == "sam_hub_tiny_vit" else vision.hidden_size,
    )
    return randomised(SamModel(config)).eval()


@pytest.fixture(scope="module")
def pixels():
    return torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_the_early_features(model, pixels):
    """A ViT's after its first global layer, TinyViT's after its second stage; each pixel's channels last."""
    output = model.encode(pixels, output_hidden_states=True)
    (early,) = output.intermediate
    if model.config.vision_config.model_type == "sam_vision_model":
        first = min(model.config.vision_config.global_attn_indexes)
        expected = output.hidden_states[1 + first]  # 1: after the patch embedding
    else:
        expected = output.hidden_states[1 + 1].permute(0, 2, 3, 1)
    assert torch.equal(early, expected)
    assert early.shape == (2, SIZE // 16, SIZE // 16, model.config.mask_decoder_config.vit_dim)


@torch.no_grad()
def test_without_the_setting_there_are_none(tiny_vit, pixels):
    assert tiny_vit.encode(pixels).intermediate == ()


@torch.no_grad()
@pytest.mark.parametrize("prompts", [POINTS, BOXES], ids=["points", "boxes"])
def test_one_mask_in_every_mode(model, pixels, prompts):
    encoded = model.encode(pixels)
    raw, iou, _ = model.predict_masks(encoded.embedding, **prompts, intermediate=encoded.intermediate)
    assert raw.shape[2] == 5 and iou.shape[2] == 4  # four of SAM's, and the HQ token's
    modes = {
        (True, False): lambda m, s: m[1 + s[1:].argmax()] + m[4],
        (False, False): lambda m, s: m[0] + m[4],
        (True, True): lambda m, s: m[4],
        (False, True): lambda m, s: m[4],
    }
    for (multi, only), expected in modes.items():
        output = model(pixels, **prompts, multimask_output=multi, hq_token_only=only)
        assert output.pred_masks.shape == (2, 2, 1, SIZE // 4, SIZE // 4) and output.iou_scores.shape == (2, 2, 1)
        for i in range(2):
            for j in range(2):
                assert torch.allclose(output.pred_masks[i, j, 0], expected(raw[i, j], iou[i, j]), atol=1e-5)
                best = iou[i, j, 1:].max() if multi else iou[i, j, 0]
                assert torch.allclose(output.iou_scores[i, j, 0], best, atol=1e-6)


@torch.no_grad()
def test_an_embedding_alone_is_not_enough(model, pixels):
    encoded = model.encode(pixels)
    with pytest.raises(ValueError, match="intermediate_embeddings"):
        model(image_embeddings=encoded.embedding, **POINTS)
    both = model(image_embeddings=encoded.embedding, intermediate_embeddings=encoded.intermediate, **POINTS).pred_masks
    assert torch.equal(both, model(pixels, **POINTS).pred_masks)
    wrong = (encoded.intermediate[0].flip(0),)
    assert not torch.allclose(
        both, model(image_embeddings=encoded.embedding, intermediate_embeddings=wrong, **POINTS).pred_masks
    )


def test_the_hq_token_is_of_hq_only(tiny_vit, pixels):
    with pytest.raises(ValueError, match="no HQ token"):
        tiny_vit(pixels, **POINTS, hq_token_only=True)


def test_the_predictor_keeps_both_tensors(model, monkeypatch):
    rng = np.random.default_rng(0)
    photos = [rng.integers(0, 256, (60, 90, 3), dtype=np.uint8) for _ in range(2)]
    click = dict(point_coords=np.array([[40, 30]]), point_labels=np.array([1]), return_logits=True)
    fresh = []
    for photo in photos:
        predictor = SamPredictor(model)
        predictor.set_image(photo)
        fresh.append(predictor.predict(**click))
    assert not np.allclose(fresh[0][0], fresh[1][0])
    direct = SamProcessor(SamImageProcessor.for_config(model.config))(
        photos[0], input_points=[[[[40, 30]]]], return_tensors="pt"
    )
    assert np.allclose(fresh[0][2], model(**direct).pred_masks[0, 0].detach(), atol=1e-4)

    predictor = SamPredictor(model)
    for photo in photos:
        predictor.set_image(photo)
    monkeypatch.setattr(model, "encode", None)  # from here on only the cache can answer
    for photo, (masks, scores, low_res) in zip(photos, fresh, strict=True):
        predictor.set_image(photo)
        again = predictor.predict(**click)
        assert masks.shape == (1, 60, 90) and all(map(np.array_equal, again, (masks, scores, low_res)))
        only = predictor.predict(**click, hq_token_only=True)
        assert not np.allclose(only[0], masks) and np.array_equal(only[1], scores)


@torch.no_grad()
def test_the_gradient_reaches_every_new_part(model, pixels):
    model = copy.deepcopy(model)
    with torch.enable_grad():
        labels = torch.rand(2, 2, SIZE, SIZE, generator=torch.Generator().manual_seed(2)).round()
        model(pixels, **BOXES, labels=labels, multimask_output=False).loss.backward()
    new = ("hq_", "compress_vit_", "encoder_", "mask_conv", "mask_norm")
    parts = [(n, p) for n, p in model.mask_decoder.named_parameters() if n.startswith(new)]
    assert len(parts) == 25
    assert not [n for n, p in parts if p.grad is None or not p.grad.any()]


def test_reads_what_transformers_wrote(tmp_path, randomised):
    """Its weight names and configuration; its arithmetic is another (see `hq_decoder`)."""
    vision = dict(hidden_size=24, output_channels=32, num_hidden_layers=3, num_attention_heads=3, window_size=4)
    vision.update(global_attn_indexes=[1], image_size=96, mlp_dim=40, num_pos_feats=16)
    theirs = transformers.SamHQModel(
        transformers.SamHQConfig(
            vision_config=vision,
            prompt_encoder_config=dict(hidden_size=32, image_size=96, mask_input_channels=8),
            mask_decoder_config=dict(hidden_size=32, mlp_dim=48, num_attention_heads=4, vit_dim=24),
        )
    )
    randomised(theirs).save_pretrained(tmp_path)
    ours = SamModel.from_pretrained(tmp_path)
    assert type(ours.mask_decoder) is HqMaskDecoder and ours.config.vision_config.output_intermediate
    assert ours.config.mask_decoder_config.layer_norm_eps == 1e-5
    weights = theirs.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in ours.state_dict().items())
    ours.save_pretrained(tmp_path / "again")
    assert SamModel.from_pretrained(tmp_path / "again").config.model_type == "sam_hub"


@torch.no_grad()
def test_feature_maps_go_by_name(model, pixels):
    encoded = model.encode(pixels)
    assert list(encoded.features) == list(model.mask_decoder.feature_maps) == ["early"]
    given = dict(image_embeddings=encoded.embedding, **POINTS)
    named = model(**given, intermediate_embeddings={**encoded.features, "unread": pixels}).pred_masks
    assert torch.equal(named, model(**given, intermediate_embeddings=encoded.intermediate).pred_masks)
    with pytest.raises(ValueError, match=r"\(early\)"):
        model(**given, intermediate_embeddings={"late": encoded.features["early"]})
