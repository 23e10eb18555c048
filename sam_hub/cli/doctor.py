"""``sam-hub doctor``: what works here, and what to do about the rest."""

import typer

from .options import Debug, Json, echo_json

SIGNS = {"ok": ("ok", "green"), "absent": ("--", "yellow"), "problem": ("!!", "red")}


def doctor(as_json: Json = False, debug: Debug = False) -> None:
    """Check this installation.

    Shows versions, devices, the bundled model, the Hub's cache, token and endpoint, and how to install each optional
    part. Exit code 1 if something that prompting needs does not work. Needs no network.
    """
    from dataclasses import asdict

    from ..diagnostics.doctor import diagnose, healthy

    checks = diagnose()
    well = healthy(checks)
    if as_json:
        echo_json({"healthy": well, "checks": [asdict(c) for c in checks]})
    else:
        width = max(len(c.name) for c in checks)
        for c in checks:
            sign, color = SIGNS[c.status]
            typer.echo(f"{typer.style(sign, fg=color)}  {c.name:<{width}}  {c.detail}")
            if c.advice:
                typer.echo(f"    {'':<{width}}  -> {c.advice}")
    if not well:
        raise typer.Exit(1)
