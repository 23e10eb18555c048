"""``sam-hub engine``: annotate, train, annotate again."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import WrongUsage
from ..ops.wording import counted
from .everything import Engine
from .option_groups import grouped
from .options import AllowedHosts, BaseModelName, Debug, Device, Host, Json, Port, echo_json, echo_path
from .training_options import Freeze

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engine.detector import BoxConfidence
    from ..engine.proposals import Confidence
    from ..engine.rounds import RoundSettings
    from ..engine.store import Project
    from ..inference.image_predictor import ImagePredictor

engine = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Annotate photos with a model's help, train it on them, and annotate again.",
)

ProjectFolder = Annotated[Path, typer.Argument(metavar="PROJECT", help="The project's folder.")]


class Format(StrEnum):
    sa1b = "sa1b"
    coco = "coco"
    yolo = "yolo"
    labelme = "labelme"
    labelstudio = "labelstudio"
    cvat = "cvat"
    labelmap = "labelmap"
    geojson = "geojson"
    imagej = "imagej"


class AutoStage(StrEnum):
    semi = "semi"
    full = "full"


@dataclass(frozen=True)
class RoundOptions:
    """How a round is trained."""

    steps: Annotated[int, typer.Option("--steps", min=1, help="Updates.")] = 200
    rate: Annotated[float, typer.Option("--rate", help="Learning rate.")] = 3e-4
    batch: Annotated[int, typer.Option("--batch", min=1, help="Photos per batch.")] = 2
    objects: Annotated[int, typer.Option("--objects", min=1, help="Objects per photo and step.")] = 8
    views: Annotated[int, typer.Option("--views", min=1, help="Augmented views of each photo, encoded once.")] = 6
    freeze: Annotated[Freeze, typer.Option("--freeze", help="encoder: train only the decoder; none: train all.")] = (
        Freeze.encoder
    )
    lora: Annotated[int, typer.Option("--lora", min=0, metavar="R", help="Rank of LoRA adapters; 0: none.")] = 0

    def settings(self) -> "RoundSettings":
        import torch

        from ..engine.rounds import RoundSettings

        return RoundSettings(**{**vars(self), "freeze": self.freeze.value, "bf16": torch.cuda.is_available()})


class Titles(dict):
    """Names to show in the progress: a photo's title is its name."""

    def __missing__(self, name: str) -> str:
        return name


