"""``sam-hub stats``: statistics and plots of annotated data sets."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import WrongUsage
from ..ops.wording import counted
from .everything import Engine
from .options import Debug, Json, echo_json, echo_path


def stats(
    data: Annotated[
        list[Path],
        typer.Argument(metavar="DATA", help="Annotated images: SA-1B tars and folders, COCO, labelme, results."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the results.")],
    against: Annotated[
        Path | None, typer.Option("--against", metavar="DATA", help="Corrected annotations of the same images.")
    ] = None,
    engine: Annotated[Engine, typer.Option("--engine", help="This process, or Ray workers.")] = Engine.local,
    ray_address: Annotated[
        str | None, typer.Option("--ray-address", metavar="HOST:PORT", help="A Ray cluster; default: this machine.")
    ] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Maximum number of Ray workers.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Describe annotated images as "Segment Anything" describes SA-1B: number, size, shape and place of masks.

    \b
    sam-hub stats val/*.tar --out stats
    sam-hub stats masks/ coco.json --out stats
    sam-hub stats masks/ --against corrected/ --out stats

    Each DATA is a curve in the plots: masks per image, relative mask size, concavity, mask centres, image sizes
    (section 5, figures 5 and 6). Photos and masks are not decoded to pixels, and memory does not grow with the number
    of masks (except that a COCO .json is read whole).

    --against compares with corrected annotations of the same images: the share of mask pairs with an IoU above 0.90 and
    above 0.75. Masks are paired by id, or else by overlap.

    \b
    stats.html    all plots on one page
    stats.json    the numbers; --json prints them too
    *.png         each plot
    """
    from contextlib import closing

    from rich.console import Console
    from rich.progress import track

    from ..ops.packages import require
    from ..statistics.agreement import agreement
    from ..statistics.collect import Collection
    from ..statistics.report import agreement_text, build_report
    from ..statistics.run import check_out, count_here, count_on_ray, sources_of, write_statistics
    from ..zero_shot.table import titled

    if engine is Engine.local and (ray_address or workers):
        raise WrongUsage("--ray-address and --workers need --engine ray; add it")
    if engine is Engine.ray:
        require("--engine ray", ["ray"], "ray")
    require("stats", ["matplotlib", "scipy"], "eval")
    check_out(out)
    named = dict(zip(titled([path.stem for path in data]), data, strict=True))
    sources = sources_of(named)
    found = {name: Collection() for name in named}
    parts = count_on_ray(sources, ray_address, workers) if engine is Engine.ray else count_here(sources)
    with closing(parts):
        bar = track(parts, "counting", len(sources), console=Console(stderr=True), transient=True)
        for name, part in bar:
            found[name].merge(part)
    report = build_report(found, {"data": [str(path) for path in data], "against": str(against) if against else None})
    if against:
        report["agreement"] = agreement(data, against)
    page = write_statistics(out, report)
    for one in report["data"]:
        for problem in one["problems"]:
            typer.echo(f"Left out: {problem}", err=True)
    if as_json:
        echo_json(report)
        return
    for one in report["data"]:
        each = f"{one['masks_per_image_mean'] or 0:.1f}"
        empty = f" and {one['empty_masks']:,} empty" if one["empty_masks"] else ""
        counts = f"{counted(one['images'], 'image')}, {counted(one['masks'], 'mask')}{empty}"
        typer.echo(f"{one['name']}: {counts}, {each} per image")
    if against:
        typer.echo(agreement_text(report["agreement"]))
    echo_path(page)
