"""``sam-hub train``: fine-tunes a model on your own images."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import WrongUsage
from .option_groups import grouped
from .options import BaseModelName, Debug, Device, Json, echo_json, echo_path
from .training_options import DataOptions, MachineOptions, OutOption, TuningOptions


@grouped
def train(
    annotated: DataOptions,
    out: OutOption,
    model: BaseModelName = "pocket",
    val: Annotated[
        str | None, typer.Option("--val", metavar="PATH", help="Images to validate on; default: part of --data.")
    ] = None,
    val_share: Annotated[
        float, typer.Option("--val-share", min=0.01, max=0.9, help="Share of --data held out without --val.")
    ] = 0.2,
    tuning: TuningOptions = TuningOptions(),  # noqa: B008 frozen
    machine: MachineOptions = MachineOptions(),  # noqa: B008
    device: Device = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Fine-tune a model on annotated images, and measure the gain.

    \b
    sam-hub train --data nuclei/ --out my-model
    sam-hub train --data annotations/train.json --images photos/ --val annotations/val.json --out my-model
    sam-hub train --data drawn-with-labelme/ --model mobile_sam.pt --lora 8 --out my-model
    sam-hub train --data 'sa1b/sa_{000000..000009}.tar' --val sa1b/sa_000010.tar --freeze none --out my-model
    torchrun --nproc-per-node 8 -m sam_hub train --data ... (or: accelerate launch -m sam_hub train ...)

    The defaults suit about fifty images on a laptop: the encoder is frozen, and each image is encoded once. Rerun the
    same command to resume after an interruption; at most a minute is lost. A non-finite loss or weight ends the run
    with an error. With OMP_NUM_THREADS=1 a seed repeats a run exactly; several threads add numbers in varying order,
    so scores may differ between runs. The result is a folder for from_pretrained and `sam-hub push`, with a card,
    report.json, the loss curve and predictions on held-out images (prompts.png). Numbers in brackets are the defaults
    without --recipe. Damaged images, and masks that are empty, differ in size from their image or cover more than 90 %
    of it, are listed and skipped.
    """
    from dataclasses import replace

    from ..training.end_to_end import read_examples, run_fine_tuning
    from ..training.recipe import FINE_TUNING, PAPER_RECIPES
    from ..training.run import FineTuning
    from .loading import load_model

    if tuning.recipe and tuning.recipe not in PAPER_RECIPES:
        raise WrongUsage(f"--recipe {tuning.recipe} is unknown; there are {', '.join(PAPER_RECIPES)}")
    source = annotated.source(val)
    if source.is_stream and not val:
        raise WrongUsage("images cannot be held out from a stream; give validation images with --val")
    given = {
        "steps": tuning.steps,
        "images": tuning.batch,
        "objects": tuning.objects,
        "learning_rate": tuning.rate,
        "seed": machine.seed,
    }
    recipe = PAPER_RECIPES[tuning.recipe] if tuning.recipe else FINE_TUNING
    recipe = replace(recipe, **{k: v for k, v in given.items() if v is not None})
    settings = FineTuning(
        model=model,
        data=annotated.data,
        freeze=tuning.freeze.value,
        lora=tuning.lora,
        views=tuning.views,
        recipe=recipe,
        gradient_checkpointing=tuning.checkpointing,
        patience=tuning.patience,
        tracker=tuning.tracker.value,
        clip=tuning.clip or "",
        **machine.settings(),
    )
    examples = read_examples(source, val_share, machine.seed, track_on_stderr, recipe.max_area_ratio)
    report = run_fine_tuning(load_model(model, device).float(), source, examples, settings, out)
    tell_scores(report, out, as_json)


def tell_scores(report: dict[str, Any] | None, out: Path, as_json: bool) -> None:
    """Print scores before and after, and the folder. report: None in all but the first process of a launch"""
    from ..training.report import comparison

    if report is None:
        return
    if as_json:
        echo_json({**report, "out": str(out)})
        return
    for title, before, after in comparison(report["before"], report["after"]):
        typer.echo(f"{title:24} {before:.3f} -> {after:.3f}")
    echo_path(out)


def track_on_stderr(title: str) -> Any:
    """A progress bar around a list, on standard error."""
    from functools import partial

    from rich.console import Console
    from rich.progress import track

    return partial(track, description=title, console=Console(stderr=True), transient=True)
