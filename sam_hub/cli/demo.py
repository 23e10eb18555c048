"""``sam-hub demo``: the web page."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import WrongUsage
from .options import AllowedHosts, Debug, Device, Host, Port


def demo(
    models: Annotated[
        list[str],
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            help="A model to offer; repeatable, the first is preselected. A name from `sam-hub zoo`, a "
            "folder, a checkpoint, a Hub id or an exported model. Default: pocket.",
        ),
    ] = [],  # noqa: B006 typer reads it, nobody writes to it
    catalogue: Annotated[
        bool,
        typer.Option(
            "--catalogue", help="Offer every model of `sam-hub zoo`; the first visitor who picks one downloads it."
        ),
    ] = False,
    host: Host = "127.0.0.1",
    port: Port = None,
    allowed_hosts: AllowedHosts = [],  # noqa: B006 typer reads it, nobody writes to it
    words: Annotated[
        str | None,
        typer.Option(
            "--words",
            metavar="DETECTOR",
            help="Offer a field that finds all objects that words name, by this OWLv2 or Grounding DINO: a folder, a "
            "Hub id, or default.",
        ),
    ] = None,
    share: Annotated[bool, typer.Option("--share", help="Ask Gradio for a public link.")] = False,
    auth: Annotated[
        str | None, typer.Option("--auth", metavar="USER:PASSWORD", help="Ask visitors for this name and password.")
    ] = None,
    mcp: Annotated[bool, typer.Option("--mcp", help="Offer the endpoints as MCP tools too.")] = False,
    space: Annotated[
        Path | None,
        typer.Option("--space", metavar="DIR", help="Write a folder that runs as a Hugging Face Space, and stop."),
    ] = None,
    static: Annotated[
        Path | None,
        typer.Option(
            "--static",
            metavar="DIR",
            help="Write the page as a folder for any web server, where models run in the visitor's browser, and stop.",
        ),
    ] = None,
    runtime: Annotated[
        Path | None,
        typer.Option(
            "--runtime",
            metavar="PATH",
            help="With --static: npm's package onnxruntime-web, as a .tgz or a folder, instead of downloading it once.",
        ),
    ] = None,
    device: Device = None,
    debug: Debug = False,
) -> None:
    """Open a web page to segment photos by pointing at things.

    \b
    sam-hub demo
    sam-hub demo --model pocket --model mobile-sam --port 7860
    sam-hub demo --catalogue
    sam-hub demo --host 0.0.0.0 --auth me:secret --allow-host masks.example.org
    sam-hub demo --space my-space/
    sam-hub demo --static my-page/

    The page works offline with the embedded model. Programs may call it too: the endpoints encode, segment and
    everything are there for gradio_client and, with --mcp, for language models.
    """
    pair = None
    if auth is not None:
        user, colon, password = auth.partition(":")
        if not (user and colon and password):
            raise WrongUsage("--auth is not USER:PASSWORD; for example --auth me:secret")
        pair = (user, password)
    if space is not None:
        from ..demo.space import write_space

        for path in write_space(space, models or ["pocket"]):
            typer.echo(path)
        return
    if runtime is not None and static is None:
        raise WrongUsage("--runtime goes with --static DIR; for example --static my-page --runtime onnxruntime-web.tgz")
    if static is not None:
        from ..demo.static_page import write_static

        for path in write_static(static, models or ["pocket"], runtime, lambda line: typer.echo(line, err=True)):
            typer.echo(path)
        return
    from ..ops.packages import require

    require("the web page", ["gradio"], "demo")
    if mcp:
        require("--mcp", ["mcp"], "mcp")
    from ..demo.app import build, launch
    from ..zoo import ZOO

    typer.echo("Loading the model ...", err=True)
    offered = dict.fromkeys([*(models or ["pocket"]), *(ZOO if catalogue else ())])
    server, _ = build(list(offered), device, hosts=allowed_hosts, words=words)
    launch(server, host=host, port=port, share=share, auth=pair, mcp=mcp)
