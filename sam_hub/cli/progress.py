"""Progress over many photos, on standard error: a bar in a terminal, elsewhere a line for each photo.

A photo that takes long, such as a large one in tiles, also gets a line every `SECONDS`.
"""

from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from ..ops.wording import counted

if TYPE_CHECKING:
    from ..annotation.work import Outcome


SECONDS = 30


class _Rate(ProgressColumn):
    """Photos per second, or seconds per photo if that is more than one."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(rate(speed) if speed else "", style="progress.data.speed")


class _Count(MofNCompleteColumn):
    """Counts whole photos, although the bar also advances within one."""

    def render(self, task: Task) -> Text:
        return Text(f"{int(task.completed)}/{int(task.total or 0)}", style="progress.download")


class PhotoProgress:
    """total: photos of this run; titles: their file names by name"""

    def __init__(self, total: int, titles: dict[str, str]) -> None:
        self.total, self.titles = total, titles
        self.finished, self.start = 0, perf_counter()
        self.told = self.start
        console = Console(stderr=True)
        self.bar = None
        if console.is_terminal and total:
            columns = TextColumn("{task.description}"), BarColumn(), _Count(), _Rate(), TimeRemainingColumn()
            self.bar = Progress(*columns, console=console, speed_estimate_period=300)
            self.task = self.bar.add_task("photos", total=total)

    def __enter__(self) -> "PhotoProgress":
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.bar:
            self.bar.stop()

    def part(self, done: float) -> None:
        """Report the progress of the current photo, in [0, 1]."""
        if self.bar:
            self.bar.update(self.task, completed=self.finished + min(done, 0.999))
        elif perf_counter() - self.told >= SECONDS:
            self.told = perf_counter()
            typer.echo(f"{self.finished}/{self.total} and {done:.0%} of the next", err=True)

    def finish(self, outcome: "Outcome") -> None:
        """Report that a photo is done, or has failed."""
        self.finished += 1
        if self.bar:
            self.bar.update(self.task, completed=self.finished)
            if outcome.error:
                self.bar.console.print(f"Error: {outcome.error}", markup=False, highlight=False, soft_wrap=True)
            return
        self.told = perf_counter()
        took = (self.told - self.start) / self.finished
        left = took * (self.total - self.finished)
        found = f"{self.titles[outcome.name]}: {counted(outcome.masks, 'mask')}"
        what = f"Error: {outcome.error}" if outcome.error else found
        times = f"({outcome.seconds:.2f} s; {rate(1 / max(took, 1e-9))}, {duration(left)} left)"
        typer.echo(f"{self.finished}/{self.total} {what} {times}", err=True)


def rate(speed: float) -> str:
    """Text for a speed in photos per second."""
    return f"{speed:.1f} photos/s" if speed >= 1 else f"{1 / speed:.1f} s/photo"


def duration(seconds: float) -> str:
    """As h:mm:ss"""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
