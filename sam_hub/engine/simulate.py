"""The loop with simulated people on a data set whose truth is known: does it pay?

Real parts do the work: a project, its queue, its store, its rounds of training. Only the people are simulated
(`sam_hub.engine.annotator`). Beside them others annotate the same objects with the first model throughout.
"""

import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..data.sa1b import Sample
from ..errors import DataError, OutputError
from ..evaluation.evaluate import Protocol, evaluate_shard
from ..evaluation.metrics import mask_iou
from ..evaluation.report import summarise
from ..inference.opening import open_model
from ..inference.predictor import SamPredictor
from ..ops.files import make_folder, write_atomically
from ..ops.masks import mask_to_rle, rle_to_mask
from ..results import json_bytes, png
from ..training.run import tell
from . import photos
from .annotator import Drawn, Patience, draw
from .proposals import confident_masks, thresholds_for
from .queue import Queue
from .rounds import RoundSettings, model_source, train
from .samples import ProjectSamples
from .store import MaskVersion, PhotoRow, Project

PROJECT, PHOTOS, STATE = "project", "photos", "simulation.json"
HOLDER = "simulated"


@dataclass(frozen=True)
class Simulation:
    """Settings, which a run that is resumed must have again.

    photos: that are annotated in each round; objects: of each photo at most
    held: images of the truth that no round learns from, on which every round's model is scored
    semi: from the second round on photos come pre-filled with confident masks
    """

    truth: str
    model: str = "pocket"
    rounds: int = 4
    photos: int = 8
    objects: int = 8
    held: int = 16
    held_truth: str = ""
    semi: bool = True
    seed: int = 0
    patience: Patience = field(default_factory=Patience)
    training: RoundSettings = field(default_factory=RoundSettings)


@dataclass
class RoundCosts:
    """What a round has cost the people.

    objects: that were asked for; clicks: on them and on proposals that had to go; poor: given up
    first: masks that were good after the first click; proposed, untouched: masks of the model, and those of them that
    were good as they were; baseline_*: the same with the first model and without proposals
    scores: of the round's model on the images held out
    """

    round: int
    objects: int = 0
    clicks: int = 0
    poor: int = 0
    first: int = 0
    proposed: int = 0
    untouched: int = 0
    extra: int = 0
    drawn: int = 0
    drawn_clicks: int = 0
    baseline_clicks: int = 0
    baseline_first: int = 0
    baseline_poor: int = 0
    same_clicks: int = 0
    scores: dict[str, Any] = field(default_factory=dict)
    taken: bool = True
    done: bool = False


def simulate(
    dataset: Sequence, held: Sequence | None, settings: Simulation, out: Path, say: Callable[[str], None] = tell
) -> list[RoundCosts]:
    """Run the rounds, or go on where a run was stopped; `report` tells what they cost.

    dataset: samples with all their objects; held: others to measure on, by default drawn from ``dataset``
    raises: OutputError for a folder with other things in it, DataError where there are too few images
    """
    make_folder(out)
    state = _resume(out, settings)
    pool, judges = _divide(dataset, held, settings)
    folder = out / PHOTOS
    _write_photos(pool, folder)
    with Project.create(out / PROJECT, settings.model, held_share=0.25, seed=settings.seed) as project:
        photos.add(project, photos.find([folder], out / PROJECT))
        first = _predictor(settings.model)
        for number in range(settings.rounds):
            costs = state[number] if number < len(state) else RoundCosts(number)
            if not costs.done:
                source = model_source(project)
                if not costs.scores:
                    say(f"round {number}: scoring {source}")
                    costs.scores = _score(_predictor(source), judges)
                    _store(out, settings, state, costs)
                costs = _annotate(project, pool, first, settings, RoundCosts(number, scores=costs.scores), say)
                costs.done = True
                _store(out, settings, state, costs)
            if number + 1 < settings.rounds and not _trained(project, number + 1):
                result = train(project, settings.training, "cpu", say)
                say(f"round {number + 1}: {'taken' if result.taken else 'not taken'}")
    return state


def _trained(project: Project, round: int) -> bool:
    return project.one("SELECT 1 FROM rounds WHERE round = ? AND finished IS NOT NULL", (round,)) is not None


