"""Simulates the data engine on a data set with ground truth, to see whether it saves work.

The project, queue, store and training rounds are real; only the annotators are simulated (`sam_hub.engine.annotator`).
As a baseline, the same objects are also annotated with the first model in every round.
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
from ..ops.wording import counted
from ..results import json_bytes, png
from ..training.run import tell
from . import photos
from .annotator import Drawn, Patience, draw
from .proposals import confident_masks, thresholds_for
from .queue import Queue
from .rounds import RoundResult, RoundSettings, model_source, train
from .samples import ProjectSamples
from .store import MaskVersion, PhotoRow, Project

PROJECT, PHOTOS, STATE = "project", "photos", "simulation.json"
HOLDER = "simulated"


@dataclass(frozen=True)
class Simulation:
    """Settings; a resumed run must use the same ones.

    photos: number annotated per round; objects: maximum per photo
    held: number of images kept out of training, on which every round's model is scored
    semi: from the second round on, pre-fill photos with confident masks; their thresholds are chosen on ``judged``
    annotated photos
    """

    truth: str
    model: str = "pocket"
    rounds: int = 4
    photos: int = 8
    objects: int = 8
    held: int = 16
    held_truth: str = ""
    semi: bool = True
    judged: int = 4
    seed: int = 0
    patience: Patience = field(default_factory=Patience)
    training: RoundSettings = field(default_factory=RoundSettings)


@dataclass
class RoundCosts:
    """The annotators' cost of a round.

    objects: number of requested objects; clicks: on them, plus one for each rejected proposal
    untouched: proposals accepted unchanged, at no cost; covered: requested objects that a proposal covers
    first: clicked objects that were good after one click; by_hand: those not good after the last click
    drawn, drawn_clicks: objects that needed clicks, and the clicks on them
    same_clicks: clicks with the first model on the same objects; baseline_*: the first model on all, without proposals
    scores: of the round's model on held-out images; confidence: description of the proposals' thresholds
    done, trained: whether all photos are annotated, and the next round's model is trained
    """

    round: int
    objects: int = 0
    clicks: int = 0
    proposed: int = 0
    untouched: int = 0
    covered: int = 0
    drawn: int = 0
    drawn_clicks: int = 0
    first: int = 0
    by_hand: int = 0
    same_clicks: int = 0
    baseline_clicks: int = 0
    baseline_first: int = 0
    baseline_by_hand: int = 0
    model: str = ""
    scores: dict[str, Any] = field(default_factory=dict)
    confidence: str = ""
    done: bool = False
    trained: bool = False


def simulate(
    dataset: Sequence, held: Sequence | None, settings: Simulation, out: Path, say: Callable[[str], None] = tell
) -> list[RoundCosts]:
    """Run the rounds, or resume an interrupted run; see `report` for the summary.

    dataset: samples with all their objects; held: samples for scoring; default: taken from ``dataset``
    raises: OutputError if the folder holds other files, DataError if there are too few images
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
                costs = RoundCosts(number, scores=costs.scores, model=Path(source).name)
                _annotate(project, pool, first, settings, costs, say)
                costs.done = True
                _store(out, settings, state, costs)
            if number + 1 < settings.rounds and not costs.trained:
                try:
                    result = train(project, settings.training, "cpu", say)
                    say(f"round {number + 1}: {'taken' if result.taken else 'not taken'}: {_told(result)}")
                except DataError as e:  # too few masks yet: the next round continues with the same model
                    say(f"round {number + 1}: not trained: {e}")
                costs.trained = True
                _store(out, settings, state, costs)
    return state


def _told(result: RoundResult) -> str:
    return f"mIoU {result.before['miou']:.3f} -> {result.after['miou']:.3f} on the project's photos held out"


def _divide(dataset: Sequence, held: Sequence | None, settings: Simulation) -> tuple[dict[str, tuple], list[Sample]]:
    """Photo name -> its data set and index; and the samples used for scoring."""
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
) -> None:
    """Simulate one round of annotation on the next photos; photos of an interrupted round are repeated identically."""
    round = project.setting("round")
    current = _predictor(model_source(project)) if round else first
    chosen = None
    if settings.semi and costs.round:
        learnt = ProjectSamples(project, project.annotated(False))
        judged = ProjectSamples(project, project.annotated(True))
        chosen = thresholds_for(current, learnt, judged, most=settings.judged)
        costs.confidence = chosen.words()
        say(f"round {costs.round}: {costs.confidence}")
    queue, sampled = Queue(project), Protocol(seed=settings.seed, max_objects=settings.objects)
    for photo in _photos_of(project, costs.round, settings.photos):
        queue.take(photo.id, HOLDER, HOLDER)
        dataset, index = pool[Path(photo.path).name]
        sample = dataset[index]
        truths = [mask for i in range(len(sample.annotations)) if (mask := sample.mask(i)).any()]
        asked = [truths[i] for i in sampled.objects(index, len(truths))]
        desk = Desk(project, photo, round, settings.patience, costs)
        proposals = confident_masks(current, sample.image, chosen) if chosen and not photo.held else []
        covered = desk.judge(proposals, truths, asked)
        baseline = desk.compare(first, sample.image, asked, covered)
        left = [truth for truth, done in zip(asked, covered, strict=True) if not done]
        drawn = [one for one, done in zip(baseline, covered, strict=True) if not done]
        if current is not first:
            current.set_image(sample.image)
            drawn = draw(current, left, settings.patience)
        desk.keep(drawn, left, bool(proposals))
        queue.finish(photo.id, HOLDER, HOLDER, "done")
        say(
            f"round {costs.round}: {Path(photo.path).name}  {counted(costs.objects, 'object')}, "
            f"{counted(costs.clicks, 'click')} (first model {costs.baseline_clicks})"
        )


