"""The options of `eval` that belong to the zero-shot tables."""

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import WrongUsage
from .everything import Engine


class Task(StrEnum):
    points = "points"
    edges = "edges"
    proposals = "proposals"
    instances = "instances"
    text = "text"


class First(StrEnum):
    center = "center"
    random = "random"


class ErrorRegion(StrEnum):
    whole = "whole"
    largest = "largest"


@dataclass(frozen=True)
class ZeroShotOptions:
    """Options that are not given are None."""

    task: Annotated[Task | None, typer.Option("--task", help="A table of the paper; see above.")] = None
    suite: Annotated[
        str | None,
        typer.Option("--suite", metavar="NAME|TOML", help="points: a list of data sets; paper: the paper's 23."),
    ] = None
    root: Annotated[
        Path | None, typer.Option("--root", metavar="DIR", help="Folder with the data sets of --suite.")
    ] = None
    first: Annotated[
        First | None,
        typer.Option("--first", help="points: first point at the object's centre, or at any of its pixels."),
    ] = None
    error: Annotated[
        ErrorRegion | None,
        typer.Option("--error", help="points: further points correct all errors together, or the largest one [whole]."),
    ] = None
    counts: Annotated[
        str | None, typer.Option("--counts", metavar="N,N", help="points: numbers of points to report [1,2,3,5,9].")
    ] = None
    groups: Annotated[
        Path | None,
        typer.Option(
            "--groups",
            metavar="CSV",
            help="points: a CSV of image or annotation ids and groups; adds the mean of each group.",
        ),
    ] = None
    boxes: Annotated[
        str | None,
        typer.Option(
            "--boxes", metavar="JSON|NAME", help="instances: COCO results, a transformers detector, or truth [truth]."
        ),
    ] = None
    points_per_side: Annotated[
        int | None, typer.Option("--points-per-side", min=1, help="edges, proposals: clicks per side [16, 64].")
    ] = None
    detector: Annotated[
        str | None, typer.Option("--detector", metavar="NAME", help="text: the detector, as in `segment`.")
    ] = None
    resume: Annotated[bool, typer.Option("--resume", help="With --task: continue an interrupted run.")] = False
    engine: Annotated[Engine, typer.Option("--engine", help="With --task: this process, or Ray workers.")] = (
        Engine.local
    )
    ray_address: Annotated[
        str | None, typer.Option("--ray-address", metavar="HOST:PORT", help="A Ray cluster; default: this machine.")
    ] = None
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Maximum number of Ray workers.")] = None

    @property
    def chosen(self) -> str | None:
        """The task, if any; --suite means points."""
        return self.task.value if self.task else ("points" if self.suite else None)

    OWNERS = {
        "suite": ("points",),
        "first": ("points",),
        "error": ("points",),
        "counts": ("points",),
        "groups": ("points",),
        "boxes": ("instances",),
        "points_per_side": ("edges", "proposals"),
        "detector": ("text",),
    }

    def check(self, out: Path | None) -> None:
        """raises: WrongUsage for options that do not belong to the task"""
        for name, owners in self.OWNERS.items():
            if getattr(self, name) is not None and self.chosen not in owners:
                flag = f"--{name.replace('_', '-')}"
                raise WrongUsage(f"{flag} needs --task {' or '.join(owners)}; omit it, or add the task")
        if (self.suite is None) != (self.root is None):
            raise WrongUsage("--suite and --root must be given together, for example --suite paper --root data")
        if self.engine is Engine.local and (self.ray_address or self.workers):
            raise WrongUsage("--ray-address and --workers need --engine ray; add it")
        if not self.chosen and (self.resume or self.engine is Engine.ray):
            raise WrongUsage("--resume and --engine ray need --task; add it")
        if self.chosen and not out and (self.resume or self.engine is Engine.ray):
            raise WrongUsage("--resume and --engine ray need a folder for the results; add --out DIR")

    def arguments(self) -> dict[str, Any]:
        """Options of the table, by its names."""
        return {
            "first": self.first.value if self.first else None,
            "error": self.error.value if self.error else None,
            "counts": _numbers(self.counts),
            "groups": str(self.groups.absolute()) if self.groups else None,
            "boxes": os.path.abspath(self.boxes) if self.boxes and os.path.exists(self.boxes) else self.boxes,
            "points_per_side": self.points_per_side,
            "detector": self.detector,
        }


def _numbers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise WrongUsage(f"--counts {text} is not a list of numbers; for example --counts 1,2,3,5,9") from None
