"""From paths to files: counts each source separately, here or on Ray, and adds up the counts."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..annotation.cluster import spread_on_ray
from ..annotation.plan import check_unused
from ..errors import DataError, OutputError, SamHubError
from ..ops.files import make_folder, write_atomically
from ..results import json_bytes
from .collect import Collection
from .report import page, plots
from .sources import find_sources, read_images


class Worker:
    """The Ray actor, which counts one source."""

    def __init__(self, task: None) -> None:
        pass

    def __call__(self, batch: dict[str, Any]) -> dict[str, list]:
        (row,) = batch["photo"]
        name, path = json.loads(row)
        try:
            answer = {"name": name, "path": path, "counted": count_source(Path(path)).as_json()}
        except SamHubError as e:
            answer = {"name": name, "path": path, "error": str(e)}
        return {"outcome": [json.dumps(answer)]}


def count_source(path: Path) -> Collection:
    """Count one source. raises: DataError"""
    found = Collection()
    found.add(read_images(path))
    return found


def sources_of(data: Mapping[str, Path]) -> list[tuple[str, Path]]:
    """Name of the data set and path of each source. raises: DataError"""
    return [(name, source) for name, path in data.items() for source in find_sources(path)]


def count_here(sources: Sequence[tuple[str, Path]]) -> Iterator[tuple[str, Collection]]:
    """Name and counts of each source, in this process."""
    for name, path in sources:
        yield name, count_source(path)


def count_on_ray(
    sources: Sequence[tuple[str, Path]], address: str | None = None, workers: int | None = None
) -> Iterator[tuple[str, Collection]]:
    """As `count_here`, on Ray. raises: SamHubError for a source that no worker survives"""
    rows = [json.dumps([name, str(path.resolve())]) for name, path in sources]
    waiting = len(rows)
    for answer in map(json.loads, spread_on_ray(Worker, None, rows, 1, None, address, workers)):
        if "error" in answer:
            raise DataError(answer["error"])
        waiting -= 1
        yield answer["name"], Collection.from_json(answer["counted"])
    if waiting:
        raise SamHubError(f"workers failed on {waiting} of {len(rows)} sources; try --engine local")


def check_out(out: Path) -> None:
    """raises: OutputError if the folder is not empty"""
    check_unused(out, resume=False, planned=False)


def write_statistics(out: Path, report: Mapping[str, Any]) -> Path:
    """stats.html, its plots and stats.json, all of them or none; returns the page. raises: OutputError"""
    pictures = plots(report)
    contents = {**pictures, "stats.html": page(report, pictures).encode(), "stats.json": json_bytes(report)}
    make_folder(out)
    written = []
    try:
        for name, content in contents.items():
            write_atomically(out / name, content)
            written.append(out / name)
    except OutputError:
        for path in written:
            with suppress(OSError):
                path.unlink()
        raise
    return out / "stats.html"