def _photos_of(project: Project, round: int, count: int) -> list[PhotoRow]:
    """The photos of a round, in queue order, including those that an interrupted run finished."""
    rows = project.rows("SELECT id FROM photos ORDER BY place LIMIT ? OFFSET ?", (count, round * count))
    return [project.photo(row["id"]) for row in rows]


@dataclass
class Desk:
    """The simulated annotator's work on one photo; adds its costs to ``costs``."""

    project: Project
    photo: PhotoRow
    round: int
    patience: Patience
    costs: RoundCosts

    def judge(self, proposals: list[dict[str, Any]], truths: list[np.ndarray], asked: list[np.ndarray]) -> list[bool]:
        """Whether each requested object is covered by a proposal; accepts or removes the proposals.

        Proposals that match any object are accepted unchanged; each other one is removed with one click.
        """
        covered = [False] * len(asked)
        for number, record in enumerate(proposals):
            mask = rle_to_mask(record["segmentation"])
            good = max((float(mask_iou(mask, truth)) for truth in truths), default=0.0) >= self.patience.good
            for i, truth in enumerate(asked):
                covered[i] |= float(mask_iou(mask, truth)) >= self.patience.good
            self.costs.proposed += 1
            self.costs.untouched += good
            self.costs.clicks += not good
            object = f"m{self.photo.id}-{number}"
            for state in ("proposed", "accepted" if good else "removed"):
                self._save(object, state, mask, "semi", record["predicted_iou"], clicks=int(state == "removed"))
        self.costs.objects += len(asked)
        self.costs.covered += sum(covered)
        return covered

    def compare(
        self, first: SamPredictor, image: np.ndarray, asked: list[np.ndarray], covered: list[bool]
    ) -> list[Drawn]:
        """Annotate the same objects with the first model, as the baseline."""
        first.set_image(image)
        baseline, costs = draw(first, asked, self.patience), self.costs
        costs.baseline_clicks += sum(d.clicks for d in baseline)
        costs.baseline_first += sum(d.clicks == 1 and d.iou >= self.patience.good for d in baseline)
        costs.baseline_by_hand += sum(d.iou < self.patience.good for d in baseline)
        costs.same_clicks += sum(d.clicks for d, done in zip(baseline, covered, strict=True) if not done)
        return baseline

    def keep(self, drawn: list[Drawn], truths: list[np.ndarray], semi: bool) -> None:
        """Store the clicked masks; those not good after the last click count as drawn by hand: the truth is stored."""
        for number, (one, truth) in enumerate(zip(drawn, truths, strict=True)):
            good = one.iou >= self.patience.good
            self.costs.clicks += one.clicks
            self.costs.drawn += 1
            self.costs.drawn_clicks += one.clicks
            self.costs.first += good and one.clicks == 1
            self.costs.by_hand += not good
            prompts = {"points": [p[:2] for p in one.points], "labels": [p[2] for p in one.points]}
            object, mask = f"p{self.photo.id}-{number}", one.mask if good else truth
            stage = "semi" if semi else "assisted"
            self._save(object, "accepted", mask, stage, one.score, clicks=one.clicks, prompts=prompts)

    def _save(self, object: str, state: str, mask: np.ndarray, stage: str, score: float, **more: Any) -> None:
        model = self.project.one("SELECT model FROM rounds WHERE round = ?", (self.round,))["model"]
        version = MaskVersion(
            f"{object}-{state}", object, state, mask_to_rle(mask), stage, self.round, model, HOLDER, score=score, **more
        )
        self.project.save(self.photo, version)


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
    raise OutputError(f"{out} holds a simulation with other settings; use the same, or choose another --out")


def _store(out: Path, settings: Simulation, state: list[RoundCosts], costs: RoundCosts) -> None:
    del state[costs.round :]
    state.append(costs)
    document = {"settings": asdict(settings), "rounds": [asdict(c) for c in state]}
    write_atomically(out / STATE, json_bytes(document))
