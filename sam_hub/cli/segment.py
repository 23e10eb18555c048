"""``sam-hub segment``: objects that a person points at, in photos."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ImageError, PromptError
from .boundary import WrongUsage, sentence
from .options import Debug, Device, Json, ModelName, echo_json, echo_path
from .outputs import Format, plan
from .prompts import Prompt, parse_prompts

if TYPE_CHECKING:
    import numpy as np

    from ..inference.text import TextDetector

CANDIDATES = 3
"""Masks that SAM gives for an ambiguous prompt."""

UNKNOWN = 2
"""Objects that words may find, for names of files: more than one."""


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
        typer.Option(
            "--mask", metavar="PNG", help="A rough mask, of the photo's size: what is bright is object.", readable=False
        ),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option("--text", "-t", metavar="WORDS", help='What to find, such as "a cat": every one of it.'),
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option("--detector", metavar="NAME", help="An OWLv2 or Grounding DINO model, by folder or Hub id."),
    ] = None,
    clip: Annotated[
        str | None,
        typer.Option(
            "--clip", metavar="NAME", help="The CLIP that the model learnt words with, instead of a detector."
        ),
    ] = None,
    threshold: Annotated[
        float, typer.Option("--threshold", min=0, max=1, help="Least score of what --text finds.")
    ] = 0.25,
    model: ModelName = "pocket",
    out: Annotated[
        str | None, typer.Option("--out", "-o", metavar="PATH", help="A folder, or a file for a single result.")
    ] = None,
    formats: Annotated[
        list[Format],
        typer.Option(
            "--format", "-f", metavar="FORMAT", help="png, cutout, svg, json or coco; may be given several times."
        ),
    ] = [],  # noqa: B006
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Also write the photo with masks and prompts drawn.")
    ] = False,
    multimask: Annotated[
        bool, typer.Option("--multimask", help="Write every candidate (usually 3), best first, not only the best.")
    ] = False,
    tidy: Annotated[
        float,
        typer.Option(
            "--tidy", min=0, max=0.5, metavar="SHARE", help="Drop specks, fill holes below this share of a mask (0.02)."
        ),
    ] = 0.0,
    device: Device = None,
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

    Coordinates are pixels from the upper left corner of the photo as a viewer shows it. All points and one box (and
    a mask, which alone stands for its box too) describe one object together; several boxes are several objects and
    go without points. Several photos all get the same prompts. A single click is ambiguous (the shirt or the
    person?): of its candidates the one with the best predicted IoU is written, or all with --multimask.

    \b
    FORMAT
    png     photo.mask.png     255 object, 0 background (the default)
    cutout  photo.cutout.png   the object on transparent ground
    svg     photo.mask.svg     outlines of all masks
    json    photo.mask.json    all masks as in SA-1B (COCO run lengths)
    coco    coco.json          all masks of all photos in one COCO file

    Several masks of a photo are numbered: photo.mask-1.png, photo.mask-2.png. Files go to the current folder, or
    where --out says: a folder, or for a single result a file, whose suffix then chooses the format. Existing
    results are replaced, the photos never. The paths of what was written are printed, with --json together with
    scores, boxes and times. Where one of several photos fails, the others are still done and the exit code is 1.
    """
    from ..ops.files import make_folder, write_atomically
    from ..ops.images import read_image
    from ..results import coco_document, json_bytes
    from .found import find
    from .loading import load_predictor

    if text is not None and (points or boxes or mask):
        raise WrongUsage("--text finds boxes of its own; give either words or points, boxes and a mask")
    prompts = [] if text is not None else parse_prompts(points, boxes, mask is not None)
    others = [] if mask is None else [mask]
    if clip is not None:
        if text is None or detector is not None:
            raise WrongUsage("--clip is for --text, instead of a --detector")
        prompts = [Prompt(text=text)]
    objects = len(prompts) or UNKNOWN
    to = plan(out, formats, overlay, images, others, objects, CANDIDATES if multimask else 1)
    rough = None if mask is None else _read_rough(mask)
    if rough is not None and not points and not boxes:
        prompts = [Prompt(box=_box_of(rough))]
    predictor = finder = None
    answers, documents, failed = [], [], []
    for path in images:
        try:
            image = read_image(path)
            for prompt in prompts:
                prompt.check(image.shape[:2])
            if rough is not None and rough.shape != image.shape[:2]:
                raise PromptError(f"the mask {mask} is {_size(rough)} and the image {_size(image)}; they must be alike")
            predictor = predictor or load_predictor(model, device)  # late: what is wrong above is told at once
            if clip is not None:
                _teach_words(predictor, clip)
            elif text is not None:
                finder = finder or _finder(detector, predictor.device, threshold)
                prompts = _prompts_of(finder, image, text)
            found = find(predictor, path, image, prompts, rough, multimask, tidy)
        except (ImageError, PromptError) as e:
            if len(images) == 1 or debug:
                raise
            what = sentence(e) if isinstance(e, ImageError) else f"{path}: {sentence(e)}"
            failed.append({"image": str(path), "error": what})
            typer.echo(f"Error: {what}", err=True)
            continue
        typer.echo(found.summary(), err=True)
        slots = to.slots(path, len(prompts), found.candidates)
        contents = [found.content(slot) for slot in slots]  # all of them before the first is written
        make_folder(to.folder)
        for slot, content in zip(slots, contents, strict=True):
            write_atomically(slot.path, content)
            if not as_json:
                echo_path(slot.path)
        documents.append(found.document())
        answers.append(found.answer(slots))
    if (path := to.coco_path()) and documents:
        make_folder(to.folder)
        write_atomically(path, json_bytes(coco_document(documents)))
        if not as_json:
            echo_path(path)
    if as_json:
        echo_json({"model": model, "images": answers, "coco": str(path) if path else None, "failed": failed})
    if failed:
        raise typer.Exit(1)


def _finder(name: str | None, device: Any, threshold: float) -> "TextDetector":
    """The detector that understands words."""
    from ..inference.text import DETECTOR, TextDetector

    return TextDetector.from_pretrained(name or DETECTOR, device, threshold=threshold)


def _teach_words(predictor: Any, name: str) -> None:
    """Give a predictor the CLIP whose embedding of the words is a prompt."""
    from ..inference.text import ClipText

    if not hasattr(predictor, "text"):
        raise PromptError("exported files take no words; give the model itself, or leave --clip out to use a detector")
    predictor.text = predictor.text or ClipText.from_pretrained(name, predictor.device)


def _prompts_of(finder: "TextDetector", image: "np.ndarray", text: str) -> list[Prompt]:
    """A box for each object that words name; PromptError when there is none."""
    boxes, _ = finder.find(image, text)
    if not len(boxes):
        raise PromptError(f"nothing in it looks like {text!r}; use other words or a lower --threshold")
    return [Prompt(box=tuple(map(float, box))) for box in boxes]


def _read_rough(path: Path) -> "np.ndarray":
    """A drawn mask: (H, W) bool."""
    from ..ops.images import read_image

    mask = read_image(path).max(axis=-1) > 127
    if not mask.any():
        raise PromptError(f"the mask {path} is empty; paint the object in white on black")
    return mask


def _box_of(mask: "np.ndarray") -> tuple[float, float, float, float]:
    """The box around a mask, in pixels, with exclusive right and bottom edges."""
    from ..ops.masks import mask_to_box

    x0, y0, x1, y1 = mask_to_box(mask).tolist()
    return x0, y0, x1 + 1, y1 + 1


def _size(image: "np.ndarray") -> str:
    return f"{image.shape[1]} x {image.shape[0]} pixels"
