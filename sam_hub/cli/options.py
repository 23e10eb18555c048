"""Options that commands share, so that each has one name and one meaning everywhere."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from .boundary import DEBUG


def _remember(ctx: typer.Context, wanted: bool) -> bool:
    ctx.meta[DEBUG] = wanted
    return wanted


ModelName = Annotated[
    str,
    typer.Option("--model", "-m", metavar="NAME", help="A name of `sam-hub zoo`, a folder, a checkpoint or a Hub id."),
]
Device = Annotated[
    str | None,
    typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps, ...; the fastest there is by default."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]
Debug = Annotated[
    bool, typer.Option("--debug", is_eager=True, callback=_remember, help="Show the traceback of a failure.")
]


def echo_path(path: Path) -> None:
    """Print the name of a file that was written on standard output, byte for byte, whatever its encoding."""
    typer.echo(os.fsencode(path))


def echo_json(answer: Any) -> None:
    """Print an answer for machines on standard output."""
    import json

    typer.echo(json.dumps(answer, indent=2))
