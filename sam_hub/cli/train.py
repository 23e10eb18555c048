"""``sam-hub train``: make a model better on one's own images."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .boundary import WrongUsage
from .options import Debug, Device, Json, ModelName, echo_json, echo_path

if TYPE_CHECKING:
    from collections.abc import Sequence


class Freeze(StrEnum):
    encoder = "encoder"
    none = "none"


class Tracker(StrEnum):
    none = "none"
    tensorboard = "tensorboard"
    trackio = "trackio"


class Crowds(StrEnum):
    left_out = "left-out"
    as_objects = "as-objects"


DataOption = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="PATH",
        help="A folder of images and masks, a COCO .json, a folder of labelme files, or SA-1B (.tar, folder, address).",
    ),
]
ImagesOption = Annotated[
    Path | None, typer.Option("--images", metavar="DIR", help="Where the images of a COCO .json or of documents are.")
]
CrowdsOption = Annotated[
    Crowds, typer.Option("--crowds", help="Masks of a COCO .json that are marked iscrowd: left out, or objects.")
]
PartsOption = Annotated[bool, typer.Option("--parts", help="Each connected part of a two-valued mask is an object.")]
ValidationOption = Annotated[
    str | None, typer.Option("--val", metavar="PATH", help="Images to validate on; else some of --data are held out.")
]
OutOption = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The result: a folder for the Hub.")]


def train(
    data: DataOption,
    out: OutOption,
    model: ModelName = "pocket",
    images: ImagesOption = None,
    parts: PartsOption = False,
    crowds: CrowdsOption = Crowds.left_out,
    val: ValidationOption = None,
    val_share: Annotated[float, typer.Option("--val-share", min=0.01, max=0.9, help="Held out of --data.")] = 0.2,
    freeze: Annotated[
        Freeze, typer.Option("--freeze", help="encoder: only the decoder learns, quickly; none: everything.")
    ] = Freeze.encoder,
    lora: Annotated[
        int, typer.Option("--lora", min=0, metavar="R", help="Rank of adapters in the encoder, 0 for none.")
    ] = 0,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Updates; 200 by default.")] = None,
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="Images of a batch; 2 by default.")] = None,
    accumulate: Annotated[int, typer.Option("--accumulate", min=1, help="Batches of an update.")] = 1,
    objects: Annotated[int | None, typer.Option("--objects", min=1, help="Objects of an image at a time; 4.")] = None,
    rate: Annotated[float | None, typer.Option("--rate", help="Learning rate; 3e-4 by default.")] = None,
    views: Annotated[
        int, typer.Option("--views", min=1, help="With a frozen encoder: views of each image, encoded once.")
    ] = 6,
    recipe: Annotated[
        str | None, typer.Option("--recipe", metavar="NAME", help="sam-vit-b, -l or -h: the paper's, for SA-1B.")
    ] = None,
    clip: Annotated[
        str | None, typer.Option("--clip", metavar="NAME", help="A CLIP of transformers: learn text prompts, too.")
    ] = None,
    patience: Annotated[
        int, typer.Option("--patience", min=0, help="Validations without gain until the run ends; 0: never.")
    ] = 4,
    bf16: Annotated[bool | None, typer.Option("--bf16/--fp32", help="Half the memory; as the device likes.")] = None,
    checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Less memory for more time, with a learning encoder.")
    ] = False,
    workers: Annotated[int, typer.Option("--workers", min=0, help="Processes that prepare images.")] = 0,
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            min=0,
            help="Random seed; repeats a run exactly on one thread, see below.",
        ),
    ] = 0,
    tracker: Annotated[Tracker, typer.Option("--tracker", help="Where else metrics go.")] = Tracker.none,
    device: Device = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Fine-tune a model on annotated images, and say by how much it got better.

    \b
    sam-hub train --data nuclei/ --out my-model
    sam-hub train --data annotations/train.json --images photos/ --val annotations/val.json --out my-model
    sam-hub train --data drawn-with-labelme/ --model mobile_sam.pt --lora 8 --out my-model
    sam-hub train --data 'sa1b/sa_{000000..000009}.tar' --val sa1b/sa_000010.tar --freeze none --out my-model
    torchrun --nproc-per-node 8 -m sam_hub train --data ... (or: accelerate launch -m sam_hub train ...)

    The defaults suit some fifty images on a laptop: the encoder is frozen, and each image is encoded once. Rerun the
    same command to resume after any stop; at most a minute is lost. A loss or weights that are not finite end the run
    with an error. The result is a folder for from_pretrained and
    `sam-hub push`, with a card, report.json, the loss curve and pictures of held-out images (prompts.png).
    With OMP_NUM_THREADS=1 a seed repeats a run exactly; several threads add numbers in changing order, so the last
    digits, and with them the scores, may differ from run to run.
    Damaged images, masks that are empty, of another size or larger than 90 % of their image are named and left out.
    """
    from dataclasses import asdict, replace

    import torch

    from ..data.discovery import open_dataset
    from ..data.inspection import Cleaned, inspect, split
    from ..data.stream import ShardStream, expand
    from ..evaluation.prompts_matter import draw_grid, prompt_effects
    from ..hub import locate
    from ..inference.predictor import SamPredictor
    from ..inference.text import load_clip
    from ..ops.files import write_atomically
    from ..results import png
    from ..training.finetune import fine_tune
    from ..training.processes import is_first_process
    from ..training.recipe import FINE_TUNING, PAPER_RECIPES
    from ..training.report import comparison, model_card
    from ..training.run import FineTuning, tell
    from ..training.run_folder import finish
    from ..training.validation import Validator
    from .loading import load_model

    if recipe and recipe not in PAPER_RECIPES:
        raise WrongUsage(f"--recipe {recipe} is unknown; there are {', '.join(PAPER_RECIPES)}")
    chosen = PAPER_RECIPES[recipe] if recipe else FINE_TUNING
    given = {"steps": steps, "images": batch, "objects": objects, "learning_rate": rate, "seed": seed}
    chosen = replace(chosen, **{k: v for k, v in given.items() if v is not None})
    streamed = is_stream(data)
    if streamed and not val:
        raise WrongUsage("a stream has nothing to hold out; give the images to validate on with --val")
    if streamed:
        samples: Any = ShardStream(expand(data), seed)
        counts = {"train": 0, "objects": 0}
    else:
        dataset = open_dataset(data, images, parts, crowds is Crowds.as_objects)
        found = inspect(dataset, chosen.max_area_ratio, track_on_stderr("looking at the images"))
        for problem in found.problems:
            tell(f"left out: {problem}")
        counts = {"train": len(found.good), "objects": found.objects}
        samples = Cleaned(dataset, chosen.max_area_ratio)
    if val:
        held_set = open_dataset(val, images, parts, crowds is Crowds.as_objects)
        held_found = inspect(held_set, chosen.max_area_ratio, track_on_stderr("looking at the validation images"))
        held: Sequence = _part(Cleaned(held_set, chosen.max_area_ratio), held_found.good)
        training = samples if streamed else _part(samples, found.good)
    else:
        training, held = split(samples, found.good, val_share, seed)
        counts["train"] = len(training)
    network = load_model(model, device)
    network.float()
    processor = SamPredictor(network).processor  # the one beside the model, else the one of its encoder
    knows_words = load_clip(clip) if clip else None
    settings = FineTuning(
        model=model,
        data=data,
        freeze=freeze.value,
        lora=lora,
        views=views,
        recipe=chosen,
        accumulate=accumulate,
        bf16=torch.cuda.is_available() if bf16 is None else bf16,
        gradient_checkpointing=checkpointing,
        patience=patience,
        workers=workers,
        tracker=tracker.value,
        clip=clip or "",
    )
    tell(f"{'streaming' if streamed else len(training)} training images, {len(held)} to validate on")
    result = fine_tune(network, processor, training, Validator(held, processor), out, settings, clip=knows_words)
    if not is_first_process():
        return
    before, after = result.before, result.after
    pictures = png(draw_grid(prompt_effects(SamPredictor(result.model.eval(), processor), held, 4)))
    details = [
        f"{len([r for r in result.history if 'loss' in r])} logged losses over {result.history[-1]['step']} steps of "
        f"{chosen.images * accumulate} images, up to {chosen.objects} objects each; {result.seconds / 60:.1f} minutes",
        f"learning rate {chosen.learning_rate:g} ({chosen.schedule}), frozen: {freeze.value}, adapters of rank {lora}",
    ]
    name = out.resolve().name
    card = model_card(name, model, locate(model).variant, Path(data).name, counts, before, after, details)
    report = {"settings": asdict(settings), "counts": counts, "before": before, "after": after}
    finish(result, processor, out, card, report)
    write_atomically(out / "prompts.png", pictures)
    if after["miou"] <= before["miou"]:
        tell("It did not get better on the held-out images: more of them, more --steps or another --rate may help.")
    if as_json:
        echo_json({**report, "out": str(out)})
    else:
        for title, a, b in comparison(before, after):
            typer.echo(f"{title:24} {a:.3f} -> {b:.3f}")
        echo_path(out)


def is_stream(data: str) -> bool:
    """Whether data are read from front to back: an address, or several tars by braces."""
    return "://" in data or ("{" in data and ".tar" in data)


def track_on_stderr(title: str) -> Any:
    """A progress bar around a list, on standard error."""
    from functools import partial

    from rich.console import Console
    from rich.progress import track

    return partial(track, description=title, console=Console(stderr=True), transient=True)


def _part(dataset: Any, good: list[int]) -> Any:
    from ..data.discovery import Chosen

    return Chosen(dataset, good, dataset.name)
