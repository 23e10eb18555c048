"""EfficientViT-SAM: its linear attention, its two frames, its eps. The goldens prove the numbers."""

import numpy as np
import pytest
import torch
from torch import nn

from sam_hub.families.efficientvit_sam.encoder import ConvBlock, LinearAttention
from sam_hub.inference.predictor import SamPredictor
from sam_hub.models.configuration_sam import EfficientVitVisionConfig, SamConfig
from sam_hub.models.image_processing_sam import SamImageProcessor
from sam_hub.models.modeling_sam import SamModel
from sam_hub.models.processing_sam import SamProcessor
from sam_hub.zoo import ZOO

NAMES = [name for name, variant in ZOO.items() if variant.family == "efficientvit-sam"]


@torch.no_grad()
def test_attention_is_a_weighted_mean_of_values(randomised):
    """The formula with its (pixels x pixels) weights, which the module never forms."""
    config = EfficientVitVisionConfig(attention_head_dim=4, attention_kernel=3)
    attention = randomised(LinearAttention(config, 8)).eval()
    x = torch.randn(2, 8, 6, 5, generator=torch.Generator().manual_seed(1))
    qkv = attention.qkv(x)
    outputs = []
    for maps in (qkv, attention.mix(attention.gather(qkv))):  # each pixel, then its neighbourhood
        for head in maps.flatten(2).split(12, dim=1):
            q, k, v = head.transpose(1, 2).split(4, dim=2)  # (B, pixels, 4)
            weights = q.relu() @ k.relu().transpose(1, 2)
            total = weights.sum(2, keepdim=True)
            outputs.append(weights @ v / total.clamp(min=1e-15))
    expected = attention.proj(torch.cat(outputs, dim=2).transpose(1, 2).unflatten(2, (6, 5)))
    assert torch.allclose(attention(x), expected, atol=1e-5)


@torch.no_grad()
def test_attention_survives_half_precision(randomised):
    """Its sums run over every pixel: in half precision they would overflow."""
    config = EfficientVitVisionConfig(attention_head_dim=4, attention_kernel=3)
    attention = randomised(LinearAttention(config, 8)).eval()
    x = 30 * torch.randn(1, 8, 32, 32, generator=torch.Generator().manual_seed(1)).abs()
    narrow = attention.to(torch.bfloat16)(x.to(torch.bfloat16))
    assert narrow.dtype == torch.bfloat16 and narrow.isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize("kind", ["res", "fmb", "mb"])
def test_a_block_adds_its_input_where_the_shape_stays(kind):
    config = EfficientVitVisionConfig()
    x = torch.randn(1, 8, 6, 6)
    for cout, stride, skip in ((8, 1, True), (8, 2, False), (16, 1, False)):
        block = ConvBlock(config, kind, 8, cout, 2, stride).eval()
        last = block.main[-1]
        nn.init.zeros_(last.norm.weight)  # the branch gives nothing
        assert torch.equal(block(x), x if skip else torch.zeros(1, cout, 6 // stride, 6 // stride))
    with pytest.raises(ValueError, match="unknown block 'dense'"):
        ConvBlock(config, "dense", 8, 8, 2)


@pytest.mark.parametrize("name", NAMES)
def test_every_norm_has_an_eps_of_a_millionth(name):
    with torch.device("meta"):
        model = SamModel(SamConfig(**ZOO[name].config))
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d | nn.LayerNorm | nn.GroupNorm)]
    assert len(norms) > 30 and {m.eps for m in norms} == {1e-6}


@pytest.mark.parametrize("name", NAMES)
def test_the_embedding_is_64_by_64(name):
    vision = SamConfig(**ZOO[name].config).vision_config
    assert vision.image_size == ZOO[name].image_size == 64 * vision.patch_size
    assert vision.image_size % 2 ** len(vision.widths) == 0


@torch.no_grad()
def test_coordinates_live_in_a_larger_frame_than_the_image(make_config, randomised):
    """As in L0-L2: encoded at one size, prompted and cropped at twice that."""
    config = make_config("sam_hub_efficientvit", image_size=64, patch_size=8)
    config.prompt_encoder_config.image_size = 128
    model = randomised(SamModel(config)).eval()
    processor = SamProcessor(SamImageProcessor.for_config(config))
    photo = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    inputs = processor(photo, input_points=[[[[20, 10]]]], return_tensors="pt")
    assert inputs["pixel_values"].shape == (1, 3, 64, 64)
    assert inputs["reshaped_input_sizes"].tolist() == [[77, 128]]  # int(30 * 128 / 50 + 0.5)
    assert np.allclose(inputs["input_points"].flatten(), [20 * 128 / 50, 10 * 77 / 30])

    output = model(**inputs)
    assert output.pred_masks.shape[-2:] == (32, 32)  # four for each of the 8 x 8 cells
    sparse, _ = model.get_prompt_embeddings(inputs["input_points"], inputs["input_labels"])
    xy = (inputs["input_points"][0, 0, 0] + 0.5) / 128
    expected = model.shared_image_embedding(xy) + model.prompt_encoder.point_embed[1].weight[0]
    assert torch.allclose(sparse[0, 0, 0], expected, atol=1e-5)

    predictor = SamPredictor(model)
    predictor.set_image(photo)
    masks, _, low_res = predictor.predict(np.array([[20, 10]]), np.array([1]), return_logits=True)
    assert np.allclose(low_res, output.pred_masks[0, 0], atol=1e-4)
    sizes = inputs["original_sizes"], inputs["reshaped_input_sizes"]
    expected = processor.post_process_masks(output.pred_masks, *sizes, binarize=False)[0][0]
    by_hand = nn.functional.interpolate(output.pred_masks[0], (128, 128), mode="bilinear")[..., :77, :128]
    by_hand = nn.functional.interpolate(by_hand, (30, 50), mode="bilinear")[0]
    assert torch.allclose(expected, by_hand, atol=1e-5) and np.allclose(masks, expected, atol=1e-4)
