"""Fine-tuning of a model on some dozens of annotated images, scored before and after."""

import json
import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import TrainerCallback

from ..errors import TrainingError
from ..models.image_processing_sam import SamImageProcessor
from ..models.modeling_sam import SamModel
from .checkpoints import Say, check_finite
from .embeddings import EmbeddingCache, cache_key
from .episodes import EpisodeDataset, EpisodeStream, ViewPreparation
from .interactive import InteractiveStep
from .lora import add_lora, merge_lora
from .packages import check_packages
from .processes import is_first_process
from .run import FineTuning, run_steps, tell, training_arguments
from .run_folder import FineTuned, claim_folder, score_once
from .validation import Validator

if TYPE_CHECKING:
    from transformers import CLIPModel


def fine_tune(
    model: SamModel,
    processor: SamImageProcessor,
    train: Sequence | Iterable,
    validator: Validator,
    out: Path,
    settings: FineTuning,
    say: Say = tell,
    callbacks: Sequence[TrainerCallback] = (),
    clip: "CLIPModel | None" = None,
) -> FineTuned:
    """Train on samples, or resume the run in ``out``; `finish` writes the result.

    train: samples with COCO annotations (`sam_hub.data.discovery.open_dataset`), or an endless stream of them
        (`sam_hub.data.stream.ShardStream`)
    clip: if given, the model also learns text prompts (see `sam_hub.training.text`)
    raises: OutputError if ``out`` holds a result or a run with other settings; TrainingError if weights or a loss are
        not finite, or the encoder has no gradient checkpointing; SamHubError if a package is missing
    """
    started = time.monotonic()
    check_packages(settings.tracker, settings.lora > 0)
    check_finite(model.state_dict(), "before training")
    if settings.gradient_checkpointing and not model.supports_gradient_checkpointing:
        raise TrainingError("this model's encoder has no gradient checkpointing; omit it")
    work = claim_folder(out, settings)
    recipe = settings.recipe
    torch.manual_seed(recipe.seed)
    scores_file = score_once(model, validator, work, say)
    cached = settings.freeze == "encoder" and not settings.lora and isinstance(train, Sequence) and not clip
    model.requires_grad_(True)
    if settings.freeze == "encoder":
        frozen = model.vision_encoder.named_parameters() if settings.lora else model.image_side_parameters()
        for _, parameter in frozen:
            parameter.requires_grad_(False)
    if settings.lora:
        add_lora(model, settings.lora)
    preparation = ViewPreparation.of(processor, recipe.image_size)
    args = training_arguments(work, settings)
    length = recipe.steps * recipe.images * settings.accumulate * args.world_size
    cache = EmbeddingCache(work / "embeddings" / cache_key(model, processor)) if cached else None
    if isinstance(train, Sequence):
        views = settings.views if cached else None
        episodes = EpisodeDataset([train], recipe, length, preparation, views=views, cache=cache)
    else:
        episodes = EpisodeStream(train, recipe, length, preparation)
    prepare = None
    if cached:

        def prepare() -> None:
            counted = partial(_counted, say=say, views=settings.views)
            count = cache.fill(model, preparation, episodes.each_view(counted))
            say(f"encoded {count} of {len(train) * settings.views} views; the rest was there")

    if clip:
        from .text import TextStep

        step = TextStep(model, clip, preparation, recipe.prompts, recipe.loss)
    else:
        step = InteractiveStep(model, recipe.prompts, recipe.loss, keep_norms=True)
    history = run_steps(step, episodes, validator, work, settings, args, say, callbacks, prepare)
    if settings.lora:
        merge_lora(model)
    before = json.loads(scores_file.read_text())
    after = validator(model.eval()) if is_first_process() else before
    return FineTuned(model, before, after, history, time.monotonic() - started)


def _counted(items: Sequence, say: Say, views: int):
    """Report from time to time how many images are encoded."""
    told = time.monotonic()
    for number, item in enumerate(items):
        if time.monotonic() - told > 10:
            told = time.monotonic()
            say(f"encoding image {number + 1} of {len(items)} ({views} views each)")
        yield item
