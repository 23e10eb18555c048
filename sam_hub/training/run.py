"""One run of ``transformers.Trainer``: from its settings to the best-scored weights."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
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

from .checkpoints import CompleteCheckpoints, Say, agreed_checkpoint
from .episodes import collate
from .processes import is_first_process
from .recipe import FINE_TUNING, Recipe
from .trainer import BEST_FILE, LossCurve, MovingAverage, SamTrainer, SaveOften
from .validation import Validator


def tell(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class FineTuning:
    """Settings of a run, saved with its checkpoints; a run only resumes with the same settings.

    model, data: names for the card and for the comparison; the caller reads them
    freeze: "encoder": only the prompt encoder and the decoder learn, from embeddings that are computed once for
        ``views`` views of each image; "none": everything learns, the encoder at a lower rate
    lora: rank of adapters in an otherwise frozen encoder; 0 for none
    accumulate: batches per step; evaluations: number of validations; patience: validations without improvement that
        end the run; tracker: "none", "tensorboard" or "trackio"
    clip: name of the CLIP whose embeddings are also used as prompts
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
    """Train ``step.sam``, or resume from the last checkpoint in ``work``; it ends with the best-scored weights.

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
            CompleteCheckpoints(),
        ],
    )
    for noisy in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(noisy)
    if prepare and is_first_process():
        prepare()
    trainer.accelerator.wait_for_everyone()
    resume = agreed_checkpoint(work, say, args.world_size)
    if resume:
        say(f"going on from {resume}")
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    trainer.accelerator.wait_for_everyone()
    best = work / BEST_FILE
    if best.exists():
        try:
            step.sam.load_state_dict(load_file(best))
        except (OSError, SafetensorError) as e:
            say(f"the best weights cannot be read ({e}); these are the last ones instead")
    return trainer.state.log_history


def training_arguments(work: Path, settings: FineTuning) -> TrainingArguments:
    """The recipe as arguments of ``transformers``; devices and processes depend on how the program was launched."""
    recipe = settings.recipe
    every = max(1, recipe.steps // settings.evaluations)
    checkpointing: dict[str, Any] = {}
    if settings.gradient_checkpointing:
        fields = TrainingArguments.__dataclass_fields__  # transformers 5.23 has the new name
        name = "activation_checkpointing" if "activation_checkpointing" in fields else "gradient_checkpointing"
        checkpointing = {name: True, f"{name}_kwargs": {"use_reentrant": False}}
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
