"""Automatic annotation: pre-fills the next photos for annotators, or annotates all remaining photos without them.

Runs everything mode, in this process or on Ray; results stay in ``auto/`` until they are stored in the project.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from ..annotation.cluster import annotate_on_ray
from ..annotation.plan import PLAN, Sources, masks_path, read_plan
from ..annotation.run import Request, annotate_here, plan_run
from ..annotation.work import Outcome
from ..errors import DataError
from ..inference.image_predictor import ImagePredictor
from ..ops.images import read_image
from .photos import lose, what_changed
from .proposals import Confidence, full_arguments, semi_arguments
from .rounds import model_source
from .store import MaskVersion, PhotoRow, Project, photo_of

FOLDER = "auto"

Stage = Literal["semi", "full"]


@dataclass
class Filled:
    """photos, masks: numbers stored; problems: a sentence for each failed photo"""

    photos: int = 0
    masks: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Crew:
    """Where to run: on Ray (``ray``) or in this process. address, workers: see `annotate_on_ray`"""

    ray: bool = False
    address: str | None = None
    workers: int | None = None
    device: str | None = None


def waiting(project: Project, stage: Stage, count: int | None = None) -> list[PhotoRow]:
    """The next photos for the model, in queue order, without those that people have worked on.

    stage: "semi" also skips held-out photos, so that no model is scored on its own masks
    """
    round = project.setting("round")
    held = "AND held = 0" if stage == "semi" else ""
    rows = project.rows(
        f"SELECT * FROM photos p WHERE state = 'open' {held} AND (filled IS NULL OR filled != ? OR ? = 'full') AND NOT "
        "EXISTS (SELECT 1 FROM objects o WHERE o.photo = p.id AND o.state != 'proposed' AND o.stage != 'full' AND "
        "o.annotator != '') ORDER BY place LIMIT ?",
        (round, stage, -1 if count is None else count),
    )
    return [photo_of(row) for row in rows]


def fill(
    project: Project,
    photos: list[PhotoRow],
    stage: Stage,
    predictor: ImagePredictor,
    chosen: Confidence | None = None,
    crew: Crew = Crew(),
    tell: Callable[[Outcome], None] = lambda outcome: None,
) -> Filled:
    """Segment photos with the current round's model; each photo is stored completely or not at all, and only once.

    Results of an interrupted run are stored first.
    chosen: thresholds for the semi-automatic stage
    """
    home = project.folder / FOLDER
    found = Filled()
    for left in sorted(home.glob("*-*")) if home.is_dir() else ():
        _store_left(project, left, found)
    done = {row["id"] for row in project.rows("SELECT id FROM photos WHERE state != 'open'")}
    photos = [photo for photo in photos if photo.id not in done]
    sound = []
    for photo in photos:
        if why := what_changed(photo):
            lose(project, photo)
            found.problems.append(why)
        else:
            sound.append(photo)
    if not sound:
        return found
    round = project.setting("round")
    kind = predictor.encoder_kind
    arguments = semi_arguments(kind, chosen) if stage == "semi" else full_arguments(kind)
    name = hashlib.sha256(json.dumps([arguments, [p.id for p in sound]]).encode()).hexdigest()[:8]
    out = home / f"{round}-{stage}-{name}"
    sources = Sources(tuple(Path(photo.path) for photo in sound), str(Path(sound[0].path).anchor))
    request = Request(sources, out, model_source(project), crew.device, arguments=arguments, resume=True, preview=False)
    plan, task = plan_run(request, predictor)
    by_path = {photo.path: photo for photo in sound}
    by_name = {planned.name: by_path[planned.source] for planned in plan.photos}
    outcomes: Iterator[Outcome]
    if crew.ray:
        outcomes = annotate_on_ray(task, plan.pending, crew.address, crew.workers)
    else:
        outcomes = annotate_here(task, plan, predictor)
    with closing(outcomes):
        for outcome in outcomes:
            if outcome.error:
                found.problems.append(outcome.error)
            else:
                _store(project, by_name[outcome.name], masks_path(out, outcome.name), round, stage, found)
            tell(outcome)
    shutil.rmtree(out)
    return found


def fill_from_boxes(
    project: Project,
    photos: list[PhotoRow],
    find: Callable[[Any], list[dict[str, Any]]],
    detector: str,
    tell: Callable[[Outcome], None] = lambda outcome: None,
) -> Filled:
    """Pre-fill photos with masks from a detector's boxes; each photo is stored completely or not at all, and only once.

    find: image (H, W, 3) uint8 -> records of `sam_hub.engine.detector.masks_of`
    """
    found, round = Filled(), project.setting("round")
    model = project.one("SELECT model FROM rounds WHERE round = ?", (round,))["model"]
    for photo in photos:
        began = perf_counter()
        if why := what_changed(photo):
            lose(project, photo)
            found.problems.append(why)
            continue
        records = find(read_image(photo.path))
        versions = [
            MaskVersion(
                f"boxes:{round}:{photo.id}:{number}",
                f"boxes-{round}-{number}",
                "proposed",
                record["segmentation"],
                "semi",
                round,
                model,
                "",
                prompts={"box": record["box"], "detector": detector},
                score=record["predicted_iou"],
            )
            for number, record in enumerate(records)
        ]
        if project.propose(photo, versions, round):
            found.photos += 1
            found.masks += len(versions)
        tell(Outcome(Path(photo.path).name, len(versions), perf_counter() - began))
    return found


def _store_left(project: Project, folder: Path, found: Filled) -> None:
    """Store the results of an interrupted run, then delete its folder."""
    round, stage, _ = folder.name.split("-")
    plan = read_plan(folder) if (folder / PLAN).is_file() else None
    for image in plan["images"] if plan else ():
        path = masks_path(folder, image["name"])
        row = project.one("SELECT * FROM photos WHERE path = ?", (image["source"],))
        if path.is_file() and row is not None:
            _store(project, photo_of(row), path, int(round), stage, found)
    shutil.rmtree(folder)


def _store(project: Project, photo: PhotoRow, file: Path, round: int, stage: Stage, found: Filled) -> None:
    if why := what_changed(photo):
        lose(project, photo)
        found.problems.append(why)
        return
    model = project.one("SELECT model FROM rounds WHERE round = ?", (round,))["model"]
    records: list[dict[str, Any]] = json.loads(file.read_text("ascii"))["annotations"]
    versions = [
        MaskVersion(
            f"{stage}:{round}:{photo.id}:{record['id']}",
            f"{stage}-{round}-{record['id']}",
            "proposed" if stage == "semi" else "accepted",
            record["segmentation"],
            stage,
            round,
            model,
            "",
            prompts={"points": record["point_coords"], "labels": [1] * len(record["point_coords"])},
            score=record["predicted_iou"],
        )
        for record in records
    ]
    try:
        if project.propose(photo, versions, round, "auto" if stage == "full" else "open", again=stage == "full"):
            found.photos += 1
            found.masks += len(versions)
    except DataError as e:
        found.problems.append(f"{photo.path}: {e}")
