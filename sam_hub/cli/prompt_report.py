"""``sam-hub eval`` without ``--task``: clicks, boxes and baselines, by `sam_hub.evaluation`."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..errors import WrongUsage
from .options import echo_json

if TYPE_CHECKING:
    from ..evaluation.evaluate import Protocol


def prompt_report(
    model: str,
    shards: list[Path],
    images: Path | None,
    crowds_as_objects: bool,
    protocol: "Protocol",
    out: Path | None,
    grid: Path | None,
    photos: int,
    device: str | None,
    as_json: bool,
) -> None:
    """Measure the shards, then print the report and write the requested files."""
    from functools import partial

    from rich.console import Console
    from rich.progress import track

    from ..data.discovery import open_dataset
    from ..evaluation.evaluate import evaluate_shard
    from ..evaluation.prompts_matter import draw_grid, prompt_effects, summarise_effects
    from ..evaluation.report import build_report, print_table
    from ..ops.files import prepare_file, write_atomically
    from ..results import json_bytes, png
    from .loading import load_predictor

    datasets = [open_dataset(shard, images, crowds_as_objects=crowds_as_objects) for shard in shards]
    for path in filter(None, (out, grid)):
        _keep_data(path, [*shards, *([images] if images else [])])
        prepare_file(path)
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
            effects += prompt_effects(predictor, dataset, photos, protocol.seed)
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


def _keep_data(path: Path, data: list[Path]) -> None:
    """Refuse to overwrite a file of the data."""
    if path.is_file() and any(path.resolve().is_relative_to(d.resolve()) for d in data):
        raise WrongUsage(f"the result {path} would overwrite a file of the data; choose another name")
