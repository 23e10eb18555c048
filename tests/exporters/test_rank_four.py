"""The restated encoders compute what the plain ones compute, in four axes."""

import pytest
import torch
import torch.nn.functional as F
from sam_hub.exporters.rank_four import restated_encoder

from sam_hub.models.encoders.vit import window_partition, window_unpartition
from sam_hub.models.four_axes import bicubic, joined, windows_of
from sam_hub.models.modeling_sam import SamModel

from ..models.conftest import TINY_ENCODERS, randomise, tiny_config

PLAIN = sorted(set(TINY_ENCODERS) - {"sam_hub_efficient_sam"})  # EfficientSAM has a decoder of its own
EXTRA = {
    "sam_hub_repvit at one stride": ("sam_hub_repvit", {"fuse_stages": False, "norm_after_sum": True}),
    "sam_vision_model of one head": ("sam_vision_model", {"num_attention_heads": 1, "qkv_bias": False}),
    "sam_hub_efficientvit at stride 8": ("sam_hub_efficientvit", {"patch_size": 8}),
}
CASES = {**{name: (name, {}) for name in PLAIN}, **EXTRA}


@pytest.fixture(scope="module", params=CASES)
def model(request: pytest.FixtureRequest) -> SamModel:
    vision, settings = CASES[request.param]
    return randomise(SamModel(tiny_config(vision, **settings))).eval()


@torch.no_grad()
def test_same_embedding(model):
    x = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(3))
    before = model.get_image_embeddings(x)
    ours = restated_encoder(model)(x)
    unit = max(1.0, float(before.std()))  # a feature pyramid has no norm behind it, and random weights grow
    torch.testing.assert_close(ours / unit, before / unit, atol=2e-5, rtol=2e-5)
    torch.testing.assert_close(model.get_image_embeddings(x), before, atol=0, rtol=0)  # the model is as it was


@pytest.mark.parametrize("vision", ["sam_hub_repvit", "sam3_vision_model"])
def test_no_resize_and_few_axes(vision):
    """For EdgeSAM's and SAM 3's shape; the others are checked in the conversion to Core ML."""
    model = randomise(SamModel(tiny_config(vision))).eval()
    program = torch.export.export(restated_encoder(model), (torch.zeros(1, 3, 96, 96),)).run_decompositions({})
    calls = [node for node in program.graph.nodes if node.op == "call_function"]
    values = [node.meta["val"] for node in calls if isinstance(node.meta.get("val"), torch.Tensor)]
    assert len(values) > 20
    assert max(value.dim() for value in values) <= 4
    names = {str(node.target) for node in calls}
    assert not [n for n in names for word in ("bicubic", "einsum", "repeat_interleave", "batch_norm") if word in n]


def test_weights_are_shared(tiny_vit_model):
    theirs = {p.data_ptr() for p in tiny_vit_model.vision_encoder.parameters()}
    ours = {p.data_ptr() for p in restated_encoder(tiny_vit_model).parameters()}
    assert ours == theirs


@pytest.fixture
def tiny_vit_model() -> SamModel:
    return randomise(SamModel(tiny_config())).eval()


@pytest.mark.parametrize("size", [(6, 6), (7, 10), (12, 5)])
def test_windows(size):
    x = torch.randn(2, *size, 3, generator=torch.Generator().manual_seed(0))
    ours, padded = windows_of(x, 4)
    theirs, same = window_partition(x, 4)
    assert padded == same and torch.equal(ours, theirs)
    assert torch.equal(joined(ours, 4, padded, size), x)
    assert torch.equal(joined(ours, 4, padded, size), window_unpartition(theirs, 4, padded, size))


@pytest.mark.parametrize(("size", "out"), [((4, 6), (8, 12)), ((5, 3), (13, 4)), ((8, 8), (16, 16))])
def test_bicubic(size, out):
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(x, out, mode="bicubic", align_corners=False)
    torch.testing.assert_close(bicubic(x, out), expected, atol=1e-5, rtol=1e-5)
