"""Fine-tuning: a model, some dozens of annotated images -> a model that knows them, measured before and after."""

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import Dataset
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    ProgressCallback,
    TrainerCallback,
    TrainingArguments,
)

from ..errors import OutputError
from ..models.image_processing_sam import SamImageProcessor
from ..models.modeling_sam import SamModel
from ..ops.files import make_folder, write_atomically
from ..results import json_bytes
from .embeddings import EmbeddingCache, fingerprint
from .episodes import EpisodeDataset, EpisodeStream, Preparation, collate
from .interactive import InteractiveStep
from .lora import add_lora, merge_lora
from .packages import check_packages
from .recipe import FINE_TUNING, Recipe
from .trainer import (
    BEST_FILE,
    CURVE_FILE,
    LossCurve,
    MarkComplete,
    MovingAverage,
    SamTrainer,
    SaveOften,
    draw_loss_curve,
    last_checkpoint,
)
from .validation import Validator

WORK_FOLDER = "training"
"""In the result's folder while the run lasts: checkpoints, cached embeddings, settings."""

SETTINGS_FILE = "settings.json"
Say = Callable[[str], None]

if TYPE_CHECKING:
    from transformers import CLIPModel


def tell(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class FineTuning:
    """What a run was asked for; it is kept beside the checkpoints, and a run only goes on as it began.

    model, data: for the card and for the comparison; how they are read is the caller's affair
    freeze: "encoder": only the prompt encoder and the decoder learn, from embeddings that are computed once for
        ``views`` views of each image; "none": everything learns, the encoder at a lower rate
    lora: rank of adapters in an encoder whose own weights stay; 0 for none
    accumulate: batches to a step; evaluations: how often the run is validated; patience: how many of them without
        gain end it; tracker: "none", "tensorboard" or "trackio"
    clip: name of the CLIP whose embeddings are a prompt too
    """

    model: str
    data: str
    freeze: Literal["encoder", "none"] = "encoder"
    lora: int = 0
    views: int = 6
    recipe: Recipe = FINE_TUNING
    accumulate: int = 1
    bf16: bool = False
    gradient_checkpointing: bool = False
    evaluations: int = 10
    patience: int = 4
    workers: int = 0
    save_seconds: float = 45.0
    tracker: str = "none"
    clip: str = ""


@dataclass(frozen=True)
class FineTuned:
    """The result: the model with its best weights, its scores before and after, and the logged rows."""

    model: SamModel
    before: dict[str, Any]
    after: dict[str, Any]
    history: list[dict[str, Any]]
    seconds: float


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
    """Train on samples, or go on where a run in ``out`` was stopped; `finish` writes the result.

    train: samples with COCO annotations (`sam_hub.data.discovery.open_dataset`), or a stream of them, for ever
        (`sam_hub.data.stream.ShardStream`)
    clip: then the model also learns to take text prompts (see `sam_hub.training.text`)
    raises: OutputError when ``out`` holds a result, or a run with other settings; SamHubError when a package is missing
    """
    started = time.monotonic()
    check_packages(settings.tracker, settings.lora > 0)
    work = claim_folder(out, settings)
    recipe = settings.recipe
    torch.manual_seed(recipe.seed)
    first = _is_first_process()
    scores_file = score_once(model, validator, work, say)
    cached = settings.freeze == "encoder" and not settings.lora and isinstance(train, Sequence) and not clip
    model.requires_grad_(True)
    model.vision_encoder.requires_grad_(settings.freeze == "none")
    if settings.lora:
        add_lora(model, settings.lora)
    preparation = Preparation.of(processor, recipe.image_size)
    args = training_arguments(work, settings)
    length = recipe.steps * recipe.images * settings.accumulate * args.world_size
    cache = EmbeddingCache(work / "embeddings" / fingerprint(model, processor)) if cached else None
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
    after = validator(model.eval()) if first else before
    return FineTuned(model, before, after, history, time.monotonic() - started)


def score_once(model: SamModel, validator: Validator, work: Path, say: Say) -> Path:
    """Scores of the model as it is, in a file that a run that goes on finds again."""
    file = work / "before.json"
    if _is_first_process() and not file.exists():
        say("scoring the model before training")
        write_atomically(file, json_bytes(validator(model.eval())))
    return file


def run_steps(
    step: nn.Module,
    episodes: Dataset,
    validator: Validator,
    work: Path,
    settings: FineTuning,
    args: TrainingArguments,
    say: Say = tell,
    callbacks: Sequence[TrainerCallback] = (),
    prepare: Callable[[], None] | None = None,
) -> list[dict[str, Any]]:
    """Train ``step.sam``, or go on from the last checkpoint in ``work``; it ends with the weights that scored best.

    prepare: called in the first process before training, while the others wait
    returns: the logged rows
    """
    recipe = settings.recipe
    trainer = SamTrainer(
        model=step,
        recipe=recipe,
        validate=validator,
        args=args,
        train_dataset=episodes,
        eval_dataset=validator.samples,
        data_collator=collate,
        callbacks=[
            *([MovingAverage(recipe.ema)] if recipe.ema else []),
            *([EarlyStoppingCallback(settings.patience)] if settings.patience else []),
            LossCurve(),
            SaveOften(settings.save_seconds),
            Progress(say),
            *callbacks,
            MarkComplete(),
        ],
    )
    for noisy in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(noisy)
    if prepare and _is_first_process():
        prepare()
    trainer.accelerator.wait_for_everyone()
    resume = last_checkpoint(work)
    if resume:
        say(f"going on from {resume}")
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    trainer.accelerator.wait_for_everyone()
    best = work / BEST_FILE
    if best.exists():
        step.sam.load_state_dict(load_file(best))
    return trainer.state.log_history


def training_arguments(work: Path, settings: FineTuning) -> TrainingArguments:
    """The recipe in ``transformers``' words; devices and processes come from how the program was launched."""
    recipe = settings.recipe
    every = max(1, recipe.steps // settings.evaluations)
    checkpointing: dict[str, Any] = {}
    if settings.gradient_checkpointing:
        checkpointing = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}
    return TrainingArguments(
        output_dir=str(work),
        max_steps=recipe.steps,
        per_device_train_batch_size=recipe.images,
        gradient_accumulation_steps=settings.accumulate,
        **checkpointing,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.clip_norm,
        lr_scheduler_type="constant" if recipe.schedule == "steps" else recipe.schedule,
        warmup_steps=recipe.warmup,
        bf16=settings.bf16,
        use_cpu=not torch.cuda.is_available() and not torch.backends.mps.is_available(),
        logging_steps=max(1, min(10, every)),
        eval_strategy="steps",
        eval_steps=every,
        save_steps=every,
        save_total_limit=1,
        metric_for_best_model="eval_miou",
        greater_is_better=True,
        seed=recipe.seed,
        remove_unused_columns=False,
        dataloader_num_workers=settings.workers,
        ddp_find_unused_parameters=True,
        report_to=settings.tracker,
        project="sam-hub",
        disable_tqdm=True,
    )


def claim_folder(out: Path, settings: FineTuning) -> Path:
    """The run's folder inside ``out``, with its settings; OutputError when they are not those that it began with."""
    if (out / "config.json").exists():
        raise OutputError(f"{out} holds a finished model; name another folder with --out, or remove it")
    work = out / WORK_FOLDER
    wanted = json.loads(json_bytes(asdict(settings)))
    file = work / SETTINGS_FILE
    if file.exists():
        begun = json.loads(file.read_text())
        free = ("workers", "save_seconds", "tracker")
        other = sorted(k for k in wanted if k not in free and wanted[k] != begun.get(k, wanted[k]))
        if other:
            raise OutputError(
                f"{work} holds a run that began with another {', '.join(other)}; go on with the same, or remove it"
            )
    elif _is_first_process():
        make_folder(work)
        write_atomically(file, json_bytes(wanted))
    return work


def finish(result: FineTuned, processor: SamImageProcessor, out: Path, card: str, report: dict[str, Any]) -> None:
    """Write the model as a Hub folder with its card, report and curve, and remove the run's own files.

    config.json comes last: a folder without it is not finished.
    """
    staged = out / WORK_FOLDER / "result"
    result.model.save_pretrained(staged)
    processor.save_pretrained(staged)
    write_atomically(staged / "README.md", card.encode())
    write_atomically(staged / "report.json", json_bytes({**report, "history": result.history}))
    draw_loss_curve(result.history, staged / CURVE_FILE)
    for path in sorted(staged.iterdir(), key=lambda p: p.name == "config.json"):
        path.replace(out / path.name)
    shutil.rmtree(out / WORK_FOLDER)


class Progress(TrainerCallback):
    """A line for each log, and for each validation."""

    def __init__(self, say: Say) -> None:
        self.say, self.began = say, (0.0, 0)

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        self.began = time.monotonic(), state.global_step

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        if not state.is_world_process_zero or not logs:
            return
        done = state.global_step - self.began[1]
        if "loss" in logs and done:
            left = (time.monotonic() - self.began[0]) / done * (state.max_steps - state.global_step)
            self.say(f"step {state.global_step}/{state.max_steps}  loss {logs['loss']:.3f}  {_minutes(left)} left")
        elif "eval_miou" in logs:
            self.say(f"step {state.global_step}/{state.max_steps}  validation mIoU {logs['eval_miou']:.3f}")


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _counted(items: Sequence, say: Say, views: int):
    """Tell now and then how many images are encoded."""
    told = time.monotonic()
    for number, item in enumerate(items):
        if time.monotonic() - told > 10:
            told = time.monotonic()
            say(f"encoding image {number + 1} of {len(items)} ({views} views each)")
        yield item


def _is_first_process() -> bool:
    import os

    return os.environ.get("RANK", "0") == "0"
