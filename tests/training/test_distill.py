"""Distillation between tiny models of different encoders, sizes and decoders."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sam_hub.data.discovery import Chosen
from sam_hub.data.sa1b import Sa1bDataset
from sam_hub.errors import SamHubError
from sam_hub.models.image_processing_sam import SamImageProcessor
from sam_hub.models.modeling_sam import SamModel
from sam_hub.training.distill import Distillation, EncoderStep, Teacher, adopt_decoder, distill, fresh_student
from sam_hub.training.episodes import EpisodeDataset, ViewPreparation, collate
from sam_hub.training.recipe import DISTIL_ENCODER, DISTIL_PROMPTS, NO_AUGMENTATION
from sam_hub.training.validation import Validator

from ..models.conftest import randomise, tiny_config

ENCODER = replace(DISTIL_ENCODER, steps=40, warmup=2, images=2, learning_rate=3e-3)
PROMPTS = replace(DISTIL_PROMPTS, steps=3, warmup=1, objects=2)


def processor_of(model: SamModel) -> SamImageProcessor:
    return SamImageProcessor.for_config(model.config)


@pytest.fixture
def run(shards: Path, tmp_path: Path, new_model: Callable[..., SamModel]) -> Callable:
    data = Sa1bDataset(shards / "one.tar")

    def start(teacher: SamModel, student: SamModel, out: str = "out", **settings):
        said: list[str] = []
        settings = Distillation(
            **{
                "model": "s",
                "teacher": "t",
                "data": "d",
                "recipe": PROMPTS,
                "encoder_recipe": ENCODER,
                "evaluations": 1,
                **settings,
            }
        )
        processor = processor_of(student)
        validator = Validator(Chosen(data, [3], "val"), processor, max_objects=2)
        parts = (student, processor, teacher, processor_of(teacher), Chosen(data, [0, 1, 2]), validator)
        return distill(*parts, tmp_path / out, settings, said.append), said

    return start


def gap(student: SamModel, teacher: SamModel, shards: Path) -> float:
    """Mean squared error of the embeddings on what was trained on."""
    image = Sa1bDataset(shards / "one.tar")[0].image
    with torch.no_grad():
        mine, its = (
            m.eval().encode(processor_of(m)(image, return_tensors="pt")["pixel_values"]).embedding
            for m in (student, teacher)
        )
    its = torch.nn.functional.interpolate(its, mine.shape[-2:], mode="bilinear", antialias=True)
    return ((mine - its) ** 2).mean().item()


def test_the_students_encoder_comes_near_the_teachers(run, new_model, shards, tmp_path):
    teacher = randomise(SamModel(tiny_config(image_size=96)), seed=3)  # a larger input, another encoder
    student = new_model("sam_hub_pocket")
    before = gap(student, teacher, shards)
    result, said = run(teacher, student, stages=("encoder",))
    assert gap(result.model, teacher, shards) < 0.7 * before
    decoder = teacher.mask_decoder.state_dict()
    assert all(torch.equal(v, decoder[k]) for k, v in result.model.mask_decoder.state_dict().items())
    assert "the student takes over the teacher's decoder" in said
    assert "the teacher encoded 3 of 3 images; the rest was there" in said
    _, said = run(teacher, new_model("sam_hub_pocket"), stages=("encoder",))
    assert "the teacher encoded 0 of 3 images; the rest was there" in said


def test_both_stages_follow_each_other_and_go_on(run, new_model):
    short = replace(ENCODER, steps=2)
    teacher = randomise(SamModel(tiny_config(image_size=96)), seed=3)
    student = new_model("sam_hub_pocket")
    start = {k: v.clone() for k, v in student.state_dict().items()}
    result, _ = run(teacher, student, encoder_recipe=short)
    assert [row["stage"] for row in result.history][-1] == "prompts" and result.history[-1]["step"] == 5
    assert not torch.equal(result.model.mask_decoder.iou_token.weight, start["mask_decoder.iou_token.weight"])
    with pytest.raises(SamHubError, match="another recipe"):
        run(teacher, new_model("sam_hub_pocket"), encoder_recipe=short, recipe=replace(PROMPTS, steps=4))


def test_the_teachers_mask_is_the_target(new_model, shards, tmp_path):
    """With a teacher that is the student, at the student's size, the mask loss is that of its own answers."""
    from sam_hub.training.distill import PromptStep

    model, twin = new_model().eval(), new_model().eval()
    processor = processor_of(model)
    teacher = Teacher(twin, processor, processor, tmp_path)
    data = Sa1bDataset(shards / "one.tar")
    teacher.fill(data, lambda text: None)
    recipe = replace(PROMPTS, augmentation=NO_AUGMENTATION)
    episodes = EpisodeDataset([data], recipe, 4, ViewPreparation.of(processor), views=1, beside=teacher.embedding_of)
    batch = collate([episodes[0], episodes[1]])
    step = PromptStep(model, teacher, recipe).eval()
    seen = []
    teach = step._teach
    step._teach = lambda *a: seen.append((a, teach(*a))) or seen[-1][1]
    step(**batch, plan=("first", "click"))
    (_, points, labels, boxes, previous), target = seen[0]
    assert previous is None and target.shape == batch["labels"].shape
    with torch.no_grad():
        encoded = model.encode(batch["pixel_values"])
        masks, scores, _ = model.predict_masks(encoded.embedding, points, labels, boxes)
    best = scores[:, :, 1:].argmax(-1) + 1
    mine = torch.stack([masks[b, n, best[b, n]] > 0 for b in range(2) for n in range(masks.shape[1])])
    # The teacher saw the image resized by Pillow and kept in half precision.
    assert (mine == target.flatten(0, 1).bool()).float().mean() > 0.97
    assert seen[1][0][1].shape[2] == 2 and seen[1][0][4] is not None  # the second round: a click more, a mask fed back


