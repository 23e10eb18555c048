"""``sam-hub eval``: how well a model does on annotated images."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import WrongUsage
from .option_groups import grouped
from .options import Debug, Device, Json
from .training_options import Crowds, CrowdsOption, ImagesOption
from .zero_shot_options import ZeroShotOptions


@grouped
def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A name from `sam-hub zoo`, a folder, a checkpoint, a Hub id or an exported folder."
        ),
    ],
    shards: Annotated[
        list[Path] | None,
        typer.Argument(metavar="DATA", help="Annotated images: SA-1B tars or folders, or anything that `train` takes."),
    ] = None,
    images: ImagesOption = None,
    crowds: CrowdsOption = Crowds.left_out,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Images per shard; default: all.")] = None,
    max_objects: Annotated[
        int | None, typer.Option("--max-objects", min=1, help="Objects per image [16; with --task points: all].")
    ] = None,
    clicks: Annotated[
        int, typer.Option("--clicks", min=5, help="Maximum clicks per object; NoC usually takes 20, which is slow.")
    ] = 5,
    baselines: Annotated[bool, typer.Option(help="Also score each box's ellipse, and GrabCut (slow).")] = True,
    zoom: Annotated[
        bool, typer.Option("--zoom", help="Predict as `segment --zoom` does: each object's window is encoded too.")
    ] = False,
    tidy: Annotated[
        float,
        typer.Option(
            "--tidy", min=0, max=0.5, metavar="SHARE", help="Drop specks and fill holes, as `segment` does by default."
        ),
    ] = 0.0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Random seed for images and objects.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="PATH", help="Also write the report to this JSON file; with --task, folder."
        ),
    ] = None,
    grid: Annotated[
        Path | None, typer.Option("--grid", metavar="PNG", help="Also draw masks for several kinds of prompts.")
    ] = None,
    photos: Annotated[int, typer.Option("--photos", min=1, help="Photos per shard in --grid.")] = 2,
    zero_shot: ZeroShotOptions = ZeroShotOptions(),  # noqa: B008 frozen
    device: Device = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure a model on annotated images: mean IoU after clicks and from boxes, or a zero-shot table of the paper.

    \b
    sam-hub eval pocket val/*.tar
    sam-hub eval mobile-sam val/coco.tar --limit 20 --no-baselines
    sam-hub eval pocket val/*.tar --out report.json --grid prompts.png
    sam-hub eval pocket BSDS500 --task edges --out edges
    sam-hub eval pocket --suite paper --root data --out points

    Without --task, 1 click scores the mask with the highest predicted IoU, oracle the best of the three; each further
    click corrects the largest error. Shards named zeroshot-* are not part of the mean. The full protocol is in
    sam_hub/evaluation/evaluate.py. Damaged images are listed and skipped; a shard with none left is an error.

    --task gives a table of "Segment Anything", section 7; --out is then a folder, with table.json, .md and .png:

    \b
    points       7.1  mIoU after 1 to 9 points, most confident mask and oracle; --suite paper: its 23 data sets
    edges        7.2  edges from a grid of clicks, on BSDS500: ODS, OIS, AP, R50, with Sobel and Canny
    proposals    7.3  object proposals of everything mode: mask AR@1000 on a COCO or LVIS .json
    instances    7.4  masks from a detector's boxes: AP on a COCO or LVIS .json
    text         7.5  masks from the names of categories in a COCO .json

    After an interruption, rerun the same command with --resume. With --engine ray, data and --out must have the same
    paths on all machines.
    """
    as_objects = crowds is Crowds.as_objects
    zero_shot.check(out)
    if zero_shot.chosen:
        from .zero_shot import zero_shot_table

        for given, option in ((grid, "--grid"), (zoom, "--zoom"), (tidy, "--tidy")):
            if given:
                raise WrongUsage(f"{option} cannot be combined with --task; omit it")
        options = {
            "max_objects": max_objects,
            "images": str(images.absolute()) if images else None,
            "crowds_as_objects": as_objects,
            "baselines": baselines,
        }
        zero_shot_table(model, shards or [], out, device, zero_shot, options, limit, seed, as_json)
        return
    if not shards:
        raise WrongUsage("no data given; add their paths after MODEL")
    from ..evaluation.evaluate import Protocol
    from .prompt_report import prompt_report

    protocol = Protocol(seed, limit, max_objects or 16, clicks, baselines, zoom, tidy)
    prompt_report(model, shards, images, as_objects, protocol, out, grid, photos, device, as_json)
