"""``sam-hub engine`` from a shell: the loop with a tiny model, and one sentence for each error."""

import importlib.util
import json
import os
import sqlite3

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from sam_hub.cli import app
from sam_hub.results import annotation, json_bytes, sa1b_document

SIDES = (48, 64)


@pytest.fixture
def engine():
    """engine(*words) -> what a run printed; ``fails`` is the exit code that it must have."""

    def run(*words, fails=0):
        result = CliRunner().invoke(app, ["engine", *map(str, words)])
        assert result.exit_code == fails, result.output + repr(result.exception)
        return result

    return run


@pytest.fixture
def truth(tmp_path, monkeypatch):
    """12 photos of two squares with SA-1B files next to them; the current folder is their parent."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "truth"
    folder.mkdir()
    for number in range(12):
        rng = np.random.default_rng(number)
        image = rng.integers(60, 90, (*SIDES, 3), np.uint8)
        masks = []
        for x in (4, 36):
            mask = np.zeros(SIDES, bool)
            y = int(rng.integers(4, 20))
            mask[y : y + 20, x : x + 20] = True
            image[mask] += 100
            masks.append(mask)
        Image.fromarray(image).save(folder / f"{number:02}.png")
        document = sa1b_document(f"{number:02}.png", SIDES, [annotation(m, i) for i, m in enumerate(masks, 1)])
        (folder / f"{number:02}.json").write_bytes(json_bytes(document))
    return folder


def sentence(result):
    (line,) = [line for line in result.stderr.splitlines() if line.startswith(("Error", "Problem", "Left out"))]
    return line


def test_no_command_of_the_list_is_cut_short(engine, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = engine("--help").stdout.split("Commands:")[1].strip().splitlines()
    assert len(lines) == 9 and not [line for line in lines if line.endswith("...")], "a line each, and all of it"


def test_the_loop(engine, truth, tiny_model):
    assert "12 new photos" in engine("init", "cells", "--images", truth, "--model", tiny_model).stdout
    assert "12 photos: 24 new masks" in engine("import", "cells", truth).stdout
    assert "0 new masks, 0 changed, 24 the same" in engine("import", "cells", truth).stdout
    trained = engine("train", "cells", "--steps", 2, "--views", 1)
    assert "Round 1" in trained.stdout and "photos held out" in trained.stderr + trained.stdout
    found = json.loads(engine("status", "cells", "--json").stdout)
    assert found["photos"]["done"] == 12 and found["masks"]["accepted"] == 24
    assert found["rounds"][1]["settings"]["steps"] == 2 and found["rounds"][1]["finished"]
    assert "no mask was accepted" in sentence(engine("train", "cells", fails=1))
    engine("use", "cells", 1)
    assert json.loads(engine("status", "cells", "--json").stdout)["round"] == 1
    engine("use", "cells", 0)
    assert "The project is intact" in engine("status", "cells", "--check").stderr

    for number in range(3):
        Image.fromarray(np.random.default_rng(100 + number).integers(0, 255, (*SIDES, 3), np.uint8)).save(
            truth / f"new-{number}.png"
        )
    engine("init", "cells", "--images", truth, "--model", tiny_model)
    semi = engine("auto", "cells", "--stage", "semi", "--photos", 1)
    assert "are right on annotated photos" in semi.stderr
    full = engine("auto", "cells", "--stage", "full", "--json")
    assert json.loads(full.stdout)["photos"] == 3
    assert json.loads(engine("status", "cells", "--json").stdout)["photos"]["auto"] == 3

    out = engine("export", "cells", "--format", "coco", "--out", "out", "--people-only")
    assert out.stdout.strip() == "out" and "24 masks of 12 photos" in out.stderr
    assert len(json.loads((truth.parent / "out" / "coco.json").read_text())["annotations"]) == 24


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason='needs Ray: pip install "sam-hub[ray]"')
def test_the_model_alone_on_ray_as_here(engine, truth, tiny_model, monkeypatch):
    from sam_hub.engine import automatic

    loose = {"points_per_side": 4, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
    monkeypatch.setattr(automatic, "full_arguments", lambda kind: loose)
    found = {}
    for name, more in (("here", ()), ("there", ("--engine", "ray", "--workers", 1))):
        engine("init", name, "--images", truth, "--model", tiny_model)
        told = json.loads(engine("auto", name, "--stage", "full", "--photos", 3, *more, "--json").stdout)
        assert told["photos"] == 3 and told["masks"] >= 3 and not told["problems"]
        with sqlite3.connect(truth.parent / name / "project.db") as database:
            found[name] = database.execute("SELECT photo, object, counts, score FROM masks ORDER BY id").fetchall()
    assert sorted(found["here"]) == sorted(found["there"])


def test_simulate(engine, truth, tiny_model):
    words = ("simulate", "--truth", truth, "--model", tiny_model, "--rounds", 2, "--photos", 4, "--measured", 2)
    words = (*words, "--steps", 2, "--views", 1, "--out", "sim")
    first = engine(*words)
    assert first.stdout.strip().endswith("report.md")
    text = (truth.parent / "sim" / "report.md").read_text()
    assert text.count("\n| ") == 3 and "Clicks per mask from the first to the last round" in text
    assert Image.open(truth.parent / "sim" / "rounds.png").width > 500
    state = (truth.parent / "sim" / "simulation.json").read_bytes()
    assert engine(*words).stdout == first.stdout
    assert (truth.parent / "sim" / "simulation.json").read_bytes() == state, "a run that is done is not done again"
    costs = json.loads(state)["rounds"]
    assert all(c["objects"] == 8 and c["covered"] + c["drawn"] == 8 for c in costs)
    assert all(c["clicks"] == c["drawn_clicks"] + c["proposed"] - c["untouched"] for c in costs)
    assert costs[0]["clicks"] == costs[0]["baseline_clicks"], "the first round is the first model's"
    assert "other settings" in sentence(engine(*words, "--seed", 3, fails=1))


def test_what_is_wrong_is_one_sentence(engine, truth, tiny_model):
    assert "is not a project; create one with" in sentence(engine("status", "nowhere", fails=1))
    assert "does not exist" in sentence(engine("init", "cells", "--images", "no/photos", fails=1))
    assert "nosuchmodel" in sentence(engine("init", "cells", "--images", truth, "--model", "./nosuchmodel", fails=1))
    assert not (truth.parent / "cells").exists()
    engine("init", "cells", "--images", truth, "--model", tiny_model)
    assert "with model" in sentence(engine("init", "cells", "--images", truth, "--model", "pocket", fails=1))
    assert "at least 2 and 1 are needed" in sentence(engine("train", "cells", fails=1))
    assert "no photo of cells is annotated yet" in sentence(engine("auto", "cells", "--stage", "semi", fails=1))
    assert "there are 0 to 0" in sentence(engine("use", "cells", 4, fails=1))
    assert "is not a data set" in sentence(engine("import", "cells", "nowhere", fails=1))
    assert "no accepted masks yet" in sentence(engine("export", "cells", "--out", "out", fails=1))
    assert "add it" in sentence(engine("auto", "cells", "--stage", "full", "--workers", 2, fails=2))
    assert "--auth is not USER:PASSWORD" in sentence(engine("label", "cells", "--auth", "ann", fails=2))

    engine("import", "cells", truth)
    (truth.parent / "full").mkdir()
    (truth.parent / "full" / "mine").write_text("mine")
    assert "is not an empty folder" in sentence(engine("export", "cells", "--out", "full", fails=1))
    document = json.loads((truth / "03.json").read_text())
    wrong = annotation(np.ones((9, 9), bool), 1)
    (truth / "03.json").write_bytes(json_bytes({**document, "annotations": [wrong]}))
    result = engine("import", "cells", truth, fails=1)
    assert "03.png is skipped" in sentence(result) and "11 photos" in result.stdout

    os.rename(truth / "05.png", truth / "05.away")
    assert "05.png cannot be read" in sentence(engine("status", "cells", "--check", fails=1))
    os.rename(truth / "05.away", truth / "05.png")
    Image.new("RGB", (8, 8)).save(truth / "05.png")
    assert "05.png has changed" in sentence(engine("init", "cells", "--images", truth, "--model", tiny_model, fails=1))

    file = truth.parent / "cells" / "project.db"
    database = sqlite3.connect(file)
    database.execute("PRAGMA user_version = 99")
    database.close()
    assert "newer sam-hub" in sentence(engine("status", "cells", fails=1))
    file.write_bytes(b"nonsense" * 4096)
    assert "is damaged" in sentence(engine("status", "cells", fails=1))
