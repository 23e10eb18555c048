"""`SamModel.fuse`: the same function from fewer layers, never saved. The published networks are in ``tests/zoo``."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from sam_hub.errors import OutputError
from sam_hub.families.pocket.encoder import ConvNorm
from sam_hub.models.layers import ConvBatchNorm, fold_batch_norm

WITHOUT_BATCH_NORM = ("sam_vision_model", "sam_hub_efficient_sam", "sam2_vision_model", "sam3_vision_model")


PIXELS = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_embedding_stays(any_encoder, dtype):
    """Exact in float64: what is left in float32 is rounding."""
    model = copy.deepcopy(any_encoder).to(dtype)
    before = model.encode(PIXELS).embedding
    fused = model.fuse()
    assert fused is model and not fused.training
    assert not [m for m in fused.modules() if isinstance(m, nn.BatchNorm2d) or hasattr(m, "folded")]
    assert relative(fused.encode(PIXELS).embedding, before) <= (1e-5 if dtype == torch.float32 else 1e-13)
    for parameter in fused.parameters():
        assert parameter.dtype == dtype and parameter.is_leaf and parameter.requires_grad


def test_a_fused_model_is_not_saved(any_encoder, tmp_path):
    model = copy.deepcopy(any_encoder)
    assert not model.is_fused
    folds = any(isinstance(m, nn.BatchNorm2d) for m in any_encoder.modules())
    assert folds or any_encoder.config.vision_config.model_type in (*WITHOUT_BATCH_NORM, "toy_vision")
    model.fuse()
    assert model.is_fused is folds
    if not folds:
        model.save_pretrained(tmp_path)
        return
    with pytest.raises(OutputError, match="before fuse"):
        model.save_pretrained(tmp_path / "fused")
    assert not (tmp_path / "fused").exists()
    assert model.fuse().is_fused  # a second time there is nothing left to fold, and it is still not a checkpoint
    assert copy.deepcopy(model).is_fused
    any_encoder.save_pretrained(tmp_path)  # the one it was copied from still is


@torch.no_grad()
def test_folding_by_the_formula():
    """y = gamma (w x - mean) / sqrt(var + eps) + beta, with a bias and without, and with a stride and groups."""
    layer = ConvBatchNorm(4, 8, 3, stride=2, groups=2, eps=1e-2).double().eval()
    norm = layer.norm
    for value in (norm.weight, norm.bias, norm.running_mean):
        value.copy_(torch.randn(8))
    norm.running_var.copy_(torch.rand(8) + 0.5)
    x = torch.randn(3, 4, 9, 7, dtype=torch.float64)
    gain = norm.weight / (norm.running_var + 1e-2).sqrt()
    expected = (layer.conv(x) - norm.running_mean.view(-1, 1, 1)) * gain.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)
    torch.testing.assert_close(layer.folded()(x), expected, rtol=1e-12, atol=1e-12)
    bias = torch.randn(8, dtype=torch.float64)
    weight, shift = fold_batch_norm(layer.conv.weight, bias, norm)
    torch.testing.assert_close(weight, layer.folded().weight)
    torch.testing.assert_close(shift, layer.folded().bias + bias * gain)


class Adapter(nn.Module):
    """Like adapters of convolutions: it exposes the wrapped layer's weight and adds to its output."""

    def __init__(self, base: nn.Conv2d) -> None:
        super().__init__()
        self.base_layer = base

    @property
    def weight(self) -> torch.Tensor:
        return self.base_layer.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base_layer(x) * 1.5

    def __getattr__(self, name: str):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base_layer"), name)


class Louder(ConvNorm):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * 1.5


def wrap(layer: nn.Module) -> None:
    layer.conv = Adapter(layer.conv)


def hook(layer: nn.Module) -> None:
    layer.norm.register_forward_hook(lambda module, given, out: out * 1.5)


def prune_conv(layer: nn.Module) -> None:
    prune.l1_unstructured(layer.conv, "weight", 0.5)


def parametrize_conv(layer: nn.Module) -> None:
    nn.utils.parametrize.register_parametrization(layer.conv, "weight", nn.Tanh())


def another_class(layer: nn.Module) -> None:
    layer.__class__ = Louder


@torch.no_grad()
@pytest.mark.parametrize("change", [wrap, hook, prune_conv, parametrize_conv, another_class])
def test_what_weights_do_not_tell_is_not_folded_away(tiny_pocket, change):
    model = copy.deepcopy(tiny_pocket).double()
    plain = model.encode(PIXELS).embedding
    layers = [m for m in model.modules() if type(m) is ConvNorm]
    change(layers[1])
    before = model.encode(PIXELS).embedding
    assert relative(before, plain) > 1e-3
    model.fuse()
    assert relative(model.encode(PIXELS).embedding, before) <= 1e-13
    kept = [m for m in model.modules() if isinstance(m, ConvNorm)]
    assert kept == [layers[1]]
    model.fuse()
    assert relative(model.encode(PIXELS).embedding, before) <= 1e-13
