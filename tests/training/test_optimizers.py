"""Which parameters each optimizer gets; AdamW and Muon together equal each on its own."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from sam_hub.training import optimizers
from sam_hub.training.interactive import InteractiveStep
from sam_hub.training.optimizers import FloatMuon, adamw_and_muon, is_hidden_matrix, orthogonalised
from sam_hub.training.pocket import train_pocket
from sam_hub.training.trainer import SamTrainer


def twins() -> tuple[nn.Linear, nn.Linear]:
    torch.manual_seed(0)
    one, two = nn.Linear(6, 4), nn.Linear(6, 4)
    two.load_state_dict(one.state_dict())
    return one, two


def learn(layer: nn.Linear, step: int, *optimizers: torch.optim.Optimizer) -> None:
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(step))
    (layer(x) - 1).square().sum().backward()
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("fast", [True, False])
def test_together_they_do_what_each_does_alone(monkeypatch, fast):
    monkeypatch.setattr(optimizers, "bfloat16_is_fast", lambda: fast)
    one, two = twins()
    both = adamw_and_muon([{"params": [one.bias], "lr": 1e-2}], [one.weight], rate=2e-2, decay=0.1, betas=(0.9, 0.98))
    adamw = torch.optim.AdamW([two.bias], lr=1e-2, betas=(0.9, 0.98))
    kind = torch.optim.Muon if fast else FloatMuon
    muon = kind([two.weight], lr=2e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    schedule = torch.optim.lr_scheduler.LambdaLR(both, lambda step: 0.5**step)
    for step in range(6):
        if step == 3:  # a checkpoint, and everything made anew
            kept, place = both.state_dict(), schedule.state_dict()
            both = adamw_and_muon([{"params": [one.bias], "lr": 1}], [one.weight], rate=1, decay=0, betas=(0.0, 0.0))
            schedule = torch.optim.lr_scheduler.LambdaLR(both, lambda step: 0.5**step)
            both.load_state_dict(kept)
            schedule.load_state_dict(place)
        adamw.param_groups[0]["lr"], muon.param_groups[0]["lr"] = 1e-2 * 0.5**step, 2e-2 * 0.5**step
        learn(one, step, both)
        learn(two, step, adamw, muon)
        schedule.step()
        assert torch.equal(one.weight, two.weight) and torch.equal(one.bias, two.bias), step


@pytest.mark.parametrize("shape", [(24, 24), (12, 40), (40, 12)])
def test_muon_in_float32_is_torchs_without_the_rounding(monkeypatch, shape):
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)
    generator = torch.Generator().manual_seed(3)
    start = torch.randn(shape, generator=generator)
    one, two = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    options = {"lr": 0.1, "weight_decay": 0.1, "adjust_lr_fn": "match_rms_adamw"}
    ours, torchs = FloatMuon([one], **options), torch.optim.Muon([two], **options)
    for step in range(4):
        one.grad = two.grad = torch.randn(shape, generator=generator)
        if step == 2:  # a checkpoint of the other goes on
            ours.load_state_dict(deepcopy(torchs.state_dict()))
        ours.step()
        torchs.step()
    assert (two - start).norm() > 1
    torch.testing.assert_close(one, two)


def test_orthogonalised_matrices_have_singular_values_near_one():
    matrix = torch.randn(16, 30, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalised(matrix, (3.4445, -4.775, 2.0315), 5, 1e-7))
    assert values.min() > 0.6 and values.max() < 1.3


@pytest.mark.parametrize("muon_rate", [0.0, 1.5])
def test_muon_takes_the_decoders_matrices(shards, recipe, new_model, tmp_path, muon_rate):
    from transformers import TrainingArguments

    recipe = replace(recipe, muon_rate=muon_rate)
    step = InteractiveStep(new_model(), recipe.prompts, recipe.loss)
    arguments = TrainingArguments(output_dir=str(tmp_path), learning_rate=1e-3, report_to="none", use_cpu=True)
    optimizer = SamTrainer(model=step, recipe=recipe, args=arguments).create_optimizer()
    names = {id(p): n for n, p in step.named_parameters()}
    rates: dict[str, float] = {}
    for group in optimizer.param_groups:
        rates |= {names[id(p)]: group["lr"] for p in group["params"]}
    assert rates.keys() == set(names.values())
    decoder = "sam.mask_decoder.transformer.layers.0."
    assert rates[decoder + "self_attn.q_proj.weight"] == pytest.approx(1e-3 * (muon_rate or 1))
    assert rates[decoder + "self_attn.q_proj.bias"] == pytest.approx(1e-3)
    assert rates["sam.mask_decoder.mask_tokens.weight"] == pytest.approx(1e-3)
    assert rates["sam.vision_encoder.stem.conv.weight"] == pytest.approx(1e-3 * recipe.encoder_rate)


def test_tokens_and_embeddings_are_no_hidden_matrices():
    matrix = nn.Parameter(torch.zeros(4, 4))
    assert is_hidden_matrix("mask_decoder.transformer.layers.0.mlp.lin1.weight", matrix)
    for name in ("mask_decoder.iou_token.weight", "prompt_encoder.point_embed.0.weight", "encoder.pos_embedding"):
        assert not is_hidden_matrix(name, matrix)
    assert not is_hidden_matrix("mask_decoder.transformer.layers.0.mlp.lin1.bias", nn.Parameter(torch.zeros(4)))


def test_only_a_part_learns(shards, recipe, new_model, tmp_path):
    before = {name: value.clone() for name, value in new_model().state_dict().items()}
    last = train_pocket(shards, tmp_path, replace(recipe, only="iou_prediction_head"), new_model())
    after = load_file(last / "model.safetensors")
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed and all("iou_prediction_head" in name for name in changed)
