"""Training of decoders that read maps of three strides, and of patches of 14 pixels: SAM 2, `pocket` and SAM 3."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sam_hub.data.discovery import Chosen
from sam_hub.data.sa1b import Sa1bDataset, Sample
from sam_hub.models.configuration_sam import SamConfig
from sam_hub.models.fine_decoder import with_fine_features
from sam_hub.models.image_processing_sam import SamImageProcessor
from sam_hub.models.modeling_sam import SamModel
from sam_hub.ops.masks import mask_to_rle
from sam_hub.training.distill import Distillation, EncoderStep, PromptStep, Teacher, distill
from sam_hub.training.episodes import EpisodeDataset, ViewPreparation, collate
from sam_hub.training.finetune import fine_tune
from sam_hub.training.interactive import InteractiveStep
from sam_hub.training.recipe import DISTIL_ENCODER, DISTIL_PROMPTS, FINE_TUNING, NO_AUGMENTATION, Recipe
from sam_hub.training.run import FineTuning
from sam_hub.training.validation import Validator

from ..models.conftest import randomise
from ..models.test_sam2 import tiny_config
from .conftest import box_of

QUICK = replace(FINE_TUNING, steps=2, warmup=1, objects=2)
SIDE = 112  # eight patches of 14 pixels


def tiny_sam3() -> SamConfig:
    """With patches of 14 pixels, as published: masks are 32 x 32."""
    settings = tiny_config("sam3").to_dict()
    config = SamConfig.from_dict(settings)
    config.vision_config.update({"patch_size": 14, "image_size": SIDE, "pretrain_image_size": 56})
    config.prompt_encoder_config.update({"patch_size": 14, "image_size": SIDE})
    return config


MODELS: dict[str, Callable[[], SamModel]] = {
    "sam2": lambda: SamModel(tiny_config("sam2")),
    "edgetam": lambda: SamModel(tiny_config("edgetam")),
    "sam3": lambda: SamModel(tiny_sam3()),
}


def make(kind: str) -> SamModel:
    return randomise(MODELS[kind]())


@pytest.fixture
def run(shards: Path, tmp_path: Path) -> Callable:
    data = Sa1bDataset(shards / "one.tar")

    def start(model: SamModel, **settings):
        processor, said = SamImageProcessor.for_config(model.config), []
        validator = Validator(Chosen(data, [3], "val"), processor, max_objects=2)
        settings = FineTuning(model="tiny", data="disks", recipe=QUICK, views=2, evaluations=1, **settings)
        result = fine_tune(
            model, processor, Chosen(data, [0, 1, 2]), validator, tmp_path / "out", settings, said.append
        )
        return result, said

    return start


@pytest.mark.parametrize("kind", [*MODELS, "pocket"])
def test_all_maps_of_a_view_are_kept(kind, run, new_model, tmp_path):
    """What is computed of the image alone stays as it is, as what was kept would not follow it."""
    model = with_fine_features(new_model("sam_hub_pocket")) if kind == "pocket" else make(kind)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fixed = {name for name, _ in model.image_side_parameters()}
    outside = {name.split(".")[1] for name in fixed if name.startswith("mask_decoder.")}
    assert outside == (set() if kind == "pocket" else {"conv_s0", "conv_s1"})
    assert ("no_memory_embedding" in fixed) is (kind != "pocket")
    encoded = []
    model.vision_encoder.register_forward_hook(lambda *_: encoded.append(model.training))
    result, said = run(model)
    assert "encoded 6 of 6 views; the rest was there" in said
    assert not any(encoded)  # no step runs the encoder
    files = list((tmp_path / "out" / "training" / "embeddings").rglob("*.safetensors"))
    assert len(files) == 6
    changed = {n for n, value in result.model.state_dict().items() if not torch.equal(value, before[n])}
    assert changed and not changed & fixed
    assert any(name.startswith("mask_decoder.output_hypernetworks") for name in changed)


@pytest.mark.parametrize("kind", MODELS)
def test_kept_maps_give_the_loss_of_the_image(kind, shards, tmp_path):
    model = make(kind).eval()
    processor = SamImageProcessor.for_config(model.config)
    preparation, data = ViewPreparation.of(processor), [Sa1bDataset(shards / "one.tar")]
    from sam_hub.training.embeddings import EmbeddingCache

    cache = EmbeddingCache(tmp_path)
    plain, kept = (EpisodeDataset(data, QUICK, 2, preparation, views=1, cache=c) for c in (None, cache))
    cache.fill(model, preparation, plain.each_view())
    step = InteractiveStep(model, QUICK.prompts, QUICK.loss).eval()
    with torch.no_grad():
        images, maps = (step(**collate([e[0], e[1]]), plan=("first", "click"))["loss"] for e in (plain, kept))
        changed = collate([kept[0], kept[1]])
        changed["stride_4"] = changed["stride_4"] + 1
        other = step(**changed, plan=("first", "click"))["loss"]
    assert torch.allclose(images, maps, rtol=1e-2)  # in half precision
    assert not torch.allclose(images, other, rtol=1e-2)


def test_patches_of_14_pixels_have_labels_of_their_masks_size():
    """Labels lie on the low-res masks' own grid, of 3.5 pixels, and prompts on the objects."""
    model = make("sam3").eval()
    preparation = ViewPreparation.of(SamImageProcessor.for_config(model.config))
    assert (preparation.image_size, preparation.low_res) == (SIDE, 32)
    mask = np.zeros((224, 224), bool)
    mask[60:140, 30:90] = True
    sample = Sample("a", np.zeros((224, 224, 3), np.uint8), [{"segmentation": mask_to_rle(mask), "bbox": box_of(mask)}])
    recipe = Recipe(objects=1, augmentation=NO_AUGMENTATION)
    for finer in (1, 2):
        one = EpisodeDataset([[sample]], replace(recipe, label_stride=4 // finer), 1, preparation)
        labels = one[0]["labels"]
        assert labels.shape == (1, 32 * finer, 32 * finer)
        y, x = labels[0].nonzero().T.float()
        assert torch.allclose((x.mean() + 0.5) * 3.5 / finer, torch.tensor(30.0), atol=1)
        assert torch.allclose((y.mean() + 0.5) * 3.5 / finer, torch.tensor(50.0), atol=1)
        seen = []
        predict = model.predict_masks
        model.predict_masks = lambda *a, seen=seen, predict=predict, **o: seen.append(a) or predict(*a, **o)
        step = InteractiveStep(model, replace(recipe.prompts, box_probability=0.0), recipe.loss).eval()
        boxed = InteractiveStep(model, replace(recipe.prompts, box_probability=1.0, box_noise=0.0), recipe.loss).eval()
        batch = collate([one[0]])
        with torch.no_grad():
            step(**batch, plan=("first", "click"))
            boxed(**batch, plan=("first",))
        model.predict_masks = predict
        (px, py) = seen[0][1][0, 0, 0].tolist()
        assert 15 <= px <= 45 and 30 <= py <= 70
        assert torch.allclose(seen[2][3][0, 0], torch.tensor([15.0, 30, 45, 70]), atol=3.5)
        assert seen[1][4].shape[-2:] == (32, 32)  # the mask that is fed back


@pytest.mark.parametrize("kind", MODELS)
def test_adapters_learn(kind, run):
    model = make(kind)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    result, _ = run(model, lora=2)
    changed = {n for n, value in result.model.state_dict().items() if not torch.equal(value, before[n])}
    assert any(n.startswith("vision_encoder.") for n in changed) and result.model.state_dict().keys() == before.keys()


@pytest.mark.parametrize("kind", MODELS)
def test_such_a_teacher_teaches(kind, shards, tmp_path):
    """Its other maps are kept too, and a student with its decoder learns them."""
    teacher, student = make(kind), randomise(MODELS[kind](), seed=1)
    parts = [(model, SamImageProcessor.for_config(model.config)) for model in (student, teacher)]
    data = Sa1bDataset(shards / "one.tar")
    settings = Distillation(
        model="s",
        teacher="t",
        data="d",
        recipe=replace(DISTIL_PROMPTS, steps=1, warmup=0, objects=2),
        encoder_recipe=replace(DISTIL_ENCODER, steps=1, warmup=0, images=2),
        evaluations=1,
    )
    validator = Validator(Chosen(data, [3], "val"), parts[0][1], max_objects=1)
    result = distill(*parts[0], *parts[1], Chosen(data, [0, 1]), validator, tmp_path / "out", settings, lambda _: None)
    assert list(dict.fromkeys(row["stage"] for row in result.history)) == ["encoder", "prompts"]
    pixels = torch.zeros(1, 3, *[teacher.config.vision_config.image_size] * 2)
    step = EncoderStep(teacher.eval())
    with torch.no_grad():
        encoded = teacher.encode(pixels)
        taught = {f"taught_{name}": encoded.features[name] for name in teacher.mask_decoder.feature_maps}
        assert step(pixels, taught_embedding=encoded.embedding, **taught)["loss"] == 0
        taught["taught_stride_4"] = taught["taught_stride_4"] + 1
        assert step(pixels, taught_embedding=encoded.embedding, **taught)["loss"] > 0.1


def test_a_teacher_of_another_stride_is_asked_in_its_own_frame(shards, tmp_path, monkeypatch):
    """SAM 3's low-res pixels are of 3.5, not 4: the ratio of frames is not that of masks."""
    teacher, student = make("sam3").eval(), make("sam2").eval()
    its, own = (SamImageProcessor.for_config(model.config) for model in (teacher, student))
    teaching = Teacher(teacher, its, own, tmp_path)
    data = Sa1bDataset(shards / "one.tar")
    teaching.fill(data, lambda _: None)
    recipe = replace(DISTIL_PROMPTS, objects=2, augmentation=NO_AUGMENTATION)
    episodes = EpisodeDataset([data], recipe, 1, ViewPreparation.of(own), views=1, beside=teaching.embedding_of)
    asked = {}
    for name, model in (("teacher", teacher), ("student", student)):
        predict = model.predict_masks

        def spy(*args, name=name, predict=predict, **options):
            asked[name] = args
            return predict(*args, **options)

        monkeypatch.setattr(model, "predict_masks", spy)
    prompts = replace(recipe.prompts, box_probability=0.0)
    step = PromptStep(student, teaching, replace(recipe, prompts=prompts)).eval()
    with torch.no_grad():
        step(**collate([episodes[0]]), plan=("first", "click"))
    mine, theirs = asked["student"][1], asked["teacher"][1]
    assert torch.allclose((theirs + 0.5) / SIDE, (mine + 0.5) / 96, atol=1e-6)
    assert asked["teacher"][4].shape[-1] == 32 and asked["student"][4].shape[-1] == 24