def _divide(dataset: Sequence, held: Sequence | None, settings: Simulation) -> tuple[dict[str, tuple], list[Sample]]:
    """Name of the photo -> its data set and index; and the samples that judge."""
    order = np.random.default_rng(settings.seed).permutation(len(dataset)).tolist()
    wanted = settings.rounds * settings.photos
    if held is None:
        judged, order = order[: settings.held], order[settings.held :]
        judges = [dataset[i] for i in sorted(judged)]
    else:
        chosen = np.random.default_rng(settings.seed).permutation(len(held))[: settings.held]
        judges = [held[i] for i in sorted(chosen.tolist())]
    if len(order) < wanted or not judges:
        raise DataError(
            f"{settings.truth} has {len(dataset)} images; {settings.rounds} rounds of {settings.photos} and "
            f"{settings.held} to measure on need more: lower --photos or --held"
        )
    return {f"{i:05d}.png": (dataset, i) for i in order[:wanted]}, judges


def _write_photos(pool: dict[str, tuple], folder: Path) -> None:
    make_folder(folder)
    for name, (dataset, index) in pool.items():
        if not (folder / name).is_file():
            write_atomically(folder / name, png(dataset[index].image))


def _predictor(source: str) -> SamPredictor:
    return SamPredictor(open_model(source, "cpu"), cache_size=2)


class _Judges(list):
    """Samples in memory, as a data set."""

    name, path = "held out", Path("held out")


def _score(predictor: SamPredictor, judges: list[Sample]) -> dict[str, Any]:
    protocol = Protocol(max_objects=8, baselines=False)
    scores = evaluate_shard(predictor, _Judges(judges), protocol)
    return {**summarise(scores.objects, protocol.clicks), "objects": len(scores.objects), "images": scores.images}


def _annotate(
    project: Project,
    pool: dict[str, tuple],
    first: SamPredictor,
    settings: Simulation,
    costs: RoundCosts,
    say: Callable[[str], None],
) -> RoundCosts:
    """One round of people: the next photos of the queue. Photos that a stopped run has done are done again, alike."""
    round = project.setting("round")
    current = _predictor(model_source(project))
    chosen = None
    if settings.semi and costs.round:
        learnt = ProjectSamples(project, project.annotated(False))
        judged = ProjectSamples(project, project.annotated(True))
        chosen = thresholds_for(current, learnt, judged)
        say(f"round {costs.round}: {chosen.words()}")
    queue = Queue(project)
    for photo in _photos_of(project, costs.round, settings.photos):
        queue.take(photo.id, HOLDER, HOLDER)
        dataset, index = pool[Path(photo.path).name]
        sample = dataset[index]
        truths = [mask for i in range(len(sample.annotations)) if (mask := sample.mask(i)).any()]
        drawn_ones = Protocol(seed=settings.seed, max_objects=settings.objects).objects(index, len(truths))
        asked = [truths[i] for i in drawn_ones]
        proposals = confident_masks(current, sample.image, chosen) if chosen and not photo.held else []
        _one_photo(project, photo, sample, truths, asked, (first, current), proposals, round, settings.patience, costs)
        queue.finish(photo.id, HOLDER, HOLDER, "done")
        say(
            f"round {costs.round}: {Path(photo.path).name}  {costs.objects} objects, {costs.clicks} clicks "
            f"(first model {costs.baseline_clicks})"
        )
    return costs


def _photos_of(project: Project, round: int, count: int) -> list[PhotoRow]:
    """Those of a round, in the order of the queue, whatever a stopped run has done of them."""
    rows = project.rows("SELECT id FROM photos ORDER BY place LIMIT ? OFFSET ?", (count, round * count))
    return [project.photo(row["id"]) for row in rows]


