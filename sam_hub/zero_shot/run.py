"""Computes a table, from request to files: item by item, resumable, on this machine or on Ray.

OUT/run.json       settings and items (the plan)
OUT/parts/N.json   measurements of one item
OUT/table.json     the table, with all its settings; also as table.md and table.png
OUT/summary.json   duration of the last run; the only file that differs between runs
"""

import json
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any

from .. import __version__
from ..annotation.cluster import spread_on_ray
from ..annotation.plan import check_same, check_unused
from ..annotation.settings import weights_id
from ..annotation.work import Outcome
from ..errors import DataError, OutputError, SamHubError
from ..inference.image_predictor import ImagePredictor
from ..inference.opening import open_predictor
from ..ops.files import make_folder, write_atomically
from ..ops.packages import require
from ..results import json_bytes
from ..zoo import ZOO
from .present import markdown, picture
from .table import Table, TableRequest
from .tasks import open_table

RUN = "run.json"
FILES = ("table.png", "table.md", "table.json")
LIBRARIES = ("torch", "numpy", "scipy", "opencv-python-headless", "pycocotools", "faster-coco-eval")


@dataclass(frozen=True)
class EvaluationJob:
    """The input of a worker. model, device: as for `open_predictor`; threads: on the CPU"""

    request: TableRequest
    model: str
    device: str | None = None
    threads: int = 1


@dataclass(frozen=True)
class TableRun:
    """A planned table; ``pending``: indices of items, from 0, that are not measured yet."""

    out: Path
    job: EvaluationJob
    table: Table
    settings: dict[str, Any]
    items: list[str]
    pending: list[int]


class PartWriter:
    """Measures items and writes their parts; the same code for local runs and Ray."""

    def __init__(self, job: EvaluationJob, out: Path, table: Table, predictor: ImagePredictor) -> None:
        self.out, self.table, self.predictor = out, table, predictor
        self.items = list(table.items())

    def __call__(self, number: int) -> Outcome:
        """raises: OutputError if the part cannot be written"""
        start, name = perf_counter(), self.items[number]
        try:
            part = self.table.measure(self.predictor, name)
        except OutputError:
            raise
        except SamHubError as e:
            part = {"left_out": " ".join(str(e).split())}
        write_atomically(part_path(self.out, number), json_bytes(part))
        return Outcome(name, part.get("count", 0), perf_counter() - start, part.get("left_out"))


class Worker:
    """The Ray actor."""

    def __init__(self, task: tuple[EvaluationJob, str]) -> None:
        job, out = task
        predictor = open_predictor(job.model, job.device, cache_size=0, threads=job.threads)
        self.write = PartWriter(job, Path(out), open_table(job.request), predictor)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list]:
        (number,) = batch["photo"]
        return {"outcome": [json.dumps(asdict(self.write(int(number))))]}


def part_path(out: Path, number: int) -> Path:
    return out / "parts" / f"{number}.json"


def open_early(request: TableRequest, out: Path, resume: bool) -> Table:
    """Open the table before the model is loaded or downloaded, so that wrong options and folders fail early.

    raises: DataError, WrongUsage; OutputError for a folder that is not empty
    """
    earlier = _read_plan(out)
    if earlier is None or not resume:
        check_unused(out, resume, earlier is not None)
    table = open_table(request)
    require(f"--task {request.task}", ["matplotlib", *table.NEEDS], "eval")
    return table


def plan_table(job: EvaluationJob, out: Path, table: Table, predictor: ImagePredictor, resume: bool) -> TableRun:
    """Write the plan; with ``resume``, continue the existing one.

    table: from `open_early`
    raises: DataError, WrongUsage; OutputError if the folder is not empty, or was made with other settings
    """
    table.refuse(predictor)
    items = list(table.items())
    variant = ZOO.get(job.model)
    settings = {
        "task": job.request.task,
        "model": job.model,
        "revision": variant.revision if variant else "",
        "weights": weights_id(predictor),
        "limit": job.request.limit,
        "seed": job.request.seed,
        **table.settings(),
    }
    settings = json.loads(json.dumps(settings))
    plan = {"settings": settings, "items": items}
    earlier = _read_plan(out)
    if earlier is None or not resume:
        check_unused(out, resume, earlier is not None)
    else:
        check_same(out, earlier["settings"], settings)
        if earlier["items"] != items:
            raise OutputError(f"the data of {out} have changed since; choose another --out")
    make_folder(out / "parts")
    write_atomically(out / RUN, json_bytes(plan))
    pending = [i for i in range(len(items)) if not part_path(out, i).is_file()]
    return TableRun(out, job, table, settings, items, pending)


