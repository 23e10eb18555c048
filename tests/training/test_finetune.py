"""Fine-tuning of tiny models: which weights train, what is saved, and that training improves it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sam_hub.data.discovery import Chosen
from sam_hub.data.sa1b import Sa1bDataset, Sample
from sam_hub.errors import OutputError, SamHubError, TrainingError
from sam_hub.models.image_processing_sam import SamImageProcessor
from sam_hub.models.modeling_sam import SamModel
from sam_hub.ops.masks import mask_to_rle
from sam_hub.training.finetune import fine_tune
from sam_hub.training.interactive import InteractiveStep
from sam_hub.training.lora import adapted_modules, add_lora, merge_lora
from sam_hub.training.recipe import FINE_TUNING, NO_AUGMENTATION, PAPER_RECIPES, PromptRecipe, Recipe
from sam_hub.training.run import FineTuning
from sam_hub.training.run_folder import claim_folder, finish
from sam_hub.training.trainer import decays, rate_of, step_decay
from sam_hub.training.validation import Validator

from ..models.conftest import TINY_ENCODERS
from .conftest import box_of

QUICK = replace(FINE_TUNING, steps=4, warmup=1, objects=2)


def processor_of(model: SamModel) -> SamImageProcessor:
    return SamImageProcessor.for_config(model.config)


@pytest.fixture
def run(shards: Path, tmp_path: Path, new_model: Callable[..., SamModel]) -> Callable:
    """Fine-tune a tiny model on six images; says what it told, too."""
    data = Sa1bDataset(shards / "one.tar")

    def start(vision: str = "sam_vision_model", out: str = "out", model: SamModel | None = None, **settings):
        model = model or new_model(vision)
        processor = processor_of(model)
        said: list[str] = []
        validator = Validator(Chosen(data, [3], "val"), processor, max_objects=2)
        settings = FineTuning(
            **{"model": "tiny", "data": "disks", "recipe": QUICK, "views": 2, "evaluations": 2, **settings}
        )
        result = fine_tune(model, processor, Chosen(data, [0, 1, 2]), validator, tmp_path / out, settings, said.append)
        return result, said

    return start


def moved(model: SamModel, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("vision", ["sam_vision_model", "sam_hub_pocket"])
def test_a_frozen_encoder_stays_and_runs_once_for_each_view(run, new_model, vision, tmp_path):
    start = new_model(vision).state_dict()
    result, said = run(vision)
    changed = moved(result.model, start)
    assert changed and not [n for n in changed if n.startswith(("vision_encoder.", "shared_image_embedding"))]
    assert {n.partition(".")[0] for n in changed} == {"prompt_encoder", "mask_decoder"}
    assert "encoded 6 of 6 views; the rest was there" in said
    assert len(list((tmp_path / "out" / "training" / "embeddings").rglob("*.safetensors"))) == 6
    assert result.history[-1]["step"] == 4 and any("eval_miou" in row for row in result.history)


@pytest.mark.parametrize("vision", ["sam_vision_model", "sam_hub_pocket"])
def test_everything_may_learn_but_the_norms_statistics(run, new_model, vision):
    start = new_model(vision).state_dict()
    result, _ = run(vision, freeze="none", gradient_checkpointing=True, accumulate=2)
    changed = moved(result.model, start)
    assert any(n.startswith("vision_encoder.") and ".neck." not in n for n in changed)
    assert not [n for n in changed if "running" in n or "num_batches" in n]


def test_an_encoder_without_gradient_checkpointing_is_refused(run, tmp_path):
    with pytest.raises(TrainingError, match="no gradient checkpointing"):
        run("toy_vision", freeze="none", gradient_checkpointing=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("vision", sorted(TINY_ENCODERS))
def test_adapters_learn_and_are_merged(new_model, vision):
    model = new_model(vision).eval()
    model.vision_encoder.requires_grad_(False)
    names, pixels = set(model.state_dict()), torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = model.encode(pixels).embedding
    if not adapted_modules(model):  # only outside this package
        assert vision == "toy_vision"
        with pytest.raises(SamHubError, match="omit --lora"):
            add_lora(model, 2)
        return
    add_lora(model, 2)
    learning = {n for n, p in model.named_parameters() if p.requires_grad and n.startswith("vision_encoder.")}
    assert learning and all(".lora_" in n for n in learning)
    assert all(p.requires_grad for n, p in model.named_parameters() if n.startswith("mask_decoder."))
    with torch.no_grad():
        assert torch.equal(model.encode(pixels).embedding, before)  # adapters begin as nothing
        for name, parameter in model.named_parameters():
            if ".lora_B" in name:
                parameter.normal_(std=0.1)
        adapted = model.encode(pixels).embedding
        merged = merge_lora(model).encode(pixels).embedding
    assert set(model.state_dict()) == names
    unit = max(1.0, float(adapted.std()))  # the tiny EdgeTAM's embedding has a deviation of hundreds
    assert (adapted - before).abs().max() > 1e-3 and torch.allclose(merged, adapted, atol=1e-4 * unit)


def test_a_run_with_adapters_gives_a_plain_model(run, new_model, tmp_path):
    start = new_model().state_dict()
    result, _ = run("sam_hub_pocket", lora=2)
    changed = {n for n in moved(result.model, start) if n.startswith("vision_encoder.")}
    assert changed and all(n.endswith("weight") for n in changed)


def test_the_result_is_a_folder_that_loads(run, tmp_path):
    result, _ = run()
    processor = processor_of(result.model)
    finish(result, processor, tmp_path / "out", "# card\n", {"before": result.before, "after": result.after})
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "README.md", "config.json", "loss.png", "model.safetensors", "preprocessor_config.json", "report.json"
    ]  # fmt: skip
    again = SamModel.from_pretrained(tmp_path / "out")
    assert not moved(again, result.model.state_dict())
    assert json.loads((tmp_path / "out" / "report.json").read_text())["after"]["miou"] == result.after["miou"]
    with pytest.raises(OutputError, match="finished model"):
        run()


def test_a_run_goes_on_only_as_it_began(run, tmp_path):
    run()
    with pytest.raises(OutputError, match="another recipe, views"):
        run(views=3, recipe=replace(QUICK, seed=1))
    _, said = run()  # nothing is left to do
    assert any("going on from" in line for line in said) and "encoded 0 of 6 views; the rest was there" in said


def test_a_run_may_go_on_with_other_workers_intervals_and_trackers(tmp_path):
    """They change no sample and no number."""
    settings = FineTuning(model="m", data="d")
    work = claim_folder(tmp_path, settings)
    assert claim_folder(tmp_path, replace(settings, workers=3, save_seconds=9.0, tracker="trackio")) == work
    for change in ({"data": "other"}, {"evaluations": 3}, {"workers": 3, "bf16": True}):
        with pytest.raises(OutputError, match=r"holds a run with another (data|evaluations|bf16); continue"):
            claim_folder(tmp_path, replace(settings, **change))


def test_metrics_go_to_tensorboard(run, tmp_path):
    run(tracker="tensorboard")
    assert list(tmp_path.rglob("events.out.tfevents*"))


@pytest.mark.parametrize(
    "missing, options, says",
    [
        ("accelerate", {}, r"training needs accelerate: install it with `pip install '.\[train\]'`"),
        ("peft", {"lora": 2}, r"training needs peft: install it with `pip install '.\[train\]'`"),
        ("trackio", {"tracker": "trackio"}, "pip install trackio"),
    ],
)
def test_a_missing_package_is_named_before_anything_is_done(run, monkeypatch, tmp_path, missing, options, says):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == missing else object())
    with pytest.raises(SamHubError, match=says):
        run(**options)
    assert not (tmp_path / "out").exists()


def test_the_run_ends_when_nothing_is_gained(run):
    stuck = replace(QUICK, steps=40, learning_rate=0.0)
    result, _ = run(recipe=stuck, evaluations=20, patience=2)
    assert 4 <= result.history[-1]["step"] <= 8


def test_the_best_weights_are_the_result(run, monkeypatch):
    scores = iter([0.1, 0.5, 0.3, 0.2, 0.9])
    seen = []

    def scored(self, model, track=iter):
        seen.append(model.mask_decoder.iou_token.weight.detach().clone())
        return {"miou": next(scores), "images": 1, "objects": 1}

    monkeypatch.setattr(Validator, "__call__", scored)
    result, _ = run(evaluations=4, recipe=replace(QUICK, steps=3, ema=0.0))
    assert torch.equal(result.model.mask_decoder.iou_token.weight, seen[1])  # the 0.5 after the first step
    assert not torch.equal(seen[1], seen[2])


def test_one_image_is_learnt_by_heart(tmp_path, new_model):
    """IoU above 0.95 from a click and from a box, on the image that was trained on.

    Low-res pixels are 4 x 4: where object and ground are not equally sure, the edge moves by a pixel or so. So the
    object is large.
    """
    mask = np.zeros((144, 192), bool)
    mask[16:128, 20:172] = True
    image = np.full((144, 192, 3), 40, np.uint8)
    image[mask] = [200, 60, 60]
    sample = Sample("a.png", image, [{"segmentation": mask_to_rle(mask), "bbox": box_of(mask)}])

    class One:
        name, path = "one", Path("one")

        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> Sample:
            return sample

    from sam_hub.models.configuration_sam import (
        PocketVisionConfig,
        SamConfig,
        SamMaskDecoderConfig,
        SamPromptEncoderConfig,
    )

    torch.manual_seed(0)
    size = dict(image_size=192)
    model = SamModel(
        SamConfig(
            vision_config=PocketVisionConfig(**TINY_ENCODERS["sam_hub_pocket"], output_channels=64, **size),
            prompt_encoder_config=SamPromptEncoderConfig(hidden_size=64, **size),
            mask_decoder_config=SamMaskDecoderConfig(
                hidden_size=64, mlp_dim=64, num_attention_heads=4, iou_head_hidden_dim=32
            ),
        )
    )
    processor = processor_of(model)
    recipe = Recipe(
        images=1, objects=1, steps=140, schedule="linear", learning_rate=4e-3, warmup=10, layer_decay=1.0,
        drop_path=0.0, weight_decay=0.0, clip_norm=1.0, augmentation=NO_AUGMENTATION,
        prompts=PromptRecipe(rounds=2, single_round_probability=0.3),
    )  # fmt: skip
    settings = FineTuning("tiny", "one", freeze="none", recipe=recipe, evaluations=1, patience=0, save_seconds=1e9)
    validator = Validator(One(), processor)
    result = fine_tune(model, processor, One(), validator, tmp_path / "out", settings, lambda text: None)
    assert result.before["miou"] < 0.6
    assert min(result.after["click_1"], result.after["box"]) > 0.95, result.after


def test_layers_learn_the_slower_the_deeper_they_lie(new_model):
    step = InteractiveStep(new_model("sam_vision_model"), PromptRecipe(), FINE_TUNING.loss)  # three layers
    recipe = replace(PAPER_RECIPES["sam-vit-h"], layer_decay=0.8)
    for name, share in {
        "sam.vision_encoder.layers.2.mlp.lin1.weight": 0.8,
        "sam.vision_encoder.layers.0.attn.qkv.weight": 0.8**3,
        "sam.vision_encoder.patch_embed.projection.weight": 0.8**4,
        "sam.vision_encoder.pos_embed": 0.8**4,
        "sam.vision_encoder.neck.conv1.weight": 1.0,
        "sam.mask_decoder.iou_token.weight": 1.0,
    }.items():
        assert rate_of(name, step, recipe) == pytest.approx(share), name
    assert rate_of("sam.vision_encoder.layers.0.attn.qkv.lora_A.default.weight", step, recipe) == 1


def test_decay_acts_on_matrices_alone(new_model):
    model = new_model("sam_vision_model")
    names = {n: p for n, p in model.named_parameters() if decays(n, p)}
    assert "vision_encoder.layers.0.mlp.lin1.weight" in names and "mask_decoder.upscale_conv1.weight" in names
    assert not [n for n in names if n.endswith("bias") or "norm" in n or "token" in n or "pos" in n.rpartition(".")[2]]


def test_the_papers_schedule():
    recipe = PAPER_RECIPES["sam-vit-h"]
    share = [
        step_decay(s, recipe.steps, recipe.warmup, recipe.milestones) for s in (0, 125, 250, 59_999, 60_000, 86_666)
    ]
    assert share == pytest.approx([0, 0.5, 1, 1, 0.1, 0.01])
    assert recipe.prompts.rounds + recipe.prompts.mask_only_rounds == 11 and recipe.objects == 64


def test_drop_path_leaves_branches_out_in_training_alone(new_model):
    encoder = new_model("sam_vision_model").vision_encoder
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        encoder.set_drop_path(0.5)
        assert [layer.drop_path for layer in encoder.layers] == [0, 0.25, 0.5]
        assert torch.equal(encoder.eval()(pixels).embedding, encoder(pixels).embedding)
        outputs = [encoder.train()(pixels).embedding for _ in range(8)]
        assert any(not torch.equal(outputs[0], o) for o in outputs)
        layer, x = encoder.layers[2], torch.randn(400, 1, 1, 24)
        kept = layer._drop(x)
        left_out = (kept == 0).all(-1).float().mean()
        assert 0.4 < left_out < 0.6 and torch.allclose(kept[(kept != 0).all(-1)], 2 * x[(kept != 0).all(-1)])


def test_curves_are_drawn(run, tmp_path):
    run()
    with Image.open(tmp_path / "out" / "training" / "loss.png") as picture:
        assert picture.size[0] > 300
