"""TinyViT: the windowed block against a loop over windows, and the features that other decoders read."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sam_hub.families.mobile_sam.encoder import TinyVitBlock, TinyVitEncoder, WindowAttention
from sam_hub.models.configuration_sam import TinyVitVisionConfig

DIM, HEADS, WINDOW = 12, 3, 4


def config(**settings: object) -> TinyVitVisionConfig:
    part = TinyVitVisionConfig(**settings)
    part._attn_implementation = "sdpa"
    return part


@pytest.fixture
def block(randomised) -> TinyVitBlock:
    return randomised(TinyVitBlock(config(mlp_ratio=2.0), DIM, HEADS, WINDOW)).double().eval()


def by_the_loop(block: TinyVitBlock, x: Tensor) -> Tensor:
    """The block, re-stated for one image (C, h, w), window by window and head by head."""
    c, h, w = x.shape
    attn, size = block.attn, WINDOW
    out = x.clone()
    for top in range(0, h, size):
        for left in range(0, w, size):
            window = torch.zeros(size, size, c, dtype=x.dtype)  # outside the image: zeros, before the norm
            inside = x[:, top : top + size, left : left + size].permute(1, 2, 0)
            window[: inside.shape[0], : inside.shape[1]] = inside
            tokens = F.layer_norm(window.reshape(-1, c), (c,), block.layer_norm1.weight, block.layer_norm1.bias, 1e-5)
            heads = []
            for head in range(HEADS):
                d = c // HEADS
                rows = slice(3 * d * head, 3 * d * (head + 1))
                q, k, v = F.linear(tokens, attn.qkv.weight[rows], attn.qkv.bias[rows]).split(d, dim=1)
                logits = q @ k.T / d**0.5
                for i in range(size * size):
                    for j in range(size * size):
                        dy, dx = abs(i // size - j // size), abs(i % size - j % size)
                        logits[i, j] += attn.attention_biases[head, dy * size + dx]
                heads.append(logits.softmax(1) @ v)
            seen = attn.proj(torch.cat(heads, 1)).reshape(size, size, c)[: inside.shape[0], : inside.shape[1]]
            out[:, top : top + size, left : left + size] += seen.permute(2, 0, 1)
    norm = block.local_conv.norm
    out = F.conv2d(out[None], block.local_conv.conv.weight, padding=1, groups=c)
    out = F.batch_norm(out, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-5)[0]
    tokens = out.permute(1, 2, 0)
    y = F.layer_norm(tokens, (c,), block.layer_norm2.weight, block.layer_norm2.bias, 1e-5)
    y = block.mlp.lin2(F.gelu(block.mlp.lin1(y)))
    return (tokens + y).permute(2, 0, 1)


@torch.no_grad()
@pytest.mark.parametrize("size", [(8, 8), (6, 11), (3, 4)])
def test_the_block_is_what_a_loop_computes(block, size):
    x = torch.randn(2, DIM, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.stack([by_the_loop(block, image) for image in x])
    found, weights = block(x)
    assert weights is None
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    found, weights = block(x, output_attentions=True)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    assert weights.shape[1:] == (HEADS, WINDOW**2, WINDOW**2)


@torch.no_grad()
def test_biases_are_never_stale(block):
    """The reference expands them in eval(), which its builders call before the weights are loaded."""
    x = torch.randn(1, DIM, 8, 8, dtype=torch.float64)
    before = block(x)[0]
    block.load_state_dict({**block.state_dict(), "attn.attention_biases": block.attn.attention_biases + 1.5})
    torch.testing.assert_close(block(x)[0], before)  # a constant changes no softmax
    block.attn.attention_biases[:, 0] += 1.5
    assert (block(x)[0] - before).abs().max() > 0.01


def test_nothing_but_weights_is_kept():
    """No buffer and no tensor attribute, which loading through the meta device would leave as garbage."""
    attention = WindowAttention(config(), DIM, HEADS, WINDOW)
    assert not list(attention.buffers())
    assert not [name for name, value in vars(attention).items() if isinstance(value, Tensor)]


@torch.no_grad()
def test_the_early_features_of_hq_light(tiny_tinyvit):
    encoder = tiny_tinyvit.vision_encoder
    pixels = torch.randn(1, 3, 64, 96)
    plain = encoder(pixels, output_hidden_states=True)
    assert plain.intermediate == ()
    asking = copy.deepcopy(encoder)
    asking.config.output_intermediate = True
    (early,) = asking(pixels).intermediate
    assert early.shape == (1, 4, 6, 20)  # the second stage's output, merged: stride 16, the third stage's width
    assert torch.equal(early.permute(0, 3, 1, 2), plain.hidden_states[2])
    assert torch.equal(asking(pixels).embedding, plain.embedding)


def test_the_defaults_are_tinyvit_5m():
    with torch.device("meta"):
        encoder = TinyVitEncoder(config())
    grids = encoder(torch.empty(1, 3, 1024, 1024, device="meta"), output_hidden_states=True).hidden_states
    assert [tuple(state.shape[1:]) for state in grids] == [
        (64, 256, 256), (128, 128, 128), (160, 64, 64), (320, 64, 64), (320, 64, 64)
    ]  # fmt: skip
