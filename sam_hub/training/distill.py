"""Distillation: a small model learns from a large one's embeddings, then from its masks.

Stage "encoder" is MobileSAM's (Zhang et al. 2023, arXiv 2306.14289, "decoupled distillation"): the student keeps the
teacher's prompt encoder and decoder, and its encoder learns to give the teacher's embedding. Stage "prompts" is
EdgeSAM's (Zhou et al. 2023, arXiv 2312.06660, "prompt-in-the-loop"): both models get the same prompts, the teacher's
mask is the target, and the next click is where they disagree. The teacher's embeddings are cached.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.sa1b import Sample
from ..errors import DataError, SamHubError
from ..models.configuration_sam import PAD_COORDINATE, PAD_LABEL, SamConfig
from ..models.encoders import EncoderOutput
from ..models.image_processing_sam import SamImageProcessor
from ..models.modeling_sam import SamModel
from ..ops.images import resize_longest_side, stretch
from ..ops.wording import counted
from ..zoo import ZOO, canonical_name
from .checkpoints import Say, check_finite
from .embeddings import EmbeddingCache, cache_key
from .episodes import EpisodeDataset, ViewPreparation, key_of
from .interactive import InteractiveStep, answer, frame_side, interactive_losses
from .packages import check_packages
from .pocket_init import new_pocket
from .recipe import DISTIL_ENCODER, DISTIL_PROMPTS, Recipe
from .run import FineTuning, run_steps, tell, training_arguments
from .run_folder import FineTuned, claim_folder, score_once
from .validation import Validator

STAGES = ("encoder", "prompts")
SHARED_PARTS = ("prompt_encoder.", "mask_decoder.", "shared_image_embedding.")
TAUGHT = "taught_"
"""Prefix of the teacher's tensors in a batch."""


@dataclass(frozen=True)
class Distillation(FineTuning):
    """Settings of a run: ``model`` is the student, ``recipe`` is for stage "prompts".

    stages: of `STAGES`, in their order
    """

    teacher: str = ""
    stages: tuple[str, ...] = STAGES
    recipe: Recipe = DISTIL_PROMPTS
    encoder_recipe: Recipe = DISTIL_ENCODER
    freeze: str = "none"
    patience: int = 0


def adopt_decoder(student: SamModel, teacher: SamModel) -> bool:
    """Copy the teacher's prompt encoder and decoder to the student; False if their shapes differ."""
    weights = {k: v for k, v in teacher.state_dict().items() if k.startswith(SHARED_PARTS)}
    mine = {k: v.shape for k, v in student.state_dict().items() if k.startswith(SHARED_PARTS)}
    if mine != {k: v.shape for k, v in weights.items()}:
        return False
    student.load_state_dict(weights, strict=False)
    student.config.mask_decoder_config.rank_by = teacher.config.mask_decoder_config.rank_by
    student.config.mask_decoder_config.always_multimask = teacher.config.mask_decoder_config.always_multimask
    return True


def fresh_student(name: str) -> SamModel:
    """A catalogue model with random weights; `pocket`'s encoder starts from ImageNet weights."""
    key = canonical_name(name)
    if key == "pocket":
        return new_pocket()
    return SamModel(SamConfig(**ZOO[key].config))


class Teacher:
    """A teacher's embeddings, cached on disk.

    raises: SamHubError if student and teacher prepare images so differently that their maps cannot be aligned
    """

    def __init__(self, model: SamModel, processor: SamImageProcessor, student: SamImageProcessor, folder: Path) -> None:
        self.model = model.eval().requires_grad_(False)
        self.preparation = ViewPreparation.of(processor)
        if self.preparation.stretched != ViewPreparation.of(student).stretched:
            raise SamHubError(
                "only one of teacher and student stretches images to a square; the other pads them: "
                "choose two that do the same"
            )
        self.cache = EmbeddingCache(folder / cache_key(model, processor))

    def fill(self, samples: Sequence, say: Say) -> None:
        """Encode whole images that are not cached yet."""

        def views() -> Iterator[tuple[str, np.ndarray]]:
            told = time.monotonic()
            for number in range(len(samples)):
                if time.monotonic() - told > 10:
                    told = time.monotonic()
                    say(f"the teacher looks at image {number + 1} of {len(samples)}")
                try:
                    image = samples[number].image
                except DataError as e:
                    say(f"left out: {e}")
                    continue
                yield key_of(image), whole_view(image, self.preparation)

        count = self.cache.fill(self.model, self.preparation, views())
        say(f"the teacher encoded {count} of {counted(len(samples), 'image')}; the rest was there")

    def embedding_of(self, sample: Sample) -> dict[str, Tensor]:
        return {TAUGHT + name: value for name, value in self.cache.load(key_of(sample.image)).items()}


def whole_view(image: np.ndarray, preparation: ViewPreparation) -> np.ndarray:
    """A whole image resized to a model's input, as by its processor."""
    resize = stretch if preparation.stretched else resize_longest_side
    return resize(image, preparation.image_size)


class EncoderStep(nn.Module):
    """Mean squared error of the student's embedding and of the other maps for the decoder.

    The teacher's maps are resized if their grids differ.
    """

    def __init__(self, sam: SamModel) -> None:
        super().__init__()
        self.sam = sam

    def forward(self, pixel_values: Tensor, taught_embedding: Tensor, **prompting: Any) -> dict[str, Tensor]:
        """pixel_values: (B, 3, S, S); taught_embedding: (B, C, h, w); the teacher's other maps are passed as well"""
        encoded = self.sam.encode(pixel_values)
        maps = self.sam.mask_decoder.named_features(encoded.features)
        taught = [taught_embedding, *(prompting[TAUGHT + name] for name in maps)]
        pairs = zip((encoded.embedding, *maps.values()), taught, strict=True)
        return {"loss": torch.stack([_distance(mine.float(), its.float()) for mine, its in pairs]).mean()}


