"""``sam-hub everything``: all masks of photos and folders of them."""

import os
import sys
from collections.abc import Iterator
from contextlib import closing, redirect_stdout
from enum import StrEnum
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from .boundary import WrongUsage
from .options import Debug, Device, Json, ModelName, echo_json, echo_path

if TYPE_CHECKING:
    from ..annotation.plan import Plan
    from ..annotation.work import Job, Outcome
    from ..inference.predictor import SamPredictor
    from ..inference.runtime import OnnxPredictor
    from .progress import PhotoProgress


class Preset(StrEnum):
    fast = "fast"
    default = "default"
    fine = "fine"


class Engine(StrEnum):
    local = "local"
    ray = "ray"


def everything(
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE|DIR", help="Photos, and folders of photos.", readable=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="A folder for the results.")],
    model: ModelName = "pocket",
    preset: Annotated[Preset, typer.Option("--preset", help="How thoroughly to look.")] = Preset.default,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an earlier run was stopped.")] = False,
    preview: Annotated[bool, typer.Option(help="Also write each photo with its masks in colours.")] = True,
    engine: Annotated[Engine, typer.Option("--engine", help="This process, or Ray's workers.")] = Engine.local,
    ray_address: Annotated[
        str | None, typer.Option("--ray-address", metavar="HOST:PORT", help="A Ray cluster; this machine by default.")
    ] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="The most workers of Ray.")] = None,
    points_per_side: Annotated[int | None, typer.Option(min=1, help="Clicks on each side of the grid [32].")] = None,
    points_per_batch: Annotated[
        int | None, typer.Option(min=1, help="Clicks at once; fewer need less memory [64].")
    ] = None,
    pred_iou_thresh: Annotated[
        float | None, typer.Option(min=0, max=1, help="Masks of a lower predicted IoU are left out [0.88].")
    ] = None,
    stability_score_thresh: Annotated[
        float | None, typer.Option(min=0, max=1, help="So are masks whose outline is less stable [0.95].")
    ] = None,
    stability_score_offset: Annotated[
        float | None, typer.Option(min=0, help="Logits that the outline is shifted by to tell [1.0].")
    ] = None,
    box_nms_thresh: Annotated[
        float | None, typer.Option(min=0, max=1, help="Box IoU above which one of two masks is left out [0.7].")
    ] = None,
    crop_n_layers: Annotated[
        int | None, typer.Option(min=0, max=4, help="Layers of crops: also look at quarters, sixteenths ... [0].")
    ] = None,
    crop_nms_thresh: Annotated[
        float | None, typer.Option(min=0, max=1, help="As --box-nms-thresh, of different crops [0.7].")
    ] = None,
    crop_overlap_ratio: Annotated[
        float | None, typer.Option(min=0, max=0.99, help="How far crops overlap, as part of the short side [0.341].")
    ] = None,
    crop_n_points_downscale_factor: Annotated[
        int | None, typer.Option(min=1, help="How much coarser the grid is in each layer [1].")
    ] = None,
    min_mask_region_area: Annotated[
        int | None, typer.Option(min=0, help="Holes and islands of fewer pixels are mended [0].")
    ] = None,
    min_mask_area: Annotated[int | None, typer.Option(min=0, help="Masks of fewer pixels are left out [0].")] = None,
    max_mask_area_ratio: Annotated[
        float | None, typer.Option(min=0, max=1, help="So are masks of a larger part of the photo [1.0].")
    ] = None,
    non_overlapping: Annotated[
        bool | None, typer.Option("--non-overlapping", help="Give each pixel to the smallest mask that has it.")
    ] = None,
    skip_full_image: Annotated[
        bool | None, typer.Option("--skip-full-image", help="Look at crops alone; needs --crop-n-layers.")
    ] = None,
    device: Device = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Find all objects in photos, from a grid of clicks.

    \b
    sam-hub everything photo.jpg --out masks
    sam-hub everything photos/ --out masks --preset fast
    sam-hub everything photos/ --out masks --resume
    sam-hub everything photos/ --out masks --engine ray --ray-address ray://head:10001

    Folders are searched in depth. The photos are left as they are, and the folder of results gets

    \b
    masks/NAME.json      annotations of one photo as in SA-1B, with COCO run lengths
    previews/NAME.jpg    the photo with its masks (left out by --no-preview)
    coco.json            all annotations in one COCO file
    summary.json         what --json prints
    everything.json      the settings, and which photo has which NAME

    --out must be new or empty. After a stop of any kind, the same command with --resume goes on: nothing that is done
    is done again, photos that failed, were added or have changed are done, and other settings are refused. Photos
    that cannot be read do not stop the run: they are listed at its end, and the exit code is 1.

    --model may also be a folder that `sam-hub export` wrote (ONNX, layout transformersjs). --preset fast clicks on a
    grid of 16 x 16 instead of 32 x 32; fine looks at crops too, and is less strict. Numbers in brackets are the default
    preset's. The model pocket has thresholds of its own, which suit its smaller size, and so has what was trained or
    exported from it; what is given by an option comes before both.

    With --engine ray, photos and --out must have the same paths on all machines. A cluster that was started with
    `ray start` asks for its token by default: set RAY_AUTH_MODE=token here too (see Ray's manual).
    """
    from os import path as names

    from ..annotation.plan import find_photos, make_plan
    from ..annotation.report import Summary, write_coco
    from ..annotation.settings import fingerprint, generator_arguments, settings_of
    from ..annotation.work import Job
    from ..inference.amg import SamAutomaticMaskGenerator
    from ..ops.files import write_atomically
    from ..ops.packages import require
    from ..results import json_bytes
    from .loading import load_predictor
    from .progress import PhotoProgress

    start = perf_counter()
    if engine is Engine.local and (ray_address or workers):
        raise WrongUsage("--ray-address and --workers belong to --engine ray; add it")
    if engine is Engine.ray:
        require("--engine ray", ["ray"], "ray")
    given = dict(
        points_per_side=points_per_side,
        points_per_batch=points_per_batch,
        pred_iou_thresh=pred_iou_thresh,
        stability_score_thresh=stability_score_thresh,
        stability_score_offset=stability_score_offset,
        box_nms_thresh=box_nms_thresh,
        crop_n_layers=crop_n_layers,
        crop_nms_thresh=crop_nms_thresh,
        crop_overlap_ratio=crop_overlap_ratio,
        crop_n_points_downscale_factor=crop_n_points_downscale_factor,
        min_mask_region_area=min_mask_region_area,
        min_mask_area=min_mask_area,
        max_mask_area_ratio=max_mask_area_ratio,
        non_overlapping=non_overlapping,
        skip_full_image=skip_full_image,
    )
    sources = find_photos(images, out)
    predictor = load_predictor(model, device, cache_size=0)
    arguments = generator_arguments(predictor.encoder_kind, preset.value, given)
    try:
        SamAutomaticMaskGenerator(predictor, **arguments)
    except ValueError as e:
        raise WrongUsage(str(e)) from e
    plan = make_plan(sources, out, settings_of(model, fingerprint(predictor), arguments), resume)
    place = names.abspath(model) if names.exists(model) else model  # workers may be elsewhere
    job = Job(Path(names.abspath(out)), place, device, arguments, preview, _threads(predictor))

    outcomes: list[Outcome] = []
    stopped = False
    with PhotoProgress(len(plan.pending), {photo.name: photo.file_name for photo in plan.photos}) as progress:
        run = _run_locally(job, plan, predictor, progress, debug)
        if engine is Engine.ray:
            run = _run_on_ray(job, plan, ray_address, workers)
        try:
            with closing(run), redirect_stdout(sys.stderr):  # Ray tells there what was killed
                for outcome in run:
                    outcomes.append(outcome)
                    progress.finish(outcome)
        except KeyboardInterrupt:
            stopped = True
    failures = [outcome for outcome in outcomes if outcome.error]
    missed = len(plan.pending) - len(outcomes)
    coco = out / "coco.json"
    summary = Summary(plan, coco, write_coco(plan, coco), outcomes, perf_counter() - start, missed)
    write_atomically(out / "summary.json", json_bytes(summary.as_json()))
    if failures:
        typer.echo(f"\n{len(failures)} of {len(plan.photos)} photos failed:", err=True)
        for outcome in failures:
            typer.echo(f"  {outcome.error}", err=True)
    if as_json:
        echo_json(summary.as_json())
    else:
        typer.echo(summary.text())
        echo_path(coco)
    if stopped:
        typer.echo(f"Stopped, with {missed} photos left. Go on with the same command and --resume.", err=True)
        raise typer.Exit(130)
    if failures:
        raise typer.Exit(1)


def _run_locally(
    job: "Job", plan: "Plan", predictor: "SamPredictor | OnnxPredictor", progress: "PhotoProgress", debug: bool
) -> "Iterator[Outcome]":
    from ..annotation.work import Annotator

    annotator = Annotator(job, predictor, raises=debug)
    for photo in plan.pending:
        yield annotator(photo, progress.part)


def _run_on_ray(job: "Job", plan: "Plan", address: str | None, workers: int | None) -> "Iterator[Outcome]":
    from ..annotation.cluster import annotate_on_ray

    return annotate_on_ray(job, plan.pending, address, workers) if plan.pending else iter(())


def _threads(predictor: "SamPredictor | OnnxPredictor") -> int:
    """How many threads the local engine has, so that other workers round as it does."""
    from ..inference.runtime import OnnxPredictor

    if isinstance(predictor, OnnxPredictor):
        return int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    import torch

    return torch.get_num_threads()
