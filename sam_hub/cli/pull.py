"""``sam-hub pull``: downloads models to the cache, for use without a network."""

from typing import Annotated

import typer

from .options import Debug, Json, echo_json


def pull(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names from `sam-hub zoo`, or Hub ids.")],
    revision: Annotated[
        str | None, typer.Option("--revision", metavar="REV", help="Branch, tag or commit; with one NAME only.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Download and convert again.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Download models, to load them later without a network.

    \b
    sam-hub pull mobile-sam sam-vit-b
    sam-hub pull alice/cells --revision v2
    HF_HUB_OFFLINE=1 sam-hub segment photo.jpg --point 10,20 --model mobile-sam

    Original files are converted. Rerun the same command to resume an interrupted download. To move models to another
    machine, copy the folder HF_HOME (~/.cache/huggingface by default).
    """
    from ..errors import WrongUsage

    if revision and len(names) > 1:
        raise WrongUsage("--revision applies to one model; pull the others separately")

    from ..models.fetching import prefetch
    from .loading import quiet_but_for_downloads

    quiet_but_for_downloads()
    found = []
    for name in names:
        place = prefetch(name, revision, force)
        found.append({"name": name, "path": str(place)})
        if not as_json:
            typer.echo(f"{name}: {place}")
    if as_json:
        echo_json(found)
