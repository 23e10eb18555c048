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
            "--catalogue",
            help="Offer every model in `sam-hub zoo`; a model is downloaded when a visitor first picks it.",
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
            help="Offer a text field that finds every object matching a phrase, with this OWLv2 or Grounding DINO "
            "model: a folder, a Hub id, or default.",
        ),
    ] = None,
    share: Annotated[bool, typer.Option("--share", help="Ask Gradio for a public link.")] = False,
    auth: Annotated[
        str | None, typer.Option("--auth", metavar="USER:PASSWORD", help="Require this user name and password.")
    ] = None,
    mcp: Annotated[bool, typer.Option("--mcp", help="Also offer the endpoints as MCP tools.")] = False,
    space: Annotated[
        Path | None,
        typer.Option("--space", metavar="DIR", help="Write a folder that runs as a Hugging Face Space, and exit."),
    ] = None,
    static: Annotated[
        Path | None,
        typer.Option(
            "--static",
            metavar="DIR",
            help="Write the page as a folder for any web server; models run in the visitor's browser. Then exit.",
        ),
    ] = None,
    runtime: Annotated[
        Path | None,
        typer.Option(
            "--runtime",
            metavar="PATH",
            help="With --static: the npm package onnxruntime-web, as a .tgz or a folder, instead of downloading it.",
        ),
    ] = None,
    device: Device = None,
    debug: Debug = False,
) -> None:
    """Open a web page to segment photos by pointing and clicking.

    \b
    sam-hub demo
    sam-hub demo --model pocket --model mobile-sam --port 7860
    sam-hub demo --catalogue
    sam-hub demo --host 0.0.0.0 --auth me:secret --allow-host masks.example.org
    sam-hub demo --space my-space/
    sam-hub demo --static my-page/

    The page works offline with the bundled model. Programs can use it too: the endpoints encode, segment and
    everything are available to gradio_client and, with --mcp, to language models.
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
        raise WrongUsage("--runtime needs --static DIR; for example --static my-page --runtime onnxruntime-web.tgz")
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