def test_prompts_are_moved_to_the_teachers_frame(new_model, shards, tmp_path, monkeypatch):
    from sam_hub.models.configuration_sam import PAD_COORDINATE, PAD_LABEL
    from sam_hub.models.encoders import EncoderOutput
    from sam_hub.training.distill import PromptStep

    big, small = SamModel(tiny_config(image_size=128)), new_model()
    teacher = Teacher(big, processor_of(big), processor_of(small), tmp_path)
    step = PromptStep(small, teacher, PROMPTS)
    step._taught = EncoderOutput(torch.randn(1, 64, 8, 8))
    asked = []
    predict = big.predict_masks
    monkeypatch.setattr(big, "predict_masks", lambda *a, **o: asked.append(a) or predict(*a, **o))
    points = torch.tensor([[[[1.5, 9.5]], [[0.0, 0.0]]]])
    labels = torch.tensor([[[1], [PAD_LABEL]]])
    boxes = torch.tensor([[[PAD_COORDINATE] * 4, [0.0, 8.0, 32.0, 64.0]]])
    target = step._teach((16, 16), points, labels, boxes, None)
    _, sent, kinds, corners, rough = asked[0]
    assert sent[0, 0].tolist() == [[3.5, 19.5]] and rough is None and torch.equal(kinds, labels)
    assert corners[0].tolist() == [[PAD_COORDINATE] * 4, [0.0, 16.0, 64.0, 128.0]]
    assert target.shape == (1, 2, 16, 16) and set(target.unique().tolist()) <= {0.0, 1.0}


def test_decoders_that_differ_are_told(run, new_model):
    teacher = SamModel(tiny_config(image_size=96))
    student = new_model()
    student.mask_decoder = SamModel(tiny_config("sam_hub_tiny_vit")).mask_decoder
    student.mask_decoder.iou_token = torch.nn.Embedding(1, 32)
    assert not adopt_decoder(student, teacher)
    with pytest.raises(SamHubError, match="--stage prompts"):
        run(teacher, student)


def test_frames_that_do_not_match_are_refused(new_model, tmp_path):
    model = new_model()
    stretched = processor_of(model)
    stretched.resize_mode = "stretch"
    with pytest.raises(SamHubError, match="stretches"):
        Teacher(model, stretched, processor_of(model), tmp_path)


def test_the_gap_is_a_mean_square(new_model):
    model = new_model().eval()
    pixels = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        mine = model.encode(pixels).embedding
        loss = EncoderStep(model)(pixels, mine + 0.5, labels=torch.zeros(0), boxable=torch.ones(0), plan=())["loss"]
    assert loss.item() == pytest.approx(0.25, rel=1e-4)


def test_a_fresh_student_is_of_the_catalogue():
    assert type(fresh_student("pocket").vision_encoder).__name__ == "PocketEncoder"
    assert np.isfinite(sum(p.sum().item() for p in fresh_student("edge-sam").parameters()))