def _read_plan(out: Path) -> dict[str, Any] | None:
    try:
        plan = json.loads((out / RUN).read_text("ascii"))
        return {"settings": dict(plan["settings"]), "items": list(plan["items"])}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise OutputError(f"{out / RUN} is not the plan of an earlier run; choose another folder with --out") from e


def measure_here(run: TableRun, predictor: ImagePredictor) -> Iterator[Outcome]:
    """Measure pending items in this process, yielding their outcomes."""
    write = PartWriter(run.job, run.out, run.table, predictor)
    for number in run.pending:
        yield write(number)


def measure_on_ray(run: TableRun, address: str | None = None, workers: int | None = None) -> Iterator[Outcome]:
    """As `measure_here`, on Ray; data, model and ``out`` must have the same paths on every machine."""
    job, out = run.job, str(run.out.resolve())
    rows = [str(number) for number in run.pending]
    for answer in spread_on_ray(Worker, (job, out), rows, job.threads, job.device, address, workers):
        yield Outcome(**json.loads(answer))


def finish_table(
    run: TableRun, outcomes: Iterator[Outcome], tell: Callable[[Outcome], None], start: float
) -> tuple[dict[str, Any] | None, int, bool]:
    """Measure pending items, then write the table.

    tell: called with each outcome; start: of the run, on `perf_counter`'s clock
    returns: the report, or None if items are pending; the number of pending items; whether Ctrl-C stopped the run
    raises: DataError if nothing could be measured
    """
    try:
        with closing(outcomes):
            for outcome in outcomes:
                tell(outcome)
    except KeyboardInterrupt:
        return None, _missing(run), True
    if missing := _missing(run):  # their workers were killed
        return None, missing, False
    report = build_report(run)
    _write(run, report)
    summary = {"seconds": round(perf_counter() - start, 3), "measured": len(run.pending), "items": len(run.items)}
    write_atomically(run.out / "summary.json", json_bytes(summary))
    return report, 0, False


def _missing(run: TableRun) -> int:
    return sum(not part_path(run.out, i).is_file() for i in range(len(run.items)))


def build_report(run: TableRun) -> dict[str, Any]:
    """The full report, as JSON. raises: DataError if every item was skipped"""
    parts, left_out = {}, []
    for number, name in enumerate(run.items):
        path = part_path(run.out, number)
        try:
            part = json.loads(path.read_text("ascii"))
        except (OSError, ValueError) as e:
            raise DataError(f"{path} is damaged ({e}); delete it and rerun with --resume") from e
        if "left_out" in part:
            left_out.append(part["left_out"])
        else:
            left_out += part.get("damaged", [])
            parts[name] = part
    if not parts:
        raise DataError(f"no image could be evaluated ({left_out[0] if left_out else 'there are no images'})")
    table = run.table
    return {
        "task": run.job.request.task,
        "title": table.TITLE,
        "sam_hub": __version__,
        "versions": _versions(),
        "settings": run.settings,
        "images": len(parts),
        "left_out": left_out,
        "titles": {name: title for name, (title, _) in table.COLUMNS.items()},
        "columns": {name: text for name, (_, text) in table.COLUMNS.items()},
        "rows": table.rows(parts),
        **table.extra(parts),
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _write(run: TableRun, report: dict[str, Any]) -> None:
    """Write all files of the table, or none."""
    contents = picture(run.table, report), markdown(run.table, report).encode(), json_bytes(report)
    written = []
    try:
        for name, content in zip(FILES, contents, strict=True):
            write_atomically(run.out / name, content)
            written.append(run.out / name)
    except OutputError:
        for path in written:
            with suppress(OSError):
                path.unlink()
        raise
