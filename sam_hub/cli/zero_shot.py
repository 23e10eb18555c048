"""``sam-hub eval --task``: measures a zero-shot table and writes its files."""

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import Any

import typer

from ..errors import WrongUsage
from ..ops.wording import counted
from .everything import Engine
from .options import echo_json, echo_path
from .zero_shot_options import ZeroShotOptions


def zero_shot_table(
    model: str,
    data: list[Path],
    out: Path | None,
    device: str | None,
    given: ZeroShotOptions,
    options: dict[str, Any],
    limit: int | None,
    seed: int,
    as_json: bool,
) -> None:
    """Measure, write and show one table; options: of the table, in addition to ``given``."""
    from ..annotation.run import threads_of
    from ..ops.packages import require
    from ..zero_shot.run import EvaluationJob, finish_table, measure_here, measure_on_ray, open_early, plan_table
    from ..zero_shot.table import TableRequest
    from .loading import load_predictor
    from .progress import PhotoProgress

    start = perf_counter()
    if given.engine is Engine.ray:
        require("--engine ray", ["ray"], "ray")
    options = {**options, **given.arguments()}
    if given.suite:
        data, options["names"] = _suite(given.suite, given.root)
    if not data:
        raise WrongUsage("no data given; add their paths after MODEL, or --suite and --root")
    paths = tuple(os.path.abspath(path) for path in data)
    request = TableRequest(given.chosen, paths, limit, seed, {k: v for k, v in options.items() if v is not None})
    with ExitStack() as stack:
        place = out or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        table = open_early(request, place, given.resume)
        predictor = load_predictor(model, device, cache_size=0)
        job = EvaluationJob(
            request, os.path.abspath(model) if os.path.exists(model) else model, device, threads_of(model)
        )
        run = plan_table(job, place, table, predictor, given.resume)
        bar = stack.enter_context(PhotoProgress(len(run.pending), {name: name for name in run.items}))
        if given.engine is Engine.ray:
            outcomes = measure_on_ray(run, given.ray_address, given.workers)
        else:
            outcomes = measure_here(run, predictor)
        report, missing, stopped = finish_table(run, outcomes, bar.finish, start)
        if report is None:
            again = "Rerun the same command with --resume." if out else "With --out DIR a run can be resumed."
            why = "Stopped" if stopped else "Workers failed"
            typer.echo(f"{why}, with {counted(missing, 'image')} left. {again}", err=True)
            raise typer.Exit(130 if stopped else 1)
        for reason in report["left_out"]:
            typer.echo(f"Left out: {reason}", err=True)
        if as_json:
            echo_json(report)
        else:
            typer.echo((place / "table.md").read_text("utf-8").rstrip())
    if out and not as_json:
        echo_path(out / "table.json")


def _suite(name: str, root: Path) -> tuple[list[Path], list[str]]:
    """Paths and names of a suite's data sets that exist; the others are listed on standard error."""
    from ..zero_shot.suite import find_suite

    there, absent = find_suite(name, root)
    if absent:
        typer.echo(f"{len(there)} of {len(there) + len(absent)} data sets are in {root}; the others:", err=True)
        for entry in absent:
            typer.echo(f"  {entry.path}: {entry.name}, {entry.source} ({entry.layout})", err=True)
    return [place for _, place in there], [entry.name for entry, _ in there]