@engine.command()
def init(
    folder: ProjectFolder,
    images: Annotated[
        list[Path], typer.Option("--images", metavar="DIR", help="Photos, or folders of them; repeatable.")
    ],
    model: BaseModelName = "pocket",
    held_share: Annotated[
        float, typer.Option("--held-share", min=0.01, max=0.9, help="Share of the photos held out for scoring.")
    ] = 0.2,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Random seed for the order and the held-out photos.")] = 0,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Create a project of photos, or add photos to one.

    \b
    sam-hub engine init cells --images photos/ --model pocket

    Photos are only read: the project stores their path, size and hash. Folders are searched recursively. Rerun the
    same command to resume, to add new photos, and to restore photos that had been missing. A share of the photos,
    chosen by a hash of their content, is held out: people annotate them like the others, but models are only scored on
    them.
    """
    import os

    from ..engine import photos
    from ..engine.store import Project
    from ..hub import locate

    source = os.path.abspath(model) if os.path.exists(model) else model
    locate(source)  # fails before anything is created
    found = photos.find(images, folder)
    with Project.create(folder, source, held_share, seed) as project:
        added = photos.add(project, found, _count)
        total = project.rows("SELECT count(*) AS n, sum(held) AS held FROM photos")[0]
    for problem in added.problems:
        typer.echo(f"Left out: {problem}", err=True)
    if as_json:
        echo_json({"new": added.new, "known": added.known, "photos": total["n"], "problems": added.problems})
    else:
        typer.echo(f"{counted(added.new, 'new photo')}, {total['n']} in all, {total['held'] or 0} of them held out")
    if added.problems:
        raise typer.Exit(1)


def _count(done: int) -> None:
    """Report how many photos have been read, on standard error."""
    typer.echo(counted(done, "photo"), err=True)


@engine.command()
def label(
    folder: ProjectFolder,
    host: Host = "127.0.0.1",
    port: Port = None,
    allowed_hosts: AllowedHosts = [],  # noqa: B006 typer reads it, nobody writes to it
    auth: Annotated[
        list[str],
        typer.Option("--auth", metavar="USER:PASSWORD", help="Require a sign-in; repeatable, one for each annotator."),
    ] = [],  # noqa: B006
    annotator: Annotated[
        str | None,
        typer.Option("--annotator", metavar="NAME", help="Annotator, without --auth; default: your login name."),
    ] = None,
    device: Device = None,
    debug: Debug = False,
) -> None:
    """Open the page to label the photos one by one.

    \b
    sam-hub engine label cells
    sam-hub engine label cells --host 0.0.0.0 --auth ann:PASSWORD --auth bob:PASSWORD

    Every mask is saved as soon as it is drawn. Several people can label at once: nobody gets a photo that somebody else
    has open. N begins an object, Y accepts a proposed mask, Delete removes one, D goes to the next photo, K skips it, U
    goes back; ? lists all keys.
    """
    import getpass

    from ..ops.packages import require

    pairs = check_auth(auth)
    require("the web page", ["gradio"], "demo")
    from ..demo.app import build, launch, user_of
    from ..demo.labelling import Labelling
    from ..engine.rounds import model_source

    with _opened(folder) as project:
        typer.echo("Loading the model ...", err=True)
        server, service = build([model_source(project)], device, hosts=allowed_hosts)
        name = annotator or getpass.getuser()

        def who(request: Any) -> str:
            return (user_of(server, request.scope) or name) if pairs else name

        Labelling(project, service, who).add_to(server)
        launch(server, host=host, port=port, auth=pairs or None)


def check_auth(pairs: list[str]) -> list[tuple[str, str]]:
    """Parse names and passwords. raises: WrongUsage"""
    found = []
    for pair in pairs:
        user, colon, password = pair.partition(":")
        if not (user and colon and password):
            raise WrongUsage("--auth is not USER:PASSWORD; for example --auth me:secret")
        found.append((user, password))
    return found


@engine.command()
@grouped
def train(
    folder: ProjectFolder,
    options: RoundOptions = RoundOptions(),
    device: Device = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train the next round's model, and use it if it is no worse.

    \b
    sam-hub engine train cells
    sam-hub engine train cells --steps 1000 --freeze none

    Training starts from the current round's model. Both models are scored on the held-out photos, which are never
    trained on; the best checkpoint is chosen on a part of the others. Rerun the same command to resume, with the
    settings that the round began with. Every round is kept: `sam-hub engine use` goes back.
    """
    from dataclasses import asdict

    from ..engine.rounds import train as train_round
    from .loading import quiet_but_for_downloads

    quiet_but_for_downloads()
    with _opened(folder) as project:
        result = train_round(project, options.settings(), device)
    if as_json:
        echo_json(asdict(result))
        return
    for key, title in (("click_1", "1 click"), ("box", "box"), ("miou", "both")):
        if result.before.get(key) is not None:
            typer.echo(f"{title:8} {result.before[key]:.3f} -> {result.after[key]:.3f}")
    taken = "is now in use" if result.taken else "is kept but not used: it is worse on the photos held out"
    typer.echo(f"Round {result.round} {taken}.")


@engine.command()
@grouped
def auto(
    folder: ProjectFolder,
    stage: Annotated[
        AutoStage, typer.Option("--stage", help="semi: pre-annotate photos for people; full: annotate all the rest.")
    ],
    photos: Annotated[
        int | None,
        typer.Option("--photos", min=1, help="Maximum number of photos; default: 50 for semi, all for full."),
    ] = None,
    precision: Annotated[
        float, typer.Option("--precision", min=0, max=1, help="semi: share of the proposals that should be right.")
    ] = 0.8,
    detector: Annotated[
        str | None,
        typer.Option("--detector", metavar="NAME", help="semi: a detector of transformers, trained on accepted boxes."),
    ] = None,
    engine_: Annotated[Engine, typer.Option("--engine", help="This process, or Ray workers.")] = Engine.local,
    ray_address: Annotated[
        str | None, typer.Option("--ray-address", metavar="HOST:PORT", help="A Ray cluster; default: this machine.")
    ] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Maximum number of Ray workers.")] = None,
    device: Device = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Pre-annotate photos for people, or annotate all the rest.

    \b
    sam-hub engine auto cells --stage semi --photos 100
    sam-hub engine auto cells --stage full --engine ray

    semi: everything mode, with thresholds chosen on photos that people have annotated so that --precision of the masks
    are right; the precision on held-out photos is printed. People accept, correct or remove the masks and add the
    rest. Held-out photos are not pre-annotated. --detector replaces the grid by the boxes of a detector (DETR, RT-DETR,
    YOLOS, ...), trained on the accepted masks with "object" as the only class, as in the paper.

    full: everything mode as in appendix B of the paper, with crops and the model's own thresholds. The masks count as
    accepted and are marked as the model's: no round trains on them.

    Photos that somebody has open are skipped. Rerun the same command to resume.
    """
    from dataclasses import asdict

    from ..engine.automatic import Crew, fill, fill_from_boxes, waiting
    from ..engine.rounds import model_source
    from .loading import load_predictor
    from .progress import PhotoProgress

    if engine_ is Engine.local and (ray_address or workers):
        raise WrongUsage("--ray-address and --workers need --engine ray; add it")
    if detector and (stage is not AutoStage.semi or engine_ is Engine.ray):
        raise WrongUsage("--detector works only with --stage semi and --engine local; omit --engine ray")
    if engine_ is Engine.ray:
        from ..ops.packages import require

        require("--engine ray", ["ray"], "ray")
    with _opened(folder) as project:
        predictor = load_predictor(model_source(project), device, cache_size=0)
        chosen: Any = None
        if stage is AutoStage.semi:
            chosen, find = _confidence(project, predictor, precision, detector, device)
        wanted = waiting(project, stage.value, photos or (50 if stage is AutoStage.semi else None))
        crew = Crew(engine_ is Engine.ray, ray_address, workers, device)
        with PhotoProgress(len(wanted), Titles()) as progress:
            if detector:
                found = fill_from_boxes(project, wanted, find, detector, progress.finish)
            else:
                found = fill(project, wanted, stage.value, predictor, chosen, crew, progress.finish)
    for problem in found.problems:
        typer.echo(f"Failed: {problem}", err=True)
    if as_json:
        echo_json({**asdict(found), "confidence": asdict(chosen) if chosen else None})
    else:
        typer.echo(f"{counted(found.masks, 'mask')} in {counted(found.photos, 'photo')}")
    if found.problems:
        raise typer.Exit(1)


def _confidence(
    project: "Project", predictor: "ImagePredictor", precision: float, detector: str | None, device: str | None
) -> tuple["Confidence | BoxConfidence", "Callable[..., list] | None"]:
    """Choose thresholds, reported on standard error; with a detector, also return what finds masks from its boxes."""
    from functools import partial

    from ..engine.proposals import thresholds_for
    from ..engine.samples import ProjectSamples
    from ..errors import DataError

    learnt, held = (ProjectSamples(project, project.annotated(held)) for held in (False, True))
    if not len(learnt):
        raise DataError(f"no photo of {project.folder} is annotated yet; label some with `sam-hub engine label` first")
    if detector is None:
        chosen = thresholds_for(predictor, learnt, held, precision)
        typer.echo(chosen.words(), err=True)
        return chosen, None
    from ..engine.detector import Detector, masks_of, score_for

    trained = Detector(detector, device)
    trained.fit(learnt, say=partial(typer.echo, err=True))
    boxes = score_for(trained, predictor, learnt, held, precision)
    typer.echo(boxes.words(), err=True)
    return boxes, lambda image: masks_of(trained, predictor, image, boxes.score)


@engine.command()
@grouped
def simulate(
    truth: Annotated[Path, typer.Option("--truth", metavar="DATA", help="Annotated images in any format.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the report and the project.")],
    held_truth: Annotated[
        Path | None,
        typer.Option("--held", metavar="DATA", help="Annotated images to score on; default: a part of --truth."),
    ] = None,
    model: BaseModelName = "pocket",
    rounds: Annotated[int, typer.Option("--rounds", min=2, help="Rounds of annotation, with training in between.")] = 4,
    photos: Annotated[int, typer.Option("--photos", min=2, help="Photos annotated in each round.")] = 8,
    most_objects: Annotated[int, typer.Option("--most-objects", min=1, help="Maximum objects per photo.")] = 8,
    measured: Annotated[int, typer.Option("--measured", min=1, help="Number of images to score on.")] = 16,
    semi: Annotated[bool, typer.Option(help="Pre-annotate photos from the second round on.")] = True,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Random seed.")] = 0,
    options: RoundOptions = RoundOptions(),
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Run the loop with simulated annotators, on known masks.

    \b
    sam-hub engine simulate --truth train.tar --held val.tar --rounds 4 --out simulated

    The annotators click on the largest error until the mask's IoU is 0.90 or 20 clicks are made, and then draw the mask
    by hand; a second group does the same with the first model throughout. report.md and its plots show clicks per mask,
    masks accepted untouched and scores on images that nobody annotates, for each round. Rerun the same command to
    resume.
    """
    from dataclasses import asdict, replace

    from ..data.discovery import open_dataset
    from ..engine.simulate import Simulation
    from ..engine.simulate import simulate as run
    from ..engine.simulation_report import write_report
    from .loading import quiet_but_for_downloads

    quiet_but_for_downloads()
    settings = Simulation(
        str(truth), model, rounds, photos, most_objects, measured, str(held_truth or ""), semi, seed=seed,
        training=replace(options.settings(), seed=seed),
    )  # fmt: skip
    held = open_dataset(held_truth) if held_truth else None
    costs = run(open_dataset(truth), held, settings, out)
    written = write_report(out, settings, costs)
    if as_json:
        echo_json([asdict(one) for one in costs])
    else:
        echo_path(written)


@engine.command()
def status(
    folder: ProjectFolder,
    check: Annotated[bool, typer.Option("--check", help="Verify the project's file and every photo.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show progress, annotators, cost, and the scores of the models.

    \b
    sam-hub engine status cells
    sam-hub engine status cells --check

    --check also verifies the integrity of the file, and that every photo is there and unchanged; the exit code is 1 if
    something is wrong.
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
        typer.echo("The project is intact, and all photos are there.", err=True)


@engine.command()
def use(
    folder: ProjectFolder,
    round: Annotated[int, typer.Argument(metavar="ROUND", min=0, help="A round that `status` lists.")],
    debug: Debug = False,
) -> None:
    """Switch to the model of another round.

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
        typer.Argument(metavar="DATA", help="Annotations of the project's photos, in any format that `train` reads."),
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
    """Import masks drawn elsewhere, or an earlier export.

    \b
    sam-hub engine import cells annotations.json --images photos/
    sam-hub engine import cells from-labelme/ --replace

    Photos are matched by content, or else by name. A mask that nearly equals one in the project (IoU of 0.95) changes
    nothing; one that overlaps by half is a new version of it; others are new. Photos whose masks differ from them in
    size are listed and skipped, and the exit code is 1.
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
            f"{counted(found.photos, 'photo')}: {counted(found.new, 'new mask')}, {found.changed} changed, "
            f"{found.same} the same, {found.removed} removed"
        )
    if found.problems:
        raise typer.Exit(1)


@engine.command()
def export(
    folder: ProjectFolder,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="A new or empty folder.")],
    format: Annotated[Format, typer.Option("--format", help="Output format.")] = Format.sa1b,
    copy: Annotated[bool, typer.Option("--copy", help="Copy the photos instead of linking to them.")] = False,
    people_only: Annotated[bool, typer.Option("--people-only", help="Omit masks that the model made alone.")] = False,
    debug: Debug = False,
) -> None:
    """Write the accepted masks for training and for other tools.

    \b
    sam-hub engine export cells --format coco --out cells-coco
    """
    from ..engine.exporting import export as write

    with _opened(folder) as project:
        photos, masks = write(project, format.value, out, copy, not people_only)
    typer.echo(f"{counted(masks, 'mask')} of {counted(photos, 'photo')}", err=True)
    echo_path(out)


def _opened(folder: Path) -> "Project":
    from ..engine.store import Project

    return Project.open(folder)
