"""``sam-hub push``: uploads a model, its processor, its exports and a card to the Hub in one commit."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..ops.wording import counted
from .options import Debug, Json, echo_json

if TYPE_CHECKING:
    from ..publishing import Parcel


def push(
    model: Annotated[str, typer.Argument(metavar="DIR", help="A folder, or a name from `sam-hub zoo`.")],
    repo: Annotated[str, typer.Argument(metavar="REPO", help="USER/NAME, or NAME under your own.")],
    private: Annotated[
        bool | None, typer.Option("--private/--public", help="Visibility of a new repository; default: the Hub's.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", metavar="BRANCH", help="Branch, created if missing; default: main.")
    ] = None,
    message: Annotated[str | None, typer.Option("--message", help="Commit message.")] = None,
    base: Annotated[
        str | None, typer.Option("--base", metavar="NAME", help="Base model of the weights, for the card.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", metavar="DIR", help="Also upload the exported files in this folder.")
    ] = None,
    results: Annotated[
        list[Path] | None,
        typer.Option("--results", metavar="JSON", help="Reports of `sam-hub eval`, for the card; repeatable."),
    ] = None,
    measure: Annotated[bool, typer.Option("--measure", help="Measure latency on this machine, for the card.")] = False,
    card: Annotated[
        Path | None, typer.Option("--card", metavar="FILE", help="Use this README.md unchanged instead of DIR's.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would be uploaded, without contacting the Hub.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Upload a model to the Hub: weights, configuration, processor, exported files and a model card.

    \b
    sam-hub push my-model alice/cells --private --dry-run
    sam-hub push my-model alice/cells --base mobile-sam --results eval.json
    sam-hub push pocket alice/pocket --revision experiment --bundle exported

    Everything is uploaded in one commit; rerun the same command to resume. Only the model's files and those of folders
    with an export.json are uploaded, never links that lead out of DIR. DIR's README.md is kept, and missing sections
    of a model card are added. Log in first: hf auth login.
    """
    from ..publishing import push_folder
    from .loading import quiet_but_for_downloads

    quiet_but_for_downloads()

    def tell(parcel: "Parcel") -> None:
        if not as_json:
            _tell(parcel, repo, revision, private, dry_run)

    answer = push_folder(
        model, repo, tell, private=private, revision=revision, message=message, base=base, bundle=bundle,
        results=results or [], card=card, latency=measure, dry_run=dry_run,
    )  # fmt: skip
    if as_json:
        echo_json(answer)
    elif answer["commit"]:
        typer.echo(answer["commit"])


def _tell(parcel: "Parcel", repo: str, revision: str | None, private: bool | None, dry_run: bool) -> None:
    """List the files on standard error; with --dry-run, on standard output, as the result."""
    kind = {True: ", private", False: ", public", None: ""}[private]
    verb, to = "Would upload" if dry_run else "Uploading", f"{repo} ({revision or 'main'}{kind})"
    lines = [f"{verb} {counted(len(parcel.files), 'file')}, {parcel.size / 1e6:.1f} MB, to {to}:"]
    width = max(map(len, parcel.files))
    for path, file in sorted(parcel.files.items()):
        note = f"  {parcel.made[path]}" if path in parcel.made else ""
        lines.append(f"  {path:<{width}}  {file.stat().st_size / 1e6:8.2f} MB{note}")
    lines += [f"  left out: {os.fsdecode(path)} ({why})" for path, why in sorted(parcel.left_out.items())]
    typer.echo("\n".join(lines), err=not dry_run)
