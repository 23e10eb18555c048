"""Turns every error of a command into one sentence on standard error and an exit code.

0 done; 1 a named failure; 2 wrong usage; 130 stopped with Ctrl-C. A reader that closes our output early
(``| head``) is not an error: typer exits quietly. ``--debug`` shows the traceback.
"""

import warnings
from itertools import pairwise
from typing import Any

import typer
from typer.core import TyperGroup

from ..errors import ImageBandsWarning, ImageRangeWarning, NoMasksWarning, SamHubError, WrongUsage

DEBUG = "sam_hub.debug"
"""Key of the context's ``meta`` under which ``--debug`` is remembered."""

EMPTY = "sam_hub.empty"
"""Likewise, the argument before an empty one, or None."""

PLAIN = (ImageBandsWarning, ImageRangeWarning, NoMasksWarning)
"""Warnings about the input, not about code."""


class Commands(TyperGroup):
    """The group of all commands."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta[EMPTY] = next((before for before, arg in pairwise(["", *args]) if not arg), None)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            with warnings.catch_warnings():
                _show_plainly()
                if (before := ctx.meta[EMPTY]) is not None:  # a path of "" would be the current folder
                    what = before if before.startswith("-") else f"the argument after {before}"
                    raise WrongUsage(f"{what} is empty; give a path or value, or leave it out")
                return super().invoke(ctx)
        except KeyboardInterrupt:
            _stop()
        except (typer.Abort, BrokenPipeError):
            raise
        except Exception as e:
            if _stopped(e):
                _stop()
            if hasattr(e, "exit_code") or ctx.meta.get(DEBUG):  # of typer: usage errors, Exit
                if hasattr(e, "message"):
                    e.message = str(e.message).replace("Value error, ", "")  # pydantic's, in which typer parses values
                raise
            typer.echo(f"Error: {sentence(e)}", err=True)
            raise typer.Exit(2 if isinstance(e, WrongUsage) else 1) from None


def _stop() -> None:
    typer.echo("Stopped; any files already written are complete.", err=True)
    raise typer.Exit(130) from None


def _stopped(error: BaseException) -> bool:
    """Whether an error comes from Ctrl-C: in an import of a compiled library, it is raised as an ImportError."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain:
        chain.append(cause)
    return any(isinstance(link, KeyboardInterrupt) for link in chain)


def _show_plainly() -> None:
    """Show warnings about the input as one line, without the code location."""
    show = warnings.showwarning

    def plain(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, PLAIN):
            typer.echo(f"Warning: {message}", err=True)
        else:
            show(message, category, *place, **more)

    warnings.showwarning = plain
    for category in PLAIN:
        warnings.simplefilter("always", category)


def sentence(error: Exception) -> str:
    """The message of an error, on one line."""
    if isinstance(error, SamHubError | WrongUsage):
        return " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return "there is not enough memory; try a smaller model or image"
    what = " ".join(f"{type(error).__name__}: {error}".split())
    return f"unexpected error in sam-hub ({what}); rerun with --debug for the traceback, and please report it"
