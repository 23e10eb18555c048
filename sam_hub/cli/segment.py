"""``sam-hub segment``: cuts out the objects that prompts point at."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ..errors import ImageError, PromptError
from ..segmentation.outputs import Format, plan_outputs
from .failures import sentence
from .label_options import Polygons, check_labels
from .options import Bands, Debug, Device, Json, ModelName, Page, Precision, Range, bands_of, echo_json, echo_path


def segment(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE", help="One or more photos.", readable=False)],
    points: Annotated[
        list[str],
        typer.Option("--point", "-p", metavar="X,Y[,LABEL]", help="A click: label 1 (default) object, 0 background."),
    ] = [],  # noqa: B006 typer reads it, nobody writes to it
    boxes: Annotated[
        list[str], typer.Option("--box", "-b", metavar="X0,Y0,X1,Y1", help="A box around an object.")
    ] = [],  # noqa: B006
    mask: Annotated[
        Path | None,
        typer.Option("--mask", metavar="PNG", help="A rough mask of the photo's size, white on black.", readable=False),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option("--text", "-t", metavar="WORDS", help='Find and segment every instance of, say, "a cat".'),
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option("--detector", metavar="NAME", help="An OWLv2 or Grounding DINO model: a folder or Hub id."),
    ] = None,
    clip: Annotated[
        str | None,
        typer.Option("--clip", metavar="NAME", help="The CLIP that the model was trained with, instead of a detector."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold", min=0, max=1, help="Minimum score for --text; default: 0.25 with a detector, 0.5 with SAM 3."
        ),
    ] = None,
    model: ModelName = "pocket",
    out: Annotated[
        str | None, typer.Option("--out", "-o", metavar="PATH", help="A folder; for a single result, a file.")
    ] = None,
    formats: Annotated[
        list[Format],
        typer.Option(
            "--format",
            "-f",
            metavar="FORMAT",
            help="png, cutout, svg, json, coco or another from the list above; repeatable.",
        ),
    ] = [],  # noqa: B006
    polygons: Polygons = False,
    non_overlapping: Annotated[
        bool,
        typer.Option("--non-overlapping", help="In a label map, give each pixel to the smallest mask."),
    ] = False,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Also write the photo with masks and prompts drawn on it.")
    ] = False,
    multimask: Annotated[
        bool, typer.Option("--multimask", help="Write every candidate mask (usually 3), best first.")
    ] = False,
    tidy: Annotated[
        float | None,
        typer.Option(
            "--tidy",
            min=0,
            max=0.5,
            metavar="SHARE",
            help="Drop specks and fill holes below this share of a mask; 0 for none.",
            show_default="the model's own",
        ),
    ] = None,
    zoom: Annotated[
        bool | None,
        typer.Option(
            "--zoom/--no-zoom",
            help="Also encode the window around each object: better masks of small objects.",
            show_default="the model's own",
        ),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(
            "--window", min=16, metavar="PIXELS", help="Read only this much of a large image around each prompt."
        ),
    ] = None,
    value_range: Range = None,
    bands: Bands = None,
    page: Page = None,
    device: Device = None,
    precision: Precision = "full",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Cut objects out of photos by clicks, boxes or a rough mask.

    \b
    sam-hub segment photo.jpg --point 320,240
    sam-hub segment photo.jpg --point 320,240 --point 50,60,0 --format cutout
    sam-hub segment photo.jpg --box 10,20,300,400 --box 320,30,600,420 --overlay
    sam-hub segment *.jpg --box 10,20,300,400 --out masks/
    sam-hub segment photo.jpg --text "a cat" --out masks/

    For an image too large to read whole, --window 1024 reads and encodes a window of 1024 pixels around each prompt.
    Results are in pixels of the whole image; cut-outs and the overlay show the window.

    Coordinates are pixels from the upper left corner of the photo as a viewer shows it. All points, one box and a mask
    describe one object together; several boxes are several objects and cannot be combined with points. All photos get
    the same prompts. A single click is ambiguous (the shirt or the person?): the candidate with the highest predicted
    IoU is written, or all with --multimask.

    --zoom encodes the window around each object as well, in which the object is larger in the network's input.
    It is the default for `pocket`, and adds the time of one encoding for each object that is not large.

    \b
    FORMAT
    png     photo.mask.png     255 object, 0 background (the default)
    cutout  photo.cutout.png   the object on a transparent background
    svg     photo.mask.svg     outlines of all masks
    json    photo.mask.json    all masks as in SA-1B (COCO run lengths)
    coco    coco.json          all masks of all photos in one COCO file

    \b
    For other tools, each in a folder of its name below --out:
    labelmap      labelmap/photo.png      a 16-bit label map: one number per object
    yolo          yolo/data.yaml          YOLO's outlines, with copies of the photos
    labelme       labelme/photo.json      shapes for labelme
    geojson       geojson/photo.geojson   outlines, in pixels (as in QuPath) or map coordinates
    gpkg          gpkg/   photo.gpkg      GeoPackage, for photos with a coordinate system
    labelstudio   labelstudio/tasks.json  pre-annotations for Label Studio
    cvat          cvat/annotations.xml    CVAT for images 1.1
    imagej        imagej/photo.zip        regions for ImageJ's ROI Manager

    Several masks of a photo are numbered: photo.mask-1.png, photo.mask-2.png. Files go to the current folder or to
    --out: a folder or, for a single result, a file whose suffix sets the format. Results are replaced, photos never.
    The paths written are printed; --json adds scores, boxes and times. If one of several photos fails, the others are
    still done and the exit code is 1.
    """
    from ..segmentation.run import Request, Segmenter, segment_photos, write_label_files
    from .loading import load_predictor, load_quickly

    request = Request.parse(
        points, boxes, mask, text,
        detector=detector, clip=clip, threshold=threshold, multimask=multimask, tidy=tidy, value_range=value_range,
        bands=bands_of(bands), page=page, window=window, zoom=zoom,
    )  # fmt: skip
    others = [] if mask is None else [mask]
    to = plan_outputs(out, formats, overlay, images, others, request.objects, request.candidates)
    check_labels(formats, polygons)
    load = load_predictor if text is not None else partial(load_quickly, photos=len(images))
    segmenter = Segmenter(request.with_rough_mask(), lambda: load(model, device, precision=precision))
    done, answers, failed = [], [], []
    for result in segment_photos(images, segmenter, to, raises=len(images) == 1 or debug):
        if result.error:
            failed.append({"image": str(result.path), "error": _tell_failure(result.path, result.error)})
            continue
        typer.echo(result.photo.summary(), err=True)
        for file in () if as_json else result.files:
            echo_path(file.path)
        done.append(result.photo)
        answers.append(result.photo.answer(result.files))
    labels = write_label_files(to, done, polygons, non_overlapping)
    if as_json:
        coco = str(labels[0]) if labels and to.coco_path() else None
        paths = [str(path) for path in labels]
        echo_json({"model": model, "images": answers, "coco": coco, "labels": paths, "failed": failed})
    else:
        for path in labels:
            echo_path(path)
    if failed:
        raise typer.Exit(1)


def _tell_failure(path: Path, error: ImageError | PromptError) -> str:
    """Report a failure on standard error. An ImageError already names its file."""
    text = sentence(error) if isinstance(error, ImageError) else f"{path}: {sentence(error)}"
    typer.echo(f"Error: {text}", err=True)
    return text
