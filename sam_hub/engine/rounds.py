"""Rounds: trains on the accepted masks, and adopts the new model only if it is no worse on held-out photos."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ..data.discovery import Chosen
from ..data.inspection import Cleaned, split
from ..errors import DataError, SamHubError
from ..inference.opening import open_model
from ..inference.predictor import SamPredictor
from ..ops.wording import counted
from ..training.end_to_end import Examples, Source, run_fine_tuning
from ..training.recipe import FINE_TUNING
from ..training.run import FineTuning, tell
from ..training.validation import Validator
from .samples import ProjectSamples
from .store import Project

FOLDER = "rounds"


@dataclass(frozen=True)
class RoundSettings:
    """Training settings of a round; a resumed round keeps its original settings.

    val_share: share of the training photos used to pick the best checkpoint; held-out photos only score the result
    evaluations: number of validations in the run; val_images: photos for each
    held_images, held_objects: held-out photos, and objects in each, for scoring models
    """

    steps: int = 200
    rate: float = 3e-4
    batch: int = 2
    objects: int = 8
    views: int = 6
    freeze: Literal["encoder", "none"] = "encoder"
    lora: int = 0
    val_share: float = 0.15
    evaluations: int = 5
    val_images: int = 16
    held_images: int = 64
    held_objects: int = 16
    seed: int = 0
    bf16: bool = False


@dataclass(frozen=True)
class RoundResult:
    """round: number; taken: whether its model was adopted; before, after: scores of the starting model and of the
    trained model on held-out photos
    """

    round: int
    taken: bool
    before: dict[str, Any]
    after: dict[str, Any]


def model_source(project: Project, round: int | None = None) -> str:
    """Name or path of a round's model for `open_model`; default: the current round.

    raises: DataError if the round does not exist or its model is missing
    """
    round = project.setting("round") if round is None else round
    row = project.one("SELECT * FROM rounds WHERE round = ?", (round,))
    if row is None:
        last = project.rows("SELECT max(round) AS n FROM rounds")[0]["n"]
        raise DataError(f"{project.folder} has no round {round}; there are 0 to {last}")
    if round == 0:
        return row["model"]
    if not (project.folder / row["model"] / "config.json").is_file():
        raise DataError(f"the model of round {round} is not in {project.folder / row['model']}; train again")
    return str(project.folder / row["model"])


def use(project: Project, round: int) -> None:
    """Switch to the model of another round. raises: DataError"""
    row = project.one("SELECT finished FROM rounds WHERE round = ?", (round,))
    if row is not None and row["finished"] is None:
        raise DataError(f"round {round} is not finished; rerun `sam-hub engine train {project.folder}` to resume it")
    model_source(project, round)
    with project.writing() as db:
        db.execute("UPDATE settings SET value = ? WHERE key = 'round'", (json.dumps(round),))


def train(
    project: Project, settings: RoundSettings, device: str | None = None, say: Callable[[str], None] = tell
) -> RoundResult:
    """Train the next round, or resume an interrupted one.

    raises: DataError if there are too few accepted masks
    """
    round, parent, upto, settings = _begin(project, settings)
    learnt = ProjectSamples(project, project.annotated(False, upto), upto)
    held = ProjectSamples(project, project.annotated(True, upto), upto)
    out = project.folder / FOLDER / str(round)
    training, val = split(Cleaned(learnt), range(len(learnt)), settings.val_share, settings.seed)
    counts = {
        "train": len(training),
        "objects": sum(len(learnt.objects(i, learnt.photo(i).size)) for i in training.indices),
    }
    say(
        f"round {round}: {counted(counts['objects'], 'mask')} of {counted(len(training), 'photo')}, "
        f"{counted(len(held), 'photo')} held out"
    )
    if not (out / "config.json").is_file():
        _fit(project, parent, training, val, counts, settings, out, device)
    started = model_source(project, parent)
    before, after = (_score(source, held, settings, device, say) for source in (started, str(out)))
    taken = after["miou"] >= before["miou"]
    facts = {"settings": asdict(settings), "before": before, "after": after, "photos": len(learnt), **_masks(counts)}
    with project.writing() as db:
        db.execute(
            "UPDATE rounds SET finished = ?, taken = ?, facts = ? WHERE round = ?",
            (time.time(), taken, json.dumps(facts), round),
        )
        if taken:
            db.execute("UPDATE settings SET value = ? WHERE key = 'round'", (json.dumps(round),))
    return RoundResult(round, taken, before, after)


def _masks(counts: dict[str, int]) -> dict[str, int]:
    return {"masks": counts["objects"]}


def _begin(project: Project, settings: RoundSettings) -> tuple[int, int, int, RoundSettings]:
    """Number, parent, newest mask and settings of the unfinished round, or of a new one."""
    row = project.one("SELECT * FROM rounds WHERE finished IS NULL")
    if row is not None:
        begun = RoundSettings(**json.loads(row["facts"])["settings"])
        return row["round"], row["parent"], row["upto"], begun
    parent, upto = project.setting("round"), project.newest_mask()
    _check_enough(project, upto)
    with project.writing() as db:
        round = db.execute("SELECT max(round) + 1 AS n FROM rounds").fetchone()["n"]
        db.execute(
            "INSERT INTO rounds (round, model, parent, upto, began, facts) VALUES (?, ?, ?, ?, ?, ?)",
            (round, f"{FOLDER}/{round}", parent, upto, time.time(), json.dumps({"settings": asdict(settings)})),
        )
    return round, parent, upto, settings


def _check_enough(project: Project, upto: int) -> None:
    """raises: DataError, saying what to label first"""
    learnt, held = (len(project.annotated(held, upto)) for held in (False, True))
    if learnt < 2 or not held:
        raise DataError(
            f"{learnt} photos to train on and {held} held out have accepted masks; at least 2 and 1 are needed: "
            f"label more with `sam-hub engine label {project.folder}`"
        )
    last = project.rows("SELECT max(upto) AS upto FROM rounds")[0]["upto"]
    news = project.rows("SELECT count(*) AS n FROM masks WHERE id > ? AND state = 'accepted'", (last,))[0]["n"]
    if not news:
        raise DataError(f"no mask was accepted in {project.folder} since the last round; label some photos first")


def _fit(
    project: Project,
    parent: int,
    training: Chosen,
    val: Chosen,
    counts: dict[str, int],
    settings: RoundSettings,
    out: Path,
    device: str | None,
) -> None:
    recipe = replace(
        FINE_TUNING,
        steps=settings.steps,
        learning_rate=settings.rate,
        images=settings.batch,
        objects=settings.objects,
        warmup=min(FINE_TUNING.warmup, settings.steps // 5),
        seed=settings.seed,
    )
    tuning = FineTuning(
        model=project.setting("model"),
        data=project.folder.name,
        freeze=settings.freeze,
        lora=settings.lora,
        views=settings.views,
        recipe=recipe,
        bf16=settings.bf16,
        evaluations=settings.evaluations,
    )
    model = open_model(model_source(project, parent), device).float()
    source = Source(str(project.folder))
    run_fine_tuning(model, source, Examples(training, val, counts), tuning, out, settings.val_images)


def _score(
    source: str, held: ProjectSamples, settings: RoundSettings, device: str | None, say: Callable[[str], None]
) -> dict[str, Any]:
    say(f"scoring {source} on the photos held out")
    model = open_model(source, device).eval()
    scores = Validator(held, SamPredictor(model).processor, settings.held_images, settings.held_objects)(model)
    if not scores["miou"] == scores["miou"]:
        raise SamHubError(f"the scores of {source} are not finite; train again with a lower --rate")
    return scores
