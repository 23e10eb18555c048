"""RepViT: its two kinds of reparametrised block, its gates, its sizes."""

import pytest
import torch
import torch.nn.functional as F

from sam_hub.families.repvit.encoder import RepDepthwise, RepVitEncoder, SqueezeExcite
from sam_hub.models.configuration_sam import RepVitVisionConfig


def batch_norm(x, norm):
    return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("after", [False, True], ids=["EdgeSAM", "RepViT-SAM"])
def test_depthwise_block_and_its_single_convolution(randomised, after):
    block = randomised(RepDepthwise(6, norm_after_sum=after, eps=1e-5)).double().eval()
    x = torch.randn(2, 6, 7, 9, dtype=torch.float64)
    wide = batch_norm(F.conv2d(x, block.conv3x3.conv.weight, padding=1, groups=6), block.conv3x3.norm)
    if after:
        narrow = F.conv2d(x, block.conv1x1.weight, block.conv1x1.bias, groups=6)
        expected = batch_norm(wide + narrow + x, block.norm)
    else:
        narrow = batch_norm(F.conv2d(x, block.conv1x1.conv.weight, groups=6), block.conv1x1.norm)
        expected = wide + narrow + x
    torch.testing.assert_close(block(x), expected, rtol=1e-12, atol=1e-12)
    single = block.folded()
    assert isinstance(single, torch.nn.Conv2d) and single.weight.shape == (6, 1, 3, 3)
    torch.testing.assert_close(single(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("width", "narrow"), [(48, 16), (96, 24), (192, 48), (384, 96), (80, 24), (160, 40), (320, 80), (640, 160)]
)
def test_width_of_the_gates(width, narrow):
    assert SqueezeExcite(width).fc1.out_channels == narrow


@torch.no_grad()
def test_the_gate(randomised):
    gate = randomised(SqueezeExcite(16)).double()
    x = torch.randn(2, 16, 3, 5, dtype=torch.float64)
    hidden = (x.flatten(2).mean(2) @ gate.fc1.weight[:, :, 0, 0].T + gate.fc1.bias).clamp(min=0)
    scale = torch.sigmoid(hidden @ gate.fc2.weight[:, :, 0, 0].T + gate.fc2.bias)
    torch.testing.assert_close(gate(x), x * scale[:, :, None, None], rtol=1e-12, atol=1e-12)


def test_input_sizes():
    """Without fused stages the stride is 16; with them the coarsest map needs 32."""
    small = dict(hidden_sizes=[8, 8, 8, 16], depths=[1, 1, 1, 1])
    with torch.device("meta"):
        fused = RepVitEncoder(RepVitVisionConfig(**small))
        plain = RepVitEncoder(RepVitVisionConfig(**small, fuse_stages=False))
    pixels = torch.empty(1, 3, 48, 80, device="meta")
    assert plain(pixels).embedding.shape == (1, 256, 3, 5)
    with pytest.raises(ValueError, match="multiples of 32; got 48 x 80"):
        fused(pixels)
