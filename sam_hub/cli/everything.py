"""``sam-hub everything``: all masks of photos and folders of them."""

from enum import StrEnum
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import WrongUsage
from ..labels.formats import FORMATS
from ..ops.wording import counted
from .generator_options import GeneratorOptions
from .label_options import Polygons, check_labels
from .option_groups import grouped
from .options import Bands, Debug, Device, Json, ModelName, Page, Range, bands_of, echo_json, echo_path

if TYPE_CHECKING:
    from ..annotation.report import Summary


class Preset(StrEnum):
    fast = "fast"
    default = "default"
    fine = "fine"


class Engine(StrEnum):
    local = "local"
    ray = "ray"


LabelFormat = StrEnum("LabelFormat", {name: name for name in FORMATS if name != "coco"})


@grouped
def everything(
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE|DIR", help="Photos and folders of photos.", readable=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the results.")],
    model: ModelName = "pocket",
    preset: Annotated[Preset, typer.Option("--preset", help="Speed against thoroughness.")] = Preset.default,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
    preview: Annotated[bool, typer.Option(help="Also write each photo with its masks in colour.")] = True,
    tile: Annotated[
        int | None,
        typer.Option(
            "--tile", min=16, metavar="PIXELS", help="Process large images in tiles of this size, such as 1024."
        ),
    ] = None,
    overlap: Annotated[
        float | None,
        typer.Option("--overlap", min=0.01, max=0.5, help="Overlap of tiles, as a share of their side [0.25]."),
    ] = None,
    formats: Annotated[
        list[LabelFormat],
        typer.Option("--format", "-f", metavar="FORMAT", help="Also write the masks for another tool; repeatable."),
    ] = [],  # noqa: B006 typer reads it, nobody writes to it
    polygons: Polygons = False,
    value_range: Range = None,
    bands: Bands = None,
    page: Page = None,
    engine: Annotated[Engine, typer.Option("--engine", help="This process, or Ray workers.")] = Engine.local,
    ray_address: Annotated[
        str | None, typer.Option("--ray-address", metavar="HOST:PORT", help="A Ray cluster; default: this machine.")
    ] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Maximum number of Ray workers.")] = None,
    generator: GeneratorOptions = GeneratorOptions(),  # noqa: B008 frozen
    device: Device = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Find all objects in photos, from a grid of clicks.

    \b
    sam-hub everything photo.jpg --out masks
    sam-hub everything photos/ --out masks --preset fast
    sam-hub everything photos/ --out masks --resume
    sam-hub everything map.tif --out masks --tile 1024 --overlap 0.25
    sam-hub everything photos/ --out masks --engine ray --ray-address ray://head:10001

    Folders are searched recursively. Photos are only read; results go to --out:

    \b
    masks/NAME.json      annotations of one photo as in SA-1B, with COCO run lengths
    previews/NAME.jpg    the photo with its masks (unless --no-preview)
    coco.json            all annotations in one COCO file
    summary.json         what --json prints
    everything.json      the settings, and the NAME of each photo

    \b
    FORMAT, each in a folder of its name
    labelmap     NAME.png        a 16-bit label map: pixels are ids of coco.json
    yolo         data.yaml       YOLO's outlines, with copies of the photos
    labelme      NAME.json       shapes for labelme
    geojson      NAME.geojson    outlines, in pixels (as in QuPath) or map coordinates
    gpkg         NAME.gpkg       GeoPackage, for photos with a coordinate system
    labelstudio  tasks.json      pre-annotations for Label Studio
    cvat         annotations.xml CVAT for images 1.1
    imagej       NAME.zip        regions for ImageJ's ROI Manager

    --out must be new or empty. After an interruption, rerun the same command with --resume: finished photos are kept;
    failed, new and changed ones are done. Other settings are refused. Photos that cannot be read do not stop the run:
    they are listed at the end, and the exit code is 1.

    --preset fast uses a 16 x 16 grid of clicks instead of 32 x 32; fine also searches crops, and is less strict.
    Numbers in brackets are the default preset's. The model pocket, and models trained or exported from it, have their
    own thresholds; options override both.

    With --tile, TIFFs are read from the file tile by tile, masks are merged where tiles meet, and memory does not grow
    with the image. Pixels without data are skipped. Tiles that cannot be read are listed; the others are done.

    With --engine ray, photos and --out must have the same paths on all machines. A cluster started with `ray start`
    asks for its token by default: set RAY_AUTH_MODE=token here too (see Ray's manual).
    """
    from ..annotation.plan import find_photos
    from ..annotation.run import Request, annotate_here, finish_run, plan_run, write_label_files
    from ..ops.packages import require
    from .loading import load_predictor
    from .progress import PhotoProgress

    start = perf_counter()
    if engine is Engine.local and (ray_address or workers):
        raise WrongUsage("--ray-address and --workers need --engine ray; add it")
    if tile is None and overlap is not None:
        raise WrongUsage("--overlap needs --tile; add --tile 1024")
    check_labels(formats, polygons, coco=True)
    if LabelFormat.labelmap in formats and not generator.non_overlapping:
        raise WrongUsage("a label map has one object per pixel; add --non-overlapping to --format labelmap")
    if engine is Engine.ray:
        require("--engine ray", ["ray"], "ray")
    sources = find_photos(images, out)
    predictor = load_predictor(model, device, cache_size=0)
    request = Request(
        sources,
        out,
        model,
        device,
        preset.value,
        generator.given(),
        value_range,
        bands=bands_of(bands),
        page=page,
        tile=tile,
        overlap=0.25 if overlap is None else overlap,
        resume=resume,
        preview=preview,
    )
    try:
        plan, task = plan_run(request, predictor)
    except ValueError as e:
        raise WrongUsage(str(e)) from e
    with PhotoProgress(len(plan.pending), {photo.name: photo.file_name for photo in plan.photos}) as progress:
        if engine is Engine.ray:
            from ..annotation.cluster import annotate_on_ray

            outcomes = annotate_on_ray(task, plan.pending, ray_address, workers)
        else:
            outcomes = annotate_here(task, plan, predictor, progress.part, raises=debug)
        summary, stopped = finish_run(plan, outcomes, progress.finish, start, polygons)
    _tell(summary, as_json)
    if stopped:
        typer.echo(
            f"Stopped, with {counted(summary.missed, 'photo')} left. Rerun the same command with --resume.", err=True
        )
        raise typer.Exit(130)
    write_label_files(plan, formats, polygons)
    for kind in () if as_json else dict.fromkeys(formats):
        echo_path(plan.out / kind)
    if summary.failed:
        raise typer.Exit(1)


def _tell(summary: "Summary", as_json: bool) -> None:
    """Failures on standard error, the summary on standard output."""
    if summary.failed:
        typer.echo(f"\n{len(summary.failed)} of {counted(len(summary.plan.photos), 'photo')} failed:", err=True)
        for outcome in summary.failed:
            typer.echo(f"  {outcome.error}", err=True)
    if as_json:
        echo_json(summary.as_json())
    else:
        typer.echo(summary.text())
        echo_path(summary.coco)
