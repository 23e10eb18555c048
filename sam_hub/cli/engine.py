"""``sam-hub engine``: annotate, train, annotate again."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import WrongUsage
from .options import BaseModelName, Debug, Json, echo_json, echo_path

if TYPE_CHECKING:
    from ..engine.store import Project

engine = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Annotate photos with a model's help, train it on them, and annotate again.",
)

ProjectFolder = Annotated[Path, typer.Argument(metavar="PROJECT", help="The project's folder.")]


class Format(StrEnum):
    sa1b = "sa1b"
    coco = "coco"


@engine.command()
def init(
    folder: ProjectFolder,
    images: Annotated[
        list[Path], typer.Option("--images", metavar="DIR", help="Photos, or folders of them; repeatable.")
    ],
    model: BaseModelName = "pocket",
    held_share: Annotated[
        float, typer.Option("--held-share", min=0.01, max=0.9, help="Share of the photos that only measure.")
    ] = 0.2,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Random seed of order and held-out photos.")] = 0,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Make a project of photos, or add photos to one.

    \b
    sam-hub engine init cells --images photos/ --model pocket

    Photos are only read: the project remembers where they are, their size and a hash. Folders are searched
    recursively. Rerun the same command to resume, to add new photos, and to take back photos that had vanished.
    A share of the photos, drawn by their content, is held out from the first day: people annotate them like the
    others, but models are only scored on them.
    """
    import os

    from ..engine import photos
    from ..engine.store import Project

    source = os.path.abspath(model) if os.path.exists(model) else model
    with Project.create(folder, source, held_share, seed) as project:
        added = photos.add(project, photos.find(images, folder), _count)
        total = project.rows("SELECT count(*) AS n, sum(held) AS held FROM photos")[0]
    for problem in added.problems:
        typer.echo(f"Left out: {problem}", err=True)
    if as_json:
        echo_json({"new": added.new, "known": added.known, "photos": total["n"], "problems": added.problems})
    else:
        typer.echo(f"{added.new} new photos, {total['n']} in all, {total['held'] or 0} of them held out to measure on")
    if added.problems:
        raise typer.Exit(1)


def _count(done: int) -> None:
    """How many photos were looked at, on standard error."""
    typer.echo(f"{done} photos", err=True)


@engine.command()
def status(
    folder: ProjectFolder,
    check: Annotated[bool, typer.Option("--check", help="Verify the project's file and every photo.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Tell what is done, by whom, at what cost, and how the models score round by round.

    \b
    sam-hub engine status cells
    sam-hub engine status cells --check

    With --check also the file's integrity is verified, and that every photo is there and unchanged; the exit code is
    1 where something is wrong.
    """
    from ..engine.status import as_text, problems
    from ..engine.status import status as status_of

    with _opened(folder) as project:
        found = problems(project) if check else []
        if not found or not check:
            answer = status_of(project)
            if as_json:
                echo_json(answer)
            else:
                typer.echo(as_text(answer))
    for problem in found:
        typer.echo(f"Problem: {problem}", err=True)
    if found:
        raise typer.Exit(1)
    if check:
        typer.echo("The file is sound, and all photos are there.", err=True)


@engine.command()
def use(
    folder: ProjectFolder,
    round: Annotated[int, typer.Argument(metavar="ROUND", min=0, help="A round that `status` lists.")],
    debug: Debug = False,
) -> None:
    """Go on with the model of another round.

    \b
    sam-hub engine use cells 1
    """
    from ..engine.rounds import use as use_round

    with _opened(folder) as project:
        use_round(project, round)
    typer.echo(f"Round {round} is in use.")


@engine.command("import")
def import_(
    folder: ProjectFolder,
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="Annotations of the project's photos, of any kind that `train` reads."),
    ],
    images: Annotated[
        Path | None, typer.Option("--images", metavar="DIR", help="Folder of the images of a COCO .json.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Remove objects of these photos that DATA does not have.")
    ] = False,
    annotator: Annotated[str, typer.Option("--annotator", metavar="NAME", help="Who drew the masks.")] = "import",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Take masks that were drawn elsewhere, or bring back what was exported.

    \b
    sam-hub engine import cells annotations.json --images photos/
    sam-hub engine import cells from-labelme/ --replace

    Photos are found by their content, else by their name. A mask that nearly equals one of the project (IoU of 0.95)
    is that one and changes nothing; one that overlaps by half is a new version of it; others are new. Masks of
    another size are left out, photo by photo, with a sentence; the exit code is 1 then.
    """
    from dataclasses import asdict

    from ..data.discovery import open_dataset
    from ..engine.importing import import_masks

    with _opened(folder) as project:
        found = import_masks(project, open_dataset(data, images), annotator, replace)
    for problem in found.problems:
        typer.echo(f"Left out: {problem}", err=True)
    if as_json:
        echo_json(asdict(found))
    else:
        typer.echo(
            f"{found.photos} photos: {found.new} new masks, {found.changed} changed, {found.same} the same, "
            f"{found.removed} removed"
        )
    if found.problems:
        raise typer.Exit(1)


@engine.command()
def export(
    folder: ProjectFolder,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="A new or empty folder.")],
    format: Annotated[Format, typer.Option("--format", help="What reads it.")] = Format.sa1b,
    copy: Annotated[bool, typer.Option("--copy", help="Copy the photos instead of linking to them.")] = False,
    people_only: Annotated[bool, typer.Option("--people-only", help="Omit what the model did alone.")] = False,
    debug: Debug = False,
) -> None:
    """Write the accepted masks for trainers and for other tools.

    \b
    sam-hub engine export cells --format coco --out cells-coco
    """
    from ..engine.exporting import export as write

    with _opened(folder) as project:
        photos, masks = write(project, format.value, out, copy, not people_only)
    typer.echo(f"{masks} masks of {photos} photos", err=True)
    echo_path(out)


def _opened(folder: Path) -> "Project":
    from ..engine.store import Project

    return Project.open(folder)


def check_auth(pairs: list[str]) -> list[tuple[str, str]]:
    """Names and passwords; raises: WrongUsage"""
    found = []
    for pair in pairs:
        user, colon, password = pair.partition(":")
        if not (user and colon and password):
            raise WrongUsage("--auth is not USER:PASSWORD; for example --auth me:secret")
        found.append((user, password))
    return found
