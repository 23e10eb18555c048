"""Rounds: training data, choice of the model, and what is kept. Models are stubs here."""

import json

import pytest

from sam_hub.engine import rounds
from sam_hub.engine.rounds import RoundSettings, model_source, train, use
from sam_hub.engine.samples import ProjectSamples
from sam_hub.engine.status import as_text, status
from sam_hub.errors import DataError

from .conftest import version


class Trainer:
    """Writes a model's folder in place of training; scores by the round of the model."""

    def __init__(self) -> None:
        self.seen, self.scores, self.fails = [], {}, 0

    def fit(self, project, parent, training, val, counts, settings, out, device):
        self.seen.append((parent, sorted(s.name for s in training), sorted(s.name for s in val), counts, settings))
        if self.fails:
            self.fails -= 1
            raise KeyboardInterrupt
        out.mkdir(parents=True)
        (out / "config.json").write_text("{}")

    def score(self, source, held, settings, device, say):
        return {"miou": self.scores.get(source.rpartition("/")[2], 0.5), "click_1": 0.4, "box": 0.6, "n": len(held)}


@pytest.fixture
def trainer(monkeypatch):
    trainer = Trainer()
    monkeypatch.setattr(rounds, "_fit", trainer.fit)
    monkeypatch.setattr(rounds, "_score", trainer.score)
    return trainer


@pytest.fixture
def annotated(make_project):
    """12 photos with a mask each; photo 1 to 3 are held out."""
    project = make_project(12)
    with project.writing() as db:
        db.execute("UPDATE photos SET held = (id <= 3)")
    for photo in range(1, 13):
        project.save(project.photo(photo), version(f"r{photo}", seed=photo))
    return project


def held_names(project):
    return {row["path"].rpartition("/")[2] for row in project.rows("SELECT path FROM photos WHERE held")}


def test_photos_held_out_never_train(annotated, trainer):
    result = train(annotated, RoundSettings(), say=lambda text: None)
    (_, learnt, val, counts, _) = trainer.seen[0]
    assert not held_names(annotated) & {*learnt, *val} and len(learnt) + len(val) == 9
    assert counts == {"train": len(learnt), "objects": len(learnt)}
    assert result.before["n"] == result.after["n"] == 3


@pytest.mark.parametrize(("after", "taken"), [(0.6, True), (0.5, True), (0.49, False)])
def test_taken_only_where_no_worse(annotated, trainer, after, taken):
    trainer.scores = {"pocket": 0.5, "1": after}
    result = train(annotated, RoundSettings(), say=lambda text: None)
    assert result.taken is taken and annotated.setting("round") == int(taken)
    found = status(annotated)["rounds"][1]
    assert found["taken"] is taken and found["after"]["miou"] == after and found["settings"]["steps"] == 200
    assert ("not taken" in as_text(status(annotated))) is not taken


def test_stopped_and_resumed_with_what_it_began_with(annotated, trainer):
    trainer.fails = 1
    with pytest.raises(KeyboardInterrupt):
        train(annotated, RoundSettings(steps=7), say=lambda text: None)
    annotated.save(annotated.photo(4), version("late", "late", seed=40))
    with pytest.raises(DataError, match="round 1 is not finished; rerun"):
        use(annotated, 1)
    result = train(annotated, RoundSettings(steps=99), say=lambda text: None)
    assert result.round == 1 and [seen[4].steps for seen in trainer.seen] == [7, 7]
    assert trainer.seen[0][3] == trainer.seen[1][3], "what was accepted meanwhile waits for the next round"
    assert train(annotated, RoundSettings(), say=lambda text: None).round == 2
    assert sum(seen[3]["objects"] for seen in trainer.seen[2:]) >= trainer.seen[0][3]["objects"]


def test_killed_between_training_and_scoring(annotated, trainer, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(rounds, "_score", killed)
    with pytest.raises(KeyboardInterrupt):
        train(annotated, RoundSettings(), say=lambda text: None)
    monkeypatch.setattr(rounds, "_score", trainer.score)
    assert train(annotated, RoundSettings(), say=lambda text: None).round == 1
    assert len(trainer.seen) == 1, "not trained twice"


def test_use_goes_back_and_forth(annotated, trainer):
    train(annotated, RoundSettings(), say=lambda text: None)
    assert model_source(annotated) == str(annotated.folder / "rounds" / "1")
    use(annotated, 0)
    assert model_source(annotated) == "pocket"
    annotated.save(annotated.photo(5), version("more", "more", seed=50))
    train(annotated, RoundSettings(), say=lambda text: None)
    assert trainer.seen[1][0] == 0, "trained on from the round in use"
    use(annotated, 1)
    assert annotated.setting("round") == 1
    with pytest.raises(DataError, match="has no round 9; there are 0 to 2"):
        use(annotated, 9)
    (annotated.folder / "rounds" / "1" / "config.json").unlink()
    with pytest.raises(DataError, match="the model of round 1 is not in"):
        model_source(annotated)


def test_too_little_is_said(make_project, trainer):
    project = make_project(6)
    with pytest.raises(DataError, match=r"0 photos to train on and 0 held out .*label more"):
        train(project, RoundSettings())
    assert not project.rows("SELECT 1 FROM rounds WHERE round = 1")


def test_nothing_new_is_said(annotated, trainer):
    train(annotated, RoundSettings(), say=lambda text: None)
    with pytest.raises(DataError, match=r"no mask was accepted in .* since the last round"):
        train(annotated, RoundSettings())


def test_what_the_model_did_alone_trains_nobody(annotated):
    annotated.save(annotated.photo(5), version("own", "own", stage="full", annotator=""))
    annotated.save(annotated.photo(5), version("gone", "a", "removed", seed=5))
    samples = ProjectSamples(annotated, [5, 6])
    assert [len(samples[i].annotations) for i in range(2)] == [0, 1]
    assert 5 not in annotated.annotated(False) or not samples[0].annotations
    facts = json.loads(annotated.one("SELECT facts FROM rounds WHERE round = 0")["facts"])
    assert facts == {}
