"""Proposals and the fully automatic stage, on photos of discs, with stubs for models."""

import json

import numpy as np
import pytest

from sam_hub.annotation.work import Outcome
from sam_hub.data.sa1b import Sample
from sam_hub.engine import automatic, proposals
from sam_hub.engine.automatic import fill, waiting
from sam_hub.engine.proposals import Confidence, full_arguments, thresholds_for
from sam_hub.engine.queue import Queue
from sam_hub.engine.status import problems, status
from sam_hub.ops.masks import mask_to_rle
from sam_hub.results import json_bytes, sa1b_document

from .conftest import SIZE, blob, version


class Generator:
    """Everything mode that finds `blob`s: those of even numbers are right, and surer where ``sure`` says so."""

    def __init__(self, predictor, output_mode, **arguments):
        self.arguments = arguments

    def generate(self, image, progress=None):
        number = int(image[0, 0, 0])
        found = [(blob(number), 0.9, 0.95), (blob(number + 50), 0.62, 0.95), (blob(number + 90), 0.45, 0.7)]
        return [{"segmentation": mask_to_rle(m), "predicted_iou": i, "stability_score": s} for m, i, s in found]


class Stub:
    encoder_kind = "sam_hub_pocket"


def samples(count):
    made = []
    for number in range(count):
        image = np.full((*SIZE, 3), number, np.uint8)
        truth = [{"segmentation": mask_to_rle(blob(number))}, {"segmentation": mask_to_rle(blob(number + 50))}]
        made.append(Sample(f"{number}.png", image, truth[: 1 + number % 2]))
    return made


@pytest.mark.parametrize(("precision", "iou", "reached"), [(0.99, 0.9, 1.0), (0.7, 0.6, 0.75)])
def test_the_lowest_thresholds_that_are_right_often_enough(monkeypatch, precision, iou, reached):
    monkeypatch.setattr(proposals, "SamAutomaticMaskGenerator", Generator)
    chosen = thresholds_for(Stub(), samples(6), samples(4)[1:], precision)
    assert chosen.pred_iou_thresh <= iou < chosen.pred_iou_thresh + 0.31
    assert chosen.precision == reached >= precision
    assert chosen.stability_score_offset == 0.5, "the family's own"
    assert chosen.held_precision is not None and f"{chosen.held_precision:.2f} of {chosen.held_kept}" in chosen.words()


def test_the_paper_s_preset():
    original = full_arguments("sam_vision_model")
    assert original == {
        "points_per_side": 32, "crop_n_layers": 2, "crop_n_points_downscale_factor": 2, "box_nms_thresh": 0.7,
        "crop_nms_thresh": 0.7, "max_mask_area_ratio": 0.95, "min_mask_region_area": 100,
        "pred_iou_thresh": 0.88, "stability_score_thresh": 0.95, "stability_score_offset": 1.0,
    }  # fmt: skip
    pocket = full_arguments("sam_hub_pocket")
    assert pocket["pred_iou_thresh"] < 0.88 and pocket["stability_score_thresh"] < 0.95
    assert pocket["points_per_side"] == 32 and pocket["crop_n_layers"] == 2


@pytest.fixture
def crew(monkeypatch):
    """`fill` with a worker that writes what everything mode would; ``stop`` raises after so many photos."""

    class Task:
        stop, seen = 10**9, []

    def plan_run(request, predictor):
        Task.arguments = request.arguments
        return automatic_plan(request), None

    def automatic_plan(request):
        from sam_hub.annotation.plan import make_plan

        return make_plan(request.sources, request.out, {"model": "stub"}, request.resume)

    def annotate_here(task, plan, predictor):
        for photo in plan.pending:
            if len(Task.seen) >= Task.stop:
                raise KeyboardInterrupt
            Task.seen.append(photo.source)
            records = [
                {"id": n, "segmentation": mask_to_rle(blob(n)), "predicted_iou": 0.8, "point_coords": [[3.5, 4.5]]}
                for n in (1, 2)
            ]
            path = automatic.masks_path(plan.out, photo.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(json_bytes(sa1b_document(photo.file_name, SIZE, records)))
            if len(Task.seen) == Task.stop:
                raise KeyboardInterrupt  # computed, and not yet in the project
            yield Outcome(photo.name, 2)

    monkeypatch.setattr(automatic, "plan_run", plan_run)
    monkeypatch.setattr(automatic, "annotate_here", annotate_here)
    Task.seen, Task.stop = [], 10**9
    return Task


CHOSEN = Confidence(0.6, 0.8, 0.5, 0.9, 10, 0.8, 5)


def test_semi_fills_the_next_photos_but_those_held_out(make_project, crew):
    project = make_project(12, held_share=0.3)
    held = {row["id"] for row in project.rows("SELECT id FROM photos WHERE held")}
    queue = Queue(project)
    mine = queue.next("me", "ann")
    wanted = waiting(project, "semi", 5)
    found = fill(project, wanted, "semi", Stub(), CHOSEN)
    filled = {row["id"] for row in project.rows("SELECT id FROM photos WHERE filled = 0")}
    assert held and filled == {p.id for p in wanted} - {mine.id} and not filled & held
    assert (found.photos, found.masks) == (len(filled), 2 * len(filled))
    assert crew.arguments["pred_iou_thresh"] == 0.6 and "crop_n_layers" not in crew.arguments
    rows = project.objects(min(filled))
    assert {(r["state"], r["stage"], r["annotator"]) for r in rows} == {("proposed", "semi", "")}
    assert json.loads(rows[0]["prompts"]) == {"points": [[3.5, 4.5]], "labels": [1]}
    assert not filled & {p.id for p in waiting(project, "semi", 100)}, "once a round"
    assert not (project.folder / "auto" / "0-semi").exists() and not problems(project)


def test_full_does_all_that_is_left_and_says_whose_it_is(make_project, crew):
    project = make_project(8)
    project.save(project.photo(1), version("r"))
    Queue(project).take(1, "me", "ann")
    Queue(project).finish(1, "me", "ann", "done")
    found = fill(project, waiting(project, "full"), "full", Stub())
    assert found.photos == 7 and status(project)["photos"]["auto"] == 7
    assert crew.arguments["crop_n_layers"] == 2
    rows = project.objects(2)
    assert {(r["state"], r["stage"], r["annotator"]) for r in rows} == {("accepted", "full", "")}
    assert [r["stage"] for r in project.objects(1)] == ["assisted"]
    assert fill(project, waiting(project, "full"), "full", Stub()).photos == 0
    assert status(project)["annotators"][0]["masks"] == 1, "the model is no annotator"


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_stopped_and_run_again_nothing_is_lost_or_twice(make_project, crew, stop):
    project = make_project(8)
    crew.stop = stop
    with pytest.raises(KeyboardInterrupt):
        fill(project, waiting(project, "full"), "full", Stub())
    crew.stop = 10**9
    found = fill(project, waiting(project, "full"), "full", Stub())
    assert found.photos == 8 - (stop - 1)
    assert len(crew.seen) == len(set(crew.seen)) == 8, "what was computed is not computed again"
    assert project.rows("SELECT count(*) AS n FROM masks")[0]["n"] == 16 and not problems(project)
    assert list((project.folder / "auto").iterdir()) == []


def test_a_photo_that_changed_is_lost_and_the_rest_goes_on(make_project, crew):
    from pathlib import Path

    project = make_project(4)
    Path(project.photo(2).path).write_bytes(b"other")
    found = fill(project, waiting(project, "full"), "full", Stub())
    assert found.photos == 3 and "has changed since it was added" in found.problems[0]
    assert project.photo(2).state == "lost"
