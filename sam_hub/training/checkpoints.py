"""Checkpoints that survive kills and damage: marked when complete, checked before use.

A checkpoint is a folder ``checkpoint-STEP``. Once all of its files are written, the mark lists their sizes and
checksums; only then are older checkpoints removed. A resumed run takes the newest whose files match the mark, and sets
damaged ones aside.
"""

import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..errors import TrainingError
from ..ops.files import write_atomically
from .processes import is_first_process

COMPLETE_FILE = "complete"
"""File written last into a checkpoint: the name of each file -> its size and CRC-32, as JSON."""

DAMAGED_PREFIX = "damaged-"
KEPT = 2
"""Number of checkpoints kept, so that there is one to fall back to."""

CHUNK = 1 << 22

Say = Callable[[str], None]


def checkpoint_folder(out: Path, step: int) -> Path:
    """Folder of the checkpoint after ``step`` steps."""
    return Path(out) / f"{PREFIX_CHECKPOINT_DIR}-{step}"


def checkpoints(out: Path) -> list[Path]:
    """Every checkpoint folder of a run, complete or not, newest first."""
    found = [p for p in Path(out).glob(f"{PREFIX_CHECKPOINT_DIR}-*") if p.name.rpartition("-")[2].isdigit()]
    return sorted(found, key=lambda p: int(p.name.rpartition("-")[2]), reverse=True)


def mark_complete(folder: Path) -> None:
    """Mark a checkpoint as complete, once all its files are written."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != COMPLETE_FILE)
    seals = {p.relative_to(folder).as_posix(): _seal(p) for p in files}
    write_atomically(folder / COMPLETE_FILE, json.dumps(seals, indent=1).encode())


def damage(folder: Path) -> str:
    """Describe the damage of a marked checkpoint, a missing or changed file; "" if there is none.

    A mark without checksums, from earlier versions, only says that every file was once written.
    """
    try:
        text = (folder / COMPLETE_FILE).read_bytes()
        seals = {name: [int(n) for n in seal] for name, seal in json.loads(text).items()} if text else {}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return f"{COMPLETE_FILE} cannot be read"
    for name, seal in seals.items():
        try:
            if _seal(folder / name) != seal:
                return f"{name} has changed since it was written"
        except OSError:
            return f"{name} cannot be read"
    return ""


def last_checkpoint(out: Path, say: Say) -> Path | None:
    """The newest complete, undamaged checkpoint; None if there is none.

    Folders without a mark, half written when the run was killed, are removed. Damaged checkpoints are renamed to
    ``damaged-checkpoint-STEP`` and reported to ``say``.
    """
    for folder in checkpoints(out):
        if not (folder / COMPLETE_FILE).exists():
            shutil.rmtree(folder)
        elif fault := damage(folder):
            aside = folder.with_name(DAMAGED_PREFIX + folder.name)
            shutil.rmtree(aside, ignore_errors=True)
            folder.replace(aside)
            say(f"the checkpoint {folder} is damaged ({fault}): set aside as {aside.name}")
        else:
            return folder
    return None


def agreed_checkpoint(out: Path, say: Say, processes: int) -> Path | None:
    """`last_checkpoint`, determined by the first process of a launch for all others."""
    found = [last_checkpoint(out, say) if is_first_process() else None]
    if processes > 1:
        from accelerate.utils import broadcast_object_list

        broadcast_object_list(found)
    return found[0]


def check_finite(weights: dict[str, Tensor], when: str) -> None:
    """raises: TrainingError that names a tensor with NaN or infinite values, and ``when`` it was found"""
    for name, value in weights.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise TrainingError(f"{name} holds non-finite values {when}; training cannot continue from it")


class CompleteCheckpoints(TrainerCallback):
    """The last callback: marks the saved checkpoint, then removes all but the newest ``KEPT``."""

    def on_save(self, args, state, control, **kwargs) -> None:
        if args.world_size > 1:
            torch.distributed.barrier()  # other processes write their own files into the folder
        if not state.is_world_process_zero:
            return
        mark_complete(checkpoint_folder(args.output_dir, state.global_step))
        found = checkpoints(args.output_dir)
        kept = [folder for folder in found if (folder / COMPLETE_FILE).exists()][:KEPT]
        for folder in found:
            if folder not in kept:
                (folder / COMPLETE_FILE).unlink(missing_ok=True)  # if killed here, the rest counts as half written
                shutil.rmtree(folder)


def _seal(file: Path) -> list[int]:
    """Size in bytes and CRC-32 of a file."""
    size = checksum = 0
    with open(file, "rb") as f:
        while chunk := f.read(CHUNK):
            size, checksum = size + len(chunk), zlib.crc32(chunk, checksum)
    return [size, checksum]
