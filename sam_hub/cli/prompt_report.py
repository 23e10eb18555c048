"""``sam-hub eval`` without ``--task``: clicks, boxes and baselines, by `sam_hub.evaluation`."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..errors import WrongUsage
from .options import echo_json

if TYPE_CHECKING:
    from ..evaluation.evaluate import Protocol

GRID = "sam-hub eval --grid"
"""Recorded in its pictures, so that they can be replaced."""


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
    from ..ops.files import write_atomically
    from ..results import json_bytes, png
    from .loading import load_predictor

    datasets = [open_dataset(shard, images, crowds_as_objects=crowds_as_objects) for shard in shards]
    _check_places(out, grid)
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
        write_atomically(grid, png(draw_grid(effects), made_by=GRID))


def _check_places(out: Path | None, grid: Path | None) -> None:
    """Check, before long work, that results can be written and replace only earlier ones, as photos may be anywhere.

    raises: WrongUsage, OutputError
    """
    from ..data.documents import is_report
    from ..ops.files import prepare_file

    if out and grid and out.resolve() == grid.resolve():
        raise WrongUsage(f"--out and --grid are both {out}; choose two names")
    for path, is_earlier, what in ((out, is_report, "report"), (grid, _is_grid, "picture")):
        if path is None:
            continue
        if path.is_file() and path.stat().st_size and not is_earlier(path):
            raise WrongUsage(f"{path} exists and is not a {what} of `sam-hub eval`; choose another name, or remove it")
        prepare_file(path)


def _is_grid(path: Path) -> bool:
    """Whether a file is a picture of ``--grid``."""
    from PIL import Image

    with suppress(OSError, ValueError, SyntaxError), Image.open(path, formats=["PNG"]) as picture:
        return picture.info.get("Software") == GRID
    return False
