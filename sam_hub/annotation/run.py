"""Everything mode over folders, from the request to the summary; `cluster` runs the same task on Ray."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from ..errors import DataError
from ..inference.amg import SamAutomaticMaskGenerator
from ..inference.image_predictor import ImagePredictor
from ..inference.opening import needs_torch
from ..labels.formats import takes
from ..labels.writing import write_labels
from ..ops.bands import Bands
from ..ops.files import write_atomically
from ..ops.threads import thread_count
from ..ops.value_range import AUTO, ValueRange, check_range
from ..results import json_bytes
from ..tiling.grid import Grid
from .plan import Plan, Sources, make_plan
from .report import Summary, labels_of, write_coco
from .settings import generator_arguments, settings_of, weights_id
from .work import AnnotationTask, Annotator, Outcome, Progress


@dataclass(frozen=True)
class Request:
    """A requested run.

    model, device: as for `open_predictor`
    preset: name in `PRESETS`; arguments: for `SamAutomaticMaskGenerator`, override the preset unless None
    value_range, bands, page: see `read_image`
    tile, overlap: see `Grid`; without tile, photos are not split
    resume: continue an earlier run in ``out``
    preview: also write each photo with its masks drawn on it
    """

    sources: Sources
    out: Path
    model: str
    device: str | None = None
    preset: str = "default"
    arguments: dict[str, Any] = field(default_factory=dict)
    value_range: ValueRange = None
    bands: Bands = None
    page: int | None = None
    tile: int | None = None
    overlap: float = 0.25
    resume: bool = False
    preview: bool = True


def plan_run(request: Request, predictor: ImagePredictor) -> tuple[Plan, AnnotationTask]:
    """Check the request against the model, and write the plan.

    raises: ValueError for arguments that contradict each other; WrongUsage; OutputError
    """
    own = predictor.capabilities.tidy
    arguments = generator_arguments(predictor.encoder_kind, request.preset, request.arguments, own)
    SamAutomaticMaskGenerator(predictor, **arguments)
    value_range = check_range(request.value_range)
    settings = settings_of(request.model, weights_id(predictor), arguments)
    if value_range != AUTO:
        settings["value_range"] = value_range if isinstance(value_range, str) else list(value_range)
    for name, value in (("bands", request.bands), ("page", request.page)):
        if value is not None:
            settings[name] = list(value) if name == "bands" else value
    if request.tile is not None:
        Grid((1, 1), request.tile, request.overlap)
        settings |= {"tile": request.tile, "overlap": request.overlap}
    plan = make_plan(request.sources, request.out, settings, request.resume)
    model = request.model
    if os.path.exists(model):
        model = os.path.abspath(model)  # workers may run in another folder
    out = Path(os.path.abspath(request.out))
    task = AnnotationTask(
        out,
        model,
        request.device,
        arguments,
        request.preview,
        threads_of(request.model),
        value_range=request.value_range and value_range,
        bands=request.bands,
        page=request.page,
        tile=request.tile,
        overlap=request.overlap,
    )
    return plan, task


def annotate_here(
    task: AnnotationTask, plan: Plan, predictor: ImagePredictor, progress: Progress | None = None, raises: bool = False
) -> Iterator[Outcome]:
    """Annotate pending photos in this process, yielding their outcomes; raises: see `Annotator`."""
    annotator = Annotator(task, predictor, raises)
    for photo in plan.pending:
        yield annotator(photo, progress)


def finish_run(
    plan: Plan, outcomes: Iterator[Outcome], tell: Callable[[Outcome], None], start: float, polygons: bool = False
) -> tuple[Summary, bool]:
    """Consume the outcomes, then write coco.json and summary.json.

    polygons: write polygons instead of RLE to coco.json

    tell: called with each outcome
    start: start time of the run, from `perf_counter`
    returns: the summary, and whether Ctrl-C ended the run early
    """
    done: list[Outcome] = []
    stopped = False
    try:
        with closing(outcomes), redirect_stdout(sys.stderr):  # Ray reports killed workers on stdout
            for outcome in outcomes:
                done.append(outcome)
                tell(outcome)
    except KeyboardInterrupt:
        stopped = True
    coco = plan.out / "coco.json"
    counts = write_coco(plan, coco, polygons)
    summary = Summary(plan, coco, counts, done, perf_counter() - start, len(plan.pending) - len(done))
    write_atomically(plan.out / "summary.json", json_bytes(summary.as_json()))
    return summary, stopped


def write_label_files(plan: Plan, formats: Sequence[str], polygons: bool = False) -> list[Path]:
    """Write finished photos in formats of other tools, each in its own folder; returns the paths.

    formats: names in `FORMATS`; polygons: for formats that also support RLE
    raises: OutputError; DataError of the first failed format, after all formats were tried
    """
    written, failed = [], []
    for kind in dict.fromkeys(formats):
        options = {"polygons": True} if polygons and takes(kind, "polygons") else {}
        try:
            written += write_labels(labels_of(plan), plan.out / kind, kind, **options)
        except DataError as e:
            failed.append(e)
    if failed:
        raise failed[0]
    return written


def threads_of(model: str) -> int:
    """Number of threads that this process runs a model with; workers use the same number, for identical rounding."""
    if not needs_torch(model):
        return thread_count()
    import torch

    return torch.get_num_threads()
