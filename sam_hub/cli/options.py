"""Options that commands share."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..errors import ImageError, WrongUsage
from .failures import DEBUG


def _remember(ctx: typer.Context, wanted: bool) -> bool:
    ctx.meta[DEBUG] = wanted
    return wanted


def _check_range(text: str | None) -> str | None:
    """The range as given. raises: WrongUsage if it is not a range"""
    if text is not None:
        from ..ops.value_range import check_range

        try:
            check_range(text)
        except ImageError:
            raise WrongUsage(
                f"--range {text} is not LO,HI (numbers, LO below HI), percentiles, type or auto; "
                "for example --range 0,4095 or --range 1%,99%"
            ) from None
    return text


def _check_bands(text: str | None) -> str | None:
    """The bands as given. raises: WrongUsage if they are not bands"""
    if text is not None:
        bands_of(text)
    return text


def bands_of(text: str | None) -> tuple[int, ...] | None:
    """Parse bands. raises: WrongUsage"""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if len(parts) not in (1, 3) or not all(part.isascii() and part.isdigit() for part in parts):
        raise WrongUsage(f"--bands {text} is not one band or three, counted from 0; for example --bands 3,2,1")
    return tuple(map(int, parts))


ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help="A name from `sam-hub zoo`, a folder, a checkpoint, a Hub id or an exported folder.",
    ),
]
BaseModelName = Annotated[
    str,
    typer.Option("--model", "-m", metavar="NAME", help="A name from `sam-hub zoo`, a folder, a checkpoint, a Hub id."),
]
Device = Annotated[
    str | None,
    typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps, ...; default: the fastest available."),
]
Precision = Annotated[
    Literal["full", "fast"],
    typer.Option(
        "--precision",
        help="fast: encoders of SAM, MobileSAM and SAM 2 in bfloat16 where CPU or GPU has it; changes masks a little.",
    ),
]
Range = Annotated[
    str | None,
    typer.Option(
        "--range",
        metavar="RANGE",
        callback=_check_range,
        help="Values that are black and white: LO,HI (0,4095), percentiles (1%,99%), type or auto (default).",
    ),
]
Bands = Annotated[
    str | None,
    typer.Option(
        "--bands",
        metavar="R,G,B",
        callback=_check_bands,
        help="Bands to use, counted from 0: one or three, such as 3,2,1; default: the first three.",
    ),
]
Page = Annotated[int | None, typer.Option("--page", min=0, help="Page of a TIFF, counted from 0; default: the first.")]
Host = Annotated[
    str, typer.Option("--host", metavar="ADDRESS", help="Address to listen on; 0.0.0.0 lets other machines in.")
]
Port = Annotated[int | None, typer.Option("--port", min=1, max=65535, help="Default: the first free port from 7860.")]
AllowedHosts = Annotated[
    list[str],
    typer.Option(
        "--allow-host",
        metavar="NAME",
        help="A domain name of this server, such as that of a proxy in front of it; repeatable.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Debug = Annotated[
    bool, typer.Option("--debug", is_eager=True, callback=_remember, help="Show the traceback of an error.")
]


def echo_path(path: Path) -> None:
    """Print the path of a written file on standard output, byte for byte, whatever its encoding."""
    typer.echo(os.fsencode(path))


def echo_json(answer: Any) -> None:
    """Print an answer as JSON on standard output."""
    import json

    typer.echo(json.dumps(answer, indent=2))
