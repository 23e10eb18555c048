"""The folder of a run: settings and first scores during the run, the finished model at the end."""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..models.image_processing_sam import SamImageProcessor
from ..models.modeling_sam import SamModel
from ..ops.files import make_folder, write_atomically
from ..results import json_bytes
from .checkpoints import Say
from .processes import is_first_process
from .run import FineTuning
from .trainer import CURVE_FILE, draw_loss_curve
from .validation import Validator

WORK_FOLDER = "training"
"""Subfolder of the result during the run: checkpoints, cached embeddings, settings."""

SETTINGS_FILE = "settings.json"


@dataclass(frozen=True)
class FineTuned:
    """The result: the model with its best weights, its scores before and after, and the logged rows."""

    model: SamModel
    before: dict[str, Any]
    after: dict[str, Any]
    history: list[dict[str, Any]]
    seconds: float


def claim_folder(out: Path, settings: FineTuning) -> Path:
    """Create or reopen the run's folder inside ``out``; OutputError if its settings differ."""
    if (out / "config.json").exists():
        raise OutputError(f"{out} holds a finished model; choose another folder with --out, or remove it")
    work = out / WORK_FOLDER
    wanted = json.loads(json_bytes(asdict(settings)))
    file = work / SETTINGS_FILE
    if file.exists():
        begun = _read_json(file)
        if begun is None:
            raise OutputError(f"{file}, the settings of its run, cannot be read; remove {work} to start again")
        free = ("workers", "save_seconds", "tracker")
        other = sorted(k for k in wanted if k not in free and wanted[k] != begun.get(k, wanted[k]))
        if other:
            raise OutputError(
                f"{work} holds a run with another {', '.join(other)}; continue with the same, or remove it"
            )
    elif is_first_process():
        make_folder(work)
        write_atomically(file, json_bytes(wanted))
    return work


def score_once(model: SamModel, validator: Validator, work: Path, say: Say) -> Path:
    """Score the model before training, once: a resumed run reads the file."""
    file = work / "before.json"
    if is_first_process() and _read_json(file) is None:
        say("scoring the model before training")
        write_atomically(file, json_bytes(validator(model.eval())))
    return file


def finish(result: FineTuned, processor: SamImageProcessor, out: Path, card: str, report: dict[str, Any]) -> None:
    """Write the model as a Hub folder with its card, report and curve, and remove the run's own files.

    config.json comes last: a folder without it is not finished.
    """
    staged = out / WORK_FOLDER / "result"
    result.model.save_pretrained(staged)
    processor.save_pretrained(staged)
    write_atomically(staged / "README.md", card.encode())
    write_atomically(staged / "report.json", json_bytes({**report, "history": result.history}))
    draw_loss_curve(result.history, staged / CURVE_FILE)
    for path in sorted(staged.iterdir(), key=lambda p: p.name == "config.json"):
        path.replace(out / path.name)
    shutil.rmtree(out / WORK_FOLDER)


def _read_json(file: Path) -> dict[str, Any] | None:
    """None if the file is missing or damaged."""
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