def _one_photo(
    project: Project,
    photo: PhotoRow,
    sample: Sample,
    truths: list[np.ndarray],
    asked: list[np.ndarray],
    predictors: tuple[SamPredictor, SamPredictor],
    proposals: list[dict[str, Any]],
    round: int,
    patience: Patience,
    costs: RoundCosts,
) -> None:
    first, current = predictors
    model = project.one("SELECT model FROM rounds WHERE round = ?", (round,))["model"]
    covered, versions = _judge(proposals, truths, asked, patience, costs)
    stage = "semi" if proposals else "assisted"
    for number, (state, record) in enumerate(versions):
        object = f"m{photo.id}-{number}"
        mask = record["segmentation"]
        base = {"rle": mask, "round": round, "model": model, "score": record["predicted_iou"]}
        for at, told in (("proposed", "proposed"), (state, state)):
            clicks = int(at == "removed")
            name = f"{object}-{round}-{told}"
            project.save(photo, MaskVersion(name, object, at, stage="semi", annotator=HOLDER, clicks=clicks, **base))
    left = [truth for truth, done in zip(asked, covered, strict=True) if not done]
    first.set_image(sample.image)
    baseline = draw(first, asked, patience)
    if left and current is not first:
        current.set_image(sample.image)
    mine = draw(current, left, patience) if left else []
    costs.objects += len(asked)
    costs.baseline_clicks += sum(d.clicks for d in baseline)
    costs.baseline_first += sum(d.clicks == 1 and d.iou >= patience.good for d in baseline)
    costs.baseline_poor += sum(d.iou < patience.poor for d in baseline)
    costs.same_clicks += sum(d.clicks for d, done in zip(baseline, covered, strict=True) if not done)
    for number, one in enumerate(mine):
        _count(one, patience, costs)
        if one.iou >= patience.poor:
            project.save(
                photo,
                MaskVersion(
                    f"p{photo.id}-{number}-{round}",
                    f"p{photo.id}-{number}",
                    "accepted",
                    mask_to_rle(one.mask),
                    stage,
                    round,
                    model,
                    HOLDER,
                    prompts={"points": [p[:2] for p in one.points], "labels": [p[2] for p in one.points]},
                    score=one.score,
                    clicks=one.clicks,
                ),
            )


def _count(one: Drawn, patience: Patience, costs: RoundCosts) -> None:
    costs.clicks += one.clicks
    costs.drawn += 1
    costs.drawn_clicks += one.clicks
    costs.poor += one.iou < patience.poor
    costs.first += one.clicks == 1 and one.iou >= patience.good


def _judge(
    proposals: list[dict[str, Any]],
    truths: list[np.ndarray],
    asked: list[np.ndarray],
    patience: Patience,
    costs: RoundCosts,
) -> tuple[list[bool], list[tuple[str, dict[str, Any]]]]:
    """Which of the objects asked for a proposal covers, and what becomes of each proposal.

    A proposal that is good for any object is accepted as it is. One of an object that is asked for, or of none, is
    removed by one click; others, of objects that nobody asked for, are left as they are and cost nothing.
    """
    covered, versions = [False] * len(asked), []
    for record in proposals:
        mask = rle_to_mask(record["segmentation"])
        of_asked = [float(mask_iou(mask, truth)) for truth in asked]
        best = max((float(mask_iou(mask, truth)) for truth in truths), default=0.0)
        costs.proposed += 1
        at = int(np.argmax(of_asked)) if of_asked else -1
        if best >= patience.good:
            costs.untouched += 1
            if of_asked and of_asked[at] >= patience.good and not covered[at]:
                covered[at] = True
            else:
                costs.extra += 1
            versions.append(("accepted", record))
        else:
            costs.clicks += 1
            versions.append(("removed", record))
    return covered, versions


def _resume(out: Path, settings: Simulation) -> list[RoundCosts]:
    file = out / STATE
    if not file.is_file():
        if any(name not in (PHOTOS, PROJECT) and not name.startswith(".") for name in os.listdir(out)):
            raise OutputError(f"{out} is not empty; choose another folder with --out")
        return []
    with suppress(ValueError, KeyError, TypeError):
        found = json.loads(file.read_text())
        if found["settings"] == json.loads(json_bytes(asdict(settings))):
            return [RoundCosts(**costs) for costs in found["rounds"]]
    raise OutputError(f"{out} holds a simulation with other settings; give the same, or choose another --out")


def _store(out: Path, settings: Simulation, state: list[RoundCosts], costs: RoundCosts) -> None:
    del state[costs.round :]
    state.append(costs)
    document = {"settings": asdict(settings), "rounds": [asdict(c) for c in state]}
    write_atomically(out / STATE, json_bytes(document))
