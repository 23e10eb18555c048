"""Tests that every encoder must pass, with any settings; a family's declaration adds its encoders."""

import copy
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from sam_hub.errors import CheckpointError
from sam_hub.families import registry
from sam_hub.models.modeling_sam import SamModel
from sam_hub.models.prompt_encoder import PositionalEmbedding

SIZE = 96


def pixels(*size: int, images: int = 2) -> torch.Tensor:
    height, width = size or (SIZE, SIZE)
    return torch.randn(images, 3, height, width, generator=torch.Generator().manual_seed(3))


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    assert a.shape == b.shape and a.isfinite().all()
    return ((a - b).norm() / b.norm()).item()


def part(model: SamModel) -> registry.Part:
    return registry.part("encoder", model.config.vision_config.model_type)


@torch.no_grad()
def test_saved_and_loaded_unchanged(any_encoder, tmp_path):
    any_encoder.save_pretrained(tmp_path)
    loaded = SamModel.from_pretrained(tmp_path)
    assert type(loaded.vision_encoder) is type(any_encoder.vision_encoder)
    before, after = any_encoder.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert relative(loaded.encode(pixels()).embedding, any_encoder.encode(pixels()).embedding) <= 1e-6


def test_missing_weights_are_refused_or_initialised(any_encoder, tmp_path):
    """Nothing is left as the meta device made it: neither parameters nor buffers, whichever the file lacks."""
    any_encoder.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    save_file({k: v for k, v in load_file(file).items() if not k.startswith("vision_encoder.")}, file, {"format": "pt"})
    with pytest.raises(CheckpointError, match="missing: vision_encoder"):
        SamModel.from_pretrained(tmp_path)
    torch.manual_seed(0)  # a table of eight values may be narrow by chance
    loaded = SamModel.from_pretrained(tmp_path, strict=False)
    assert torch.equal(loaded.mask_decoder.iou_token.weight, any_encoder.mask_decoder.iou_token.weight)
    for name, module in loaded.vision_encoder.named_modules():
        for part, value in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            label = f"{name}.{part}"
            assert value.device.type == "cpu" and value.isfinite().all(), label
            if isinstance(module, nn.LayerNorm | nn.BatchNorm2d | nn.GroupNorm):
                expected = 1 if part in ("weight", "running_var") else 0
                assert (value == expected).all(), label
            elif isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                bound = module.weight[0].numel() ** -0.5  # PyTorch's default is uniform within it
                assert 0 < value.abs().max() <= bound, label
                assert part == "bias" or value.std() > bound / 3, label
            elif not isinstance(module, PositionalEmbedding):
                assert (value == 0).all(), label  # tables of positions and biases start at nothing


@torch.no_grad()
def test_a_batch_equals_its_images(any_encoder):
    both = any_encoder.encode(pixels())
    for i, image in enumerate(pixels().split(1)):
        assert relative(both.embedding[i : i + 1], any_encoder.encode(image).embedding) <= 1e-5


def test_the_gradient_reaches_every_parameter(any_encoder):
    model = copy.deepcopy(any_encoder)
    encoded = model.encode(pixels())
    generator = torch.Generator().manual_seed(4)
    maps = (encoded.embedding, *encoded.features.values())
    sum(x.mul(torch.randn(x.shape, generator=generator)).sum() for x in maps).backward()
    without = [name for name, p in model.vision_encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without


@torch.no_grad()
def test_hidden_states(any_encoder):
    output = any_encoder.encode(pixels(), output_hidden_states=True)
    assert len(output.hidden_states) == part(any_encoder).tiny_states
    assert all(state.dim() == 4 and len(state) == 2 for state in output.hidden_states)
    assert len({state.double().sum().item() for state in output.hidden_states}) == len(output.hidden_states)
    assert torch.equal(output.embedding, any_encoder.encode(pixels()).embedding)
    assert any_encoder.encode(pixels()).hidden_states is None
    through_model = any_encoder(pixels(), input_boxes=torch.tensor([[[9.0, 9, 60, 50]]] * 2), output_hidden_states=True)
    assert all(map(torch.equal, through_model.vision_hidden_states, output.hidden_states))


@torch.no_grad()
def test_sdpa_equals_eager(any_encoder):
    model = copy.deepcopy(any_encoder)
    outputs = {}
    for implementation in ("sdpa", "eager"):
        model.set_attn_implementation(implementation)
        assert model.vision_encoder.config._attn_implementation == implementation
        outputs[implementation] = model.encode(pixels()).embedding
    assert relative(outputs["sdpa"], outputs["eager"]) <= 1e-5
    attentions = model.encode(pixels(), output_attentions=True).attentions
    if not part(model).softmax_attention:
        assert not attentions
    else:
        assert all((weights.sum(-1) - 1).abs().max() < 1e-5 for weights in attentions)
        model.set_attn_implementation("sdpa")
        again = model.encode(pixels(), output_attentions=True).attentions  # computed all the same
        assert all(torch.equal(a, b) for a, b in zip(attentions, again, strict=True))


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 128), (160, 96), (32, 32)])
def test_other_input_sizes(any_encoder, size):
    embedding = any_encoder.encode(pixels(*size)).embedding
    assert embedding.shape == (2, 64, size[0] // 16, size[1] // 16)
    assert embedding.isfinite().all()
    output = any_encoder(pixels(*size), input_boxes=torch.tensor([[[4.0, 4, 28, 20]]] * 2))
    assert output.pred_masks.shape[-2:] == (size[0] // 4, size[1] // 4)


def test_a_size_that_the_stride_does_not_divide_is_refused(any_encoder):
    with pytest.raises(ValueError, match="100 x 96"):
        any_encoder.encode(pixels(100, 96))


def test_the_configuration_comes_back_from_json(any_encoder):
    config = any_encoder.config
    again = type(config).from_dict(json.loads(config.to_json_string()))
    assert again.vision_config.to_dict() == config.vision_config.to_dict()
    assert type(again.vision_config) is type(config.vision_config)


@torch.no_grad()
def test_bfloat16_stays_close(any_encoder):
    """Half precision works on the CPU, up to rounding."""
    wide = any_encoder.encode(pixels()).embedding
    narrow = copy.deepcopy(any_encoder).to(torch.bfloat16).encode(pixels()).embedding
    assert narrow.dtype == torch.bfloat16
    assert relative(narrow.float(), wide) < 0.1


def test_gradient_checkpointing_recomputes_and_gives_the_same_gradients(any_encoder):
    """Of the encoders inside the package all have it; one without it says so before anything is trained."""
    model = copy.deepcopy(any_encoder).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)  # until 5.22
    layers = [m for m in model.vision_encoder.modules() if isinstance(m, GradientCheckpointingLayer)]
    assert model.supports_gradient_checkpointing == bool(layers)
    if not layers:
        assert model.config.vision_config.model_type not in {
            name for family in registry.built_in() for name in family.encoders
        }
        with pytest.raises(ValueError, match="does not support"):
            enable()
        return
    runs = []
    for inner in [*layers[0].modules()][1:]:
        inner.register_forward_pre_hook(lambda module, args: runs.append(module))

    def gradients() -> tuple[int, dict[str, torch.Tensor]]:
        model.zero_grad()
        runs.clear()
        model.encode(pixels()).embedding.square().mean().backward()
        found = {name: p.grad.clone() for name, p in model.vision_encoder.named_parameters() if p.grad is not None}
        return len(runs), found

    once, plain = gradients()
    enable({"use_reentrant": False})
    again, found = gradients()
    assert again > once > 0 and plain.keys() == found.keys()
    for name, value in plain.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-7, msg=name)
