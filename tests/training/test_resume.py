"""Stopped, killed or distributed runs end with the weights of an undisturbed run."""

import json
import multiprocessing
import os
import shutil
import signal
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import TrainerCallback

from sam_hub.models.modeling_sam import SamModel
from sam_hub.training.checkpoints import COMPLETE_FILE, last_checkpoint
from sam_hub.training.pocket import train_pocket
from sam_hub.training.recipe import PromptRecipe
from sam_hub.training.trainer import EMA_FILE, HISTORY_FILE

FORK = multiprocessing.get_context("fork")  # a fresh interpreter would spend ten seconds on imports, each time


def same_weights(a: Path, b: Path) -> bool:
    left, right = load_file(a), load_file(b)
    assert left.keys() == right.keys()
    return all(torch.equal(left[k], right[k]) for k in left)


@pytest.mark.parametrize("muon_rate", [0.0, 1.5])
def test_a_run_that_was_stopped_ends_as_an_undisturbed_one(shards, recipe, new_model, tmp_path, muon_rate):
    recipe = replace(recipe, muon_rate=muon_rate)
    whole = train_pocket(shards, tmp_path / "whole", recipe, new_model(), save_steps=3)
    # A kill after step 3 leaves the checkpoint of step 3 and nothing of what came later.
    train_pocket(shards, tmp_path / "parts", recipe, new_model(), save_steps=3)
    shutil.rmtree(tmp_path / "parts" / "checkpoint-6")
    (tmp_path / "parts" / "loss.png").unlink()
    resumed = train_pocket(shards, tmp_path / "parts", recipe, new_model(), save_steps=3)
    assert resumed.name == whole.name == "checkpoint-6"
    for name in ("model.safetensors", EMA_FILE):
        assert same_weights(whole / name, resumed / name)
    assert not same_weights(whole / EMA_FILE, whole / "model.safetensors")
    with Image.open(tmp_path / "parts" / "loss.png") as curve:
        assert curve.size[0] > 300
    assert SamModel.from_pretrained(resumed)


class Kill(TrainerCallback):
    """Ends the process without a word: at the end of a step, or when a checkpoint is half written."""

    def __init__(self, step: int, while_saving: bool) -> None:
        self.step, self.while_saving = step, while_saving

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if state.global_step == self.step and not self.while_saving:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_save(self, args, state, control, **kwargs) -> None:
        if state.global_step == self.step and self.while_saving:
            folder = Path(args.output_dir) / f"checkpoint-{self.step}"
            for file in ("optimizer.pt", EMA_FILE):  # what a disk holds of files that were being written
                data = (folder / file).read_bytes()
                (folder / file).write_bytes(data[: len(data) // 3])
            os.kill(os.getpid(), signal.SIGKILL)


def run_forked(target, *arguments) -> int:
    process = FORK.Process(target=target, args=arguments)
    process.start()
    process.join(120)
    return process.exitcode


def test_a_run_killed_five_times_equals_an_undisturbed_one(shards, recipe, new_model, tmp_path):
    recipe = replace(recipe, steps=8)
    # A ViT with drop path: the generator of torch itself must be resumed too.
    recipe = replace(recipe, drop_path=0.3, layer_decay=0.8)

    def train(out: Path, *callbacks: TrainerCallback) -> None:
        model = new_model("sam_vision_model")
        train_pocket(shards, out, recipe, model, save_steps=2, save_seconds=1e9, callbacks=callbacks, bf16=False)

    train(tmp_path / "whole")
    for step, while_saving in ((1, False), (3, False), (4, True), (5, False), (6, True)):
        code = run_forked(train, tmp_path / "parts", Kill(step, while_saving))
        assert code == -signal.SIGKILL, (step, code)
    assert not (tmp_path / "parts" / "checkpoint-6" / COMPLETE_FILE).exists()
    assert last_checkpoint(tmp_path / "parts", print).name == "checkpoint-4"
    train(tmp_path / "parts")
    for name in ("model.safetensors", EMA_FILE):
        assert same_weights(tmp_path / "whole" / "checkpoint-8" / name, tmp_path / "parts" / "checkpoint-8" / name)


def test_time_too_makes_checkpoints(shards, recipe, new_model, tmp_path):
    train_pocket(shards, tmp_path, recipe, new_model(), save_steps=100, save_seconds=0, bf16=False)
    kept = sorted(int(p.name.rpartition("-")[2]) for p in tmp_path.glob("checkpoint-*"))
    assert kept == [5, 6]


def test_two_processes_learn_what_one_learns(shards, recipe, new_model, tmp_path):
    """Four images a step: on one process, and two on each of two (gloo); no batch norm, whose batches would differ."""
    recipe = replace(
        recipe, steps=3, images=4, encoder_every=1, prompts=PromptRecipe(rounds=2, single_round_probability=0)
    )
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]

    def train(rank: int, world: int) -> None:
        if world > 1:
            from accelerate.state import AcceleratorState, PartialState

            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "1"}
            AcceleratorState._reset_state(True)
            PartialState._reset_state()
        out = tmp_path / str(world)
        mine = replace(recipe, images=4 // world)
        train_pocket(shards, out, mine, new_model("sam_vision_model"), save_steps=3, bf16=False)
        if world > 1:
            torch.distributed.destroy_process_group()

    ranks = [FORK.Process(target=train, args=(rank, 2)) for rank in (0, 1)]
    for process in ranks:
        process.start()
    assert run_forked(train, 0, 1) == 0
    for process in ranks:
        process.join(120)
    assert [p.exitcode for p in ranks] == [0, 0]
    one, two = (tmp_path / n / "checkpoint-3" for n in ("1", "2"))
    start = new_model("sam_vision_model").state_dict()
    a, b = (load_file(folder / "model.safetensors") for folder in (one, two))
    moved = sum((a[k] - v).abs().sum() for k, v in start.items())
    apart = sum((a[k] - b[k]).abs().sum() for k in start)
    # Where a gradient is zero but for rounding (biases of keys), AdamW still makes whole steps: a few weights differ.
    assert moved > 1 and apart < 0.01 * moved
    losses = [[json.loads(row)["loss"] for row in (tmp_path / n / HISTORY_FILE).read_text().splitlines()] for n in "12"]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_half_written_checkpoint_is_not_gone_on_from(tmp_path):
    assert last_checkpoint(tmp_path, print) is None
    for step in (9, 10):
        (tmp_path / f"checkpoint-{step}").mkdir()
    (tmp_path / "checkpoint-9" / COMPLETE_FILE).touch()
    assert last_checkpoint(tmp_path, print).name == "checkpoint-9"
    assert not (tmp_path / "checkpoint-10").exists()


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_the_average_can_be_left_away(shards, recipe, new_model, tmp_path, decay):
    last = train_pocket(shards, tmp_path, replace(recipe, ema=decay, steps=2), new_model(), bf16=False)
    assert (last / EMA_FILE).exists() == (decay > 0)
