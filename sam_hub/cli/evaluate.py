"""``sam-hub eval``: how well a model does on annotated images."""

from pathlib import Path
from typing import Annotated

import typer

from .options import Debug, Device, Json, echo_json
from .training_options import Crowds, CrowdsOption, ImagesOption


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A name from `sam-hub zoo`, a folder, a checkpoint, a Hub id or an exported folder."
        ),
    ],
    shards: Annotated[
        list[Path],
        typer.Argument(
            metavar="SHARD", help="Annotated images: SA-1B tars or folders, or anything that `train` takes."
        ),
    ],
    images: ImagesOption = None,
    crowds: CrowdsOption = Crowds.left_out,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Images per shard; default: all.")] = None,
    max_objects: Annotated[int, typer.Option("--max-objects", min=1, help="Objects per image.")] = 16,
    clicks: Annotated[
        int, typer.Option("--clicks", min=5, help="Maximum clicks per object; NoC usually takes 20, which is slow.")
    ] = 5,
    baselines: Annotated[bool, typer.Option(help="Also score each box's ellipse, and GrabCut (slow).")] = True,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Random seed for images and objects.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="JSON", help="Also write the report to this file.")
    ] = None,
    grid: Annotated[
        Path | None, typer.Option("--grid", metavar="PNG", help="Also draw the masks of several kinds of prompts.")
    ] = None,
    photos: Annotated[int, typer.Option("--photos", min=1, help="Photos per shard in --grid.")] = 2,
    device: Device = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure a model on annotated images: mean IoU after clicks and from boxes.

    \b
    sam-hub eval pocket val/*.tar
    sam-hub eval mobile-sam val/coco.tar --limit 20 --no-baselines
    sam-hub eval pocket val/*.tar --out report.json --grid prompts.png

    1 click scores the mask with the best predicted IoU, oracle the best of the three; each further click corrects the
    largest error. Shards named zeroshot-* do not count in the mean. sam_hub/evaluation/evaluate.py has the full
    protocol. Damaged images are listed and left out; a shard with none left is an error.
    """
    from functools import partial

    from rich.console import Console
    from rich.progress import track

    from ..data.discovery import open_dataset
    from ..evaluation.evaluate import Protocol, evaluate_shard
    from ..evaluation.prompts_matter import draw_grid, prompt_effects, summarise_effects
    from ..evaluation.report import build_report, print_table
    from ..ops.files import make_folder, write_atomically
    from ..results import json_bytes, png
    from .loading import load_predictor

    protocol = Protocol(seed, limit, max_objects, clicks, baselines)
    datasets = [open_dataset(shard, images, crowds_as_objects=crowds is Crowds.as_objects) for shard in shards]
    for path in filter(None, (out, grid)):
        make_folder(path.parent)
    predictor = load_predictor(model, device)
    scores, effects = [], []
    progress = Console(stderr=True)
    for dataset in datasets:
        bar = partial(track, description=dataset.name, console=progress, transient=True)
        found = evaluate_shard(predictor, dataset, protocol, bar)
        for reason in found.skipped:
            typer.echo(f"Left out: {reason}", err=True)
        scores.append(found)
        if grid:
            effects += prompt_effects(predictor, dataset, photos, seed)
    report = build_report(model, protocol, scores)
    if grid:
        report["prompts_matter"] = summarise_effects(effects)
    if as_json:
        echo_json(report)
    else:
        print_table(report)
    if out:
        write_atomically(out, json_bytes(report))
    if grid:
        write_atomically(grid, png(draw_grid(effects)))
