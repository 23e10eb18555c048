"""kill -9 of a training run, repeatedly: does it ever start from zero, or end with other weights than without kills?

    python benchmarks/train_killed.py [--kills 100] [--seed 0]

A tiny model is fine-tuned as by `sam-hub train`, with a checkpoint after every step. Each run is killed at a random
file operation of its own: while a checkpoint is written or marked, or an older one removed. A run that finds a complete
checkpoint must resume from it or, if the kill damaged it, from the one before. The final weights must equal those of an
undisturbed run.
"""

import argparse
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers.utils import logging

from sam_hub.data.folder import MaskFolder
from sam_hub.models.image_processing_sam import SamImageProcessor
from sam_hub.models.modeling_sam import SamModel
from sam_hub.training.checkpoints import COMPLETE_FILE, checkpoints
from sam_hub.training.finetune import fine_tune
from sam_hub.training.recipe import FINE_TUNING
from sam_hub.training.run import FineTuning
from sam_hub.training.validation import Validator

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.models.conftest import randomise, tiny_config

FORK = multiprocessing.get_context("fork")
EVENTS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir"}
"""Python's audit events for file operations; ``open`` counts only for writing."""


def make_data(folder: Path) -> Path:
    """Four photos, each with the mask of a disk."""
    y, x = np.mgrid[:60, :80]
    for number in range(4):
        rng = np.random.default_rng(number)
        mask = (x - rng.integers(20, 60)) ** 2 + (y - rng.integers(20, 40)) ** 2 < 15**2
        image = np.where(mask[..., None], rng.integers(150, 250, 3), rng.integers(0, 90, 3)).astype(np.uint8)
        Image.fromarray(image).save(folder / f"{number}.png")
        Image.fromarray(mask).save(folder / f"{number}.mask.png")
    return folder


def train(data: Path, out: Path, steps: int, said: Path, kill_at: int | None) -> None:
    """Runs in a child: train to the end, or to the ``kill_at``-th file operation."""
    left = [kill_at]

    def count(event: str, arguments: tuple) -> None:
        if event not in EVENTS or not str(arguments[0]).startswith(str(out)):
            return
        if event == "open" and not set(str(arguments[1] or "r")) & set("wxa+"):
            return
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    if kill_at is not None:
        sys.addaudithook(count)
    model = randomise(SamModel(tiny_config("sam_hub_pocket", image_size=64)))
    processor = SamImageProcessor.for_config(model.config)
    samples = MaskFolder(data)
    settings = FineTuning(
        "tiny",
        "disks",
        recipe=replace(FINE_TUNING, steps=steps, warmup=1, objects=2),
        views=1,
        evaluations=1,
        save_seconds=0.0,
        patience=0,
    )

    def say(line: str) -> None:
        with suppress(OSError), open(said, "a") as f:
            f.write(f"{line}\n")

    fine_tune(model, processor, samples, Validator(samples, processor, max_objects=1), out, settings, say)


def complete(out: Path) -> list[int]:
    """Steps of the complete checkpoints, newest first."""
    found = [folder for folder in checkpoints(out / "training") if (folder / COMPLETE_FILE).exists()]
    return [int(folder.name.rpartition("-")[2]) for folder in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    chance, began, lost, faults = random.Random(given.seed), time.monotonic(), Counter[int](), []
    steps = given.kills * 2 + 20
    with tempfile.TemporaryDirectory() as folder:
        data, out, said = make_data(Path(folder)), Path(folder, "out"), Path(folder, "said")
        data_folder = Path(folder, "data")
        data_folder.mkdir()
        for path in data.glob("*.png"):
            path.rename(data_folder / path.name)
        kills = from_zero = 0
        while True:
            before = complete(out)
            said.write_text("")
            kill_at = chance.randint(1, 60) if kills < given.kills else None
            child = FORK.Process(target=train, args=(data_folder, out, steps, said, kill_at))
            child.start()
            child.join()
            going_on = [line for line in said.read_text().splitlines() if line.startswith("going on from")]
            at = int(going_on[0].rpartition("-")[2]) if going_on else 0
            reached = going_on or "step" in said.read_text()
            if before and reached:
                lost[before.index(at) if at in before else len(before)] += 1
                if at not in before:
                    from_zero += 1
                    faults.append(f"kill {kills}: went on from {at or 'zero'}, and {before} were complete")
            if child.exitcode == 0:
                break
            if child.exitcode != -signal.SIGKILL:
                raise SystemExit(f"the run ended with {child.exitcode}: {said.read_text()[-500:]}")
            kills += 1
            if kills % 10 == 0:
                print(
                    f"{kills} kills, step {max(complete(out), default=0)}, {time.monotonic() - began:.0f} s", flush=True
                )
        whole = Path(folder, "whole")
        child = FORK.Process(target=train, args=(data_folder, whole, steps, said, None))
        child.start()
        child.join()
        one, other = (load_file(checkpoints(p / "training")[0] / "model.safetensors") for p in (out, whole))
        same = one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)
    if not same:
        faults.append("the weights differ from those of an undisturbed run")
    newest, earlier = lost[0], sum(lost.values()) - lost[0]
    print(
        f"{kills} kills of a run of {steps} steps: {newest} went on from the newest checkpoint that was marked, ",
        end="",
    )
    print(f"{earlier - from_zero} from the one before, {from_zero} from zero; weights the same: {same}")
    print("\n".join(faults[:20]))
    raise SystemExit(bool(faults))


if __name__ == "__main__":
    main()
