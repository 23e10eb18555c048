"""``sam-hub eval``: how well a model does on annotated images."""

from pathlib import Path
from typing import Annotated

import typer

from .options import Debug, Device, Json, echo_json
from .train import Crowds, CrowdsOption, ImagesOption


def evaluate(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A name of `sam-hub zoo`, a folder, a checkpoint or a Hub id."),
    ],
    shards: Annotated[
        list[Path],
        typer.Argument(metavar="SHARD", help="Annotated images: SA-1B tars or folders, or whatever `train` takes."),
    ],
    images: ImagesOption = None,
    crowds: CrowdsOption = Crowds.left_out,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Images of each shard; all by default.")] = None,
    max_objects: Annotated[int, typer.Option("--max-objects", min=1, help="Objects of each image.")] = 16,
    clicks: Annotated[
        int, typer.Option("--clicks", min=5, help="The most clicks on an object; 20 is usual for NoC, and slow.")
    ] = 5,
    baselines: Annotated[
        bool, typer.Option(help="Also score the ellipse inscribed in each box, and GrabCut (which is slow).")
    ] = True,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Draws the images and objects.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="JSON", help="Also write the report here.")] = None,
    grid: Annotated[
        Path | None, typer.Option("--grid", metavar="PNG", help="Also draw what various prompts give on some photos.")
    ] = None,
    photos: Annotated[int, typer.Option("--photos", min=1, help="Photos of each shard in the --grid.")] = 2,
    device: Device = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure a model on annotated images: mean IoU after clicks and from boxes.

    \b
    sam-hub eval pocket val/*.tar
    sam-hub eval mobile-sam val/coco.tar --limit 20 --no-baselines
    sam-hub eval pocket val/*.tar --out report.json --grid prompts.png

    1 click is the mask with the best predicted IoU, oracle the best in truth; further clicks correct the largest
    mistake. Shards named zeroshot-* are left out of the mean. The whole protocol is in sam_hub/evaluation/evaluate.py.
    Damaged images are named and left out; a shard of which nothing is left is an error.
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