def _distance(mine: Tensor, its: Tensor) -> Tensor:
    """Mean squared error of (B, C, h, w) and the teacher's (B, C, h', w')."""
    if mine.shape[1] != its.shape[1]:
        raise SamHubError(f"the student's embedding has {mine.shape[1]} channels and the teacher's {its.shape[1]}")
    if mine.shape != its.shape:
        its = F.interpolate(its, mine.shape[-2:], mode="bilinear", antialias=True)
    return F.mse_loss(mine, its)


class PromptStep(InteractiveStep):
    """The interactive loss with the teacher's masks as targets."""

    def __init__(self, sam: SamModel, teacher: Teacher, recipe: Recipe) -> None:
        super().__init__(sam, recipe.prompts, recipe.loss, keep_norms=True)
        self._teacher = (teacher,)  # a tuple keeps it out of the student's weights
        self._taught: EncoderOutput | None = None
        self._frame = sam.config.prompt_encoder_config.image_size  # side of the student's frame in pixels

    def forward(self, *args, taught_embedding: Tensor, **kwargs):
        model = self._teacher[0].model
        names = [name for name in kwargs if name.startswith(TAUGHT)]
        maps = {name.removeprefix(TAUGHT): kwargs.pop(name).to(model.dtype) for name in names}
        self._taught = EncoderOutput(taught_embedding.to(model.dtype), model.mask_decoder.named_features(maps))
        return super().forward(*args, **kwargs)

    def losses(self, encoded, labels, plan, generators, boxable) -> Tensor:
        self._frame = frame_side(self.sam, encoded)
        teach = partial(self._teach, labels.shape[-2:])
        return interactive_losses(
            self.sam, encoded, labels, self.prompts, self.weights, plan, generators, teach, boxable=boxable
        )

    @torch.no_grad()
    def _teach(
        self, size: tuple[int, int], points: Tensor, labels: Tensor, boxes: Tensor, previous: Tensor | None
    ) -> Tensor:
        """The teacher's answer to the student's prompts, in the student's frame: (B, N, h, w) in {0, 1}."""
        (teacher,) = self._teacher
        model = teacher.model.to(points.device)
        ratio = teacher.preparation.frame / self._frame
        real = (labels != PAD_LABEL)[..., None]
        points = torch.where(real, (points + 0.5) * ratio - 0.5, points)
        boxes = torch.where(boxes == PAD_COORDINATE, boxes, boxes * ratio)
        kinds = model.config.prompt_encoder_config.prompt_kinds
        if previous is not None and "masks" in kinds:
            previous = F.interpolate(previous, (teacher.preparation.low_res,) * 2, mode="bilinear")
        else:
            previous = None
        clicks = (points, labels) if "points" in kinds else (None, None)
        masks, scores, _ = model.predict_masks(
            self._taught.embedding, *clicks, boxes, previous, intermediate=self._taught.features
        )
        first = points.shape[2] == 1 and previous is None
        logits = answer(model, masks.float(), scores.float(), first)
        return (F.interpolate(logits, size, mode="bilinear", antialias=True) > 0).float()


def distill(
    student: SamModel,
    processor: SamImageProcessor,
    teacher: SamModel,
    teacher_processor: SamImageProcessor,
    train: Sequence,
    validator: Validator,
    out: Path,
    settings: Distillation,
    say: Say = tell,
) -> FineTuned:
    """Teach a student on samples, or resume the run in ``out``; `finish` writes the result.

    raises: OutputError as `fine_tune`; SamHubError if the models do not fit each other or a package is missing
    """
    started = time.monotonic()
    check_packages(settings.tracker)
    for name, model in (("student", student), ("teacher", teacher)):
        check_finite(model.state_dict(), f"in the {name}")
    work = claim_folder(out, settings)
    torch.manual_seed(settings.recipe.seed)
    teaching = Teacher(teacher, teacher_processor, processor, work / "embeddings")
    same = adopt_decoder(student, teacher)
    say("the student takes over the teacher's decoder" if same else "the student keeps its own decoder")
    if "encoder" in settings.stages and not same:
        raise SamHubError(
            "teacher and student have different decoders, so embeddings cannot be shared: use --stage prompts"
        )
    scores_file = score_once(student, validator, work, say)
    history: list[dict] = []
    preparation = ViewPreparation.of(processor)
    for stage in settings.stages:
        recipe = settings.encoder_recipe if stage == "encoder" else settings.recipe
        mine = replace(settings, recipe=recipe)
        folder = work / stage
        folder.mkdir(exist_ok=True)
        args = training_arguments(folder, mine)
        length = recipe.steps * recipe.images * settings.accumulate * args.world_size
        episodes = EpisodeDataset([train], recipe, length, preparation, views=1, beside=teaching.embedding_of)
        student.requires_grad_(stage == "prompts")
        student.vision_encoder.requires_grad_(True)
        step = EncoderStep(student) if stage == "encoder" else PromptStep(student, teaching, recipe)
        say(f"stage {stage}: {recipe.steps} steps")
        rows = run_steps(step, episodes, validator, folder, mine, args, say, prepare=partial(teaching.fill, train, say))
        done = history[-1]["step"] if history else 0
        history += [{**row, "stage": stage, "step": row["step"] + done} for row in rows]
    before = json.loads(scores_file.read_text())
    return FineTuned(student, before, validator(student.eval()), history, time.monotonic() - started)
