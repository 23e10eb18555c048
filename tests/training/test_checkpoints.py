"""Runs with checkpoints damaged by a kill or a disk, and runs whose loss or weights are not finite."""

import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from sam_hub.data.discovery import Chosen
from sam_hub.data.sa1b import Sa1bDataset
from sam_hub.errors import OutputError, TrainingError
from sam_hub.models.image_processing_sam import SamImageProcessor
from sam_hub.training.checkpoints import COMPLETE_FILE, DAMAGED_PREFIX, damage, last_checkpoint, mark_complete
from sam_hub.training.finetune import fine_tune
from sam_hub.training.pocket import train_pocket
from sam_hub.training.recipe import FINE_TUNING
from sam_hub.training.run import FineTuning
from sam_hub.training.validation import Validator

FORK = multiprocessing.get_context("fork")  # a fresh interpreter would spend ten seconds on imports, each time
FILES = (
    "config.json",
    "ema.safetensors",
    "model.safetensors",
    "optimizer.pt",
    "rng_state.pth",
    "scheduler.pt",
    "trainer_state.json",
    "training_args.bin",
    COMPLETE_FILE,
)


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def zeroed(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def one_bit_wrong(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 64
    file.write_bytes(bytes(data))


DAMAGES = (cut_short, zeroed, one_bit_wrong, Path.unlink)


@pytest.fixture
def tune(shards: Path, tmp_path: Path, new_model: Callable) -> Callable:
    """Fine-tune a tiny model for four steps, with a checkpoint after each two, or after each one."""
    data = Sa1bDataset(shards / "one.tar")

    def start(*callbacks: TrainerCallback, out: str = "out", model=None, say: Callable = print, often: bool = False):
        model = model or new_model()
        processor = SamImageProcessor.for_config(model.config)
        recipe = replace(FINE_TUNING, steps=4, warmup=1, objects=2)
        when = {"evaluations": 1, "save_seconds": 0.0} if often else {"evaluations": 2, "save_seconds": 1e9}
        settings = FineTuning("tiny", "disks", recipe=recipe, views=1, **when)
        validator = Validator(Chosen(data, [3], "val"), processor, max_objects=1)
        train = Chosen(data, [0, 1], "train")
        return fine_tune(model, processor, train, validator, tmp_path / out, settings, say, callbacks)

    return start


@pytest.fixture(scope="module")
def finished(shards, recipe, new_model, tmp_path_factory) -> Path:
    """A run with the checkpoints of steps 2 and 4."""
    out = tmp_path_factory.mktemp("finished")
    train_pocket(shards, out, replace(recipe, steps=4), new_model(), save_steps=2, save_seconds=1e9, bf16=False)
    return out


class KillWhileSaving(TrainerCallback):
    """Ends the process once the files of a checkpoint are written, before it is marked as complete."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_save(self, args, state, control, **kwargs) -> None:
        if state.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def test_a_kill_before_the_mark_leaves_the_checkpoint_before(tune, tmp_path):
    """Before the first validation, no checkpoint is kept as the best."""
    whole = tune(out="whole", often=True).model.state_dict()
    process = FORK.Process(target=tune, args=(KillWhileSaving(3),), kwargs={"often": True})
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    work = tmp_path / "out" / "training"
    assert (work / "checkpoint-2" / COMPLETE_FILE).exists() and not (work / "checkpoint-3" / COMPLETE_FILE).exists()
    said: list[str] = []
    resumed = tune(say=said.append, often=True).model.state_dict()
    assert f"going on from {work / 'checkpoint-2'}" in said
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


@pytest.mark.parametrize("spoil", DAMAGES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_checkpoint_is_set_aside(finished, tmp_path, name, spoil):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    assert {p.name for p in (tmp_path / "checkpoint-4").iterdir()} == set(FILES)
    spoil(tmp_path / "checkpoint-4" / name)
    said: list[str] = []
    assert last_checkpoint(tmp_path, said.append) == tmp_path / "checkpoint-2"
    assert not (tmp_path / "checkpoint-4").exists()
    if (name, spoil) != (COMPLETE_FILE, Path.unlink):  # without its mark it was never complete
        assert (tmp_path / f"{DAMAGED_PREFIX}checkpoint-4").is_dir()
        assert len(said) == 1 and name in said[0]


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "trainer_state.json"])
def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(
    finished, shards, recipe, new_model, tmp_path, name, capfd
):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    cut_short(tmp_path / "checkpoint-4" / name)
    again = train_pocket(
        shards, tmp_path, replace(recipe, steps=4), new_model(), save_steps=2, save_seconds=1e9, bf16=False
    )
    assert f"checkpoint-4 is damaged ({name} has changed since it was written)" in capfd.readouterr().err
    weights = load_file(again / "model.safetensors")
    expected = load_file(finished / "checkpoint-4" / "model.safetensors")
    assert all(torch.equal(weights[key], value) for key, value in expected.items())


def test_when_every_checkpoint_is_damaged_a_run_begins_again(finished, tmp_path):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    for step in (2, 4):
        zeroed(tmp_path / f"checkpoint-{step}" / "optimizer.pt")
    said: list[str] = []
    assert last_checkpoint(tmp_path, said.append) is None
    assert len(said) == 2


def test_marks_from_before_checksums_count(finished, tmp_path):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    (tmp_path / "checkpoint-4" / COMPLETE_FILE).write_bytes(b"")
    assert last_checkpoint(tmp_path, print).name == "checkpoint-4"


@pytest.mark.parametrize("text", ["[]", '{"a": 1}', '{"a": ["x"]}', "5", "[" * 100_000])
def test_a_mark_that_makes_no_sense_is_damage(tmp_path, text):
    (tmp_path / COMPLETE_FILE).write_text(text)
    assert damage(tmp_path)
    mark_complete(tmp_path)
    assert damage(tmp_path) == ""


def test_weights_that_are_not_finite_stop_before_anything_is_done(tune, new_model, tmp_path):
    model = new_model()
    model.mask_decoder.iou_token.weight.data[0, 0] = torch.nan
    with pytest.raises(TrainingError, match=r"mask_decoder\.iou_token\.weight holds non-finite values"):
        tune(model=model)
    assert not (tmp_path / "out").exists()


class Spoil(TrainerCallback):
    """Gives a weight a value that is not finite, at the beginning or at the end of a step."""

    def __init__(self, step: int, moment: str) -> None:
        self.step, self.moment = step, moment

    def spoil(self, moment: str, state, model) -> None:
        if (state.global_step, moment) == (self.step, self.moment):
            model.sam.mask_decoder.mask_tokens.weight.data[0, 0] = torch.inf

    def on_step_begin(self, args, state, control, model=None, **kwargs) -> None:
        self.spoil("begin", state, model)

    def on_step_end(self, args, state, control, model=None, **kwargs) -> None:
        self.spoil("end", state, model)


@pytest.mark.parametrize(
    ("step", "moment", "sentence"),
    [
        (3, "begin", r"the loss is \S+ at step 4, so training cannot continue; try a lower learning rate"),
        (4, "end", r"mask_tokens\.weight holds non-finite values after step 4"),
    ],
)
def test_a_run_stops_when_it_has_learnt_nonsense(tune, tmp_path, step, moment, sentence):
    with pytest.raises(TrainingError, match=sentence):
        tune(Spoil(step, moment))
    work = tmp_path / "out" / "training"
    assert last_checkpoint(work, print) == work / "checkpoint-2"
    assert tune().history[-1]["step"] == 4


def test_damaged_settings_are_told_and_damaged_scores_made_again(tune, tmp_path):
    with pytest.raises(TrainingError):
        tune(Spoil(3, "begin"))
    work = tmp_path / "out" / "training"
    settings = (work / "settings.json").read_bytes()
    (work / "settings.json").write_bytes(settings[:20])
    with pytest.raises(OutputError, match=r"settings\.json, the settings of its run, cannot be read; remove"):
        tune()
    (work / "settings.json").write_bytes(settings)
    scores = (work / "before.json").read_bytes()
    (work / "before.json").write_bytes(b"\0" * 9)
    assert tune().before == json.loads(scores)
