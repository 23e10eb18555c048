"""The wiring: models, limits, page, endpoints and Gradio's server."""

import io
import logging
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import redirect_stdout
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: waiting threads sleep instead of spinning
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before gradio: no usage statistics

import gradio as gr

from ..errors import OutputError
from .api import add_endpoints
from .bodies import ByteBudget
from .callers import Connections
from .guard import HostNames, RequestGuard
from .limits import Limits
from .models import ModelPool
from .routes import Routes
from .service import SegmentationService
from .words import WordFinder

TITLE = "sam-hub: segment anything"
PATIENCE = 2.0
"""Seconds after Ctrl-C until the process ends, even if work is stuck."""


def build(
    models: Sequence[str] = ("pocket",),
    device: str | None = None,
    limits: Limits | None = None,
    hosts: Sequence[str] = (),
    words: str | None = None,
) -> tuple[gr.Server, SegmentationService]:
    """Build the server, without starting it, and its state.

    models: names, folders, files, Hub ids or exported models offered to visitors, the default first
    device: "cpu", "cuda", ...; default: the fastest available
    hosts: accepted host names, besides this machine's own and IP addresses
    words: detector for text prompts, as for `TextDetector.from_pretrained`, or "default"; default: none
    raises: errors of loading the default model, which happens here
    """
    limits = limits or Limits()
    service = SegmentationService(ModelPool(models, device, limits), limits)
    if words is not None:
        service.finder = WordFinder(None if words == "default" else words, device)
    service.warm_up()
    server = gr.Server(title=TITLE, docs_url=None, redoc_url=None, openapi_url=None)
    server.state.limits, server.state.hosts = limits, HostNames(*hosts)
    budget, connections = ByteBudget(limits.bytes_in_flight), Connections()

    def is_private() -> bool:
        return getattr(server, "auth", None) is not None

    server.add_middleware(
        RequestGuard,
        limits=limits,
        budget=budget,
        hosts=server.state.hosts,
        connections=connections,
        user_of=lambda scope: user_of(server, scope) if is_private() else "",
    )
    Routes(service, lambda request: not is_private() or user_of(server, request.scope) is not None, budget).add_to(
        server
    )
    add_endpoints(server, service, connections)
    return server, service


def launch(
    server: gr.Server,
    *,
    host: str | None = None,
    port: int | None = None,
    share: bool = False,
    auth: tuple[str, str] | list[tuple[str, str]] | None = None,
    mcp: bool = False,
    block: bool = True,
) -> str:
    """Start the server; returns its address if ``block`` is False.

    auth: a name and its password, or several
    share: also request a public link; if that fails, a message says so, and the page runs without it
    block: serve until Ctrl-C, which ends the process
    raises: OutputError if the port is in use
    """
    logging.getLogger("httpx").setLevel(logging.WARNING)
    limits, hosts = server.state.limits, server.state.hosts
    hosts.add(host)
    if auth is None and (share or not _is_loopback(host)) and "SPACE_ID" not in os.environ:
        print(
            "warning: anyone who can reach this page can use it; --auth USER:PASSWORD requires a password",
            file=sys.stderr,
        )
    try:
        with redirect_stdout(io.StringIO()):  # Gradio's advice about tunnels
            _, local, public = server.launch(
                server_name=host,
                server_port=port,
                share=share,
                auth=auth,
                mcp_server=mcp,
                prevent_thread_lock=True,
                quiet=True,
                show_error=False,
                ssr_mode=False,
                allowed_paths=[],
                max_file_size=1,  # nothing is uploaded to Gradio
                state_session_capacity=limits.queued,  # each keeps its last arguments, including photos
            )
    except OSError as e:
        where = f"port {port} is taken or not allowed" if port else "no port from 7860 on is free"
        raise OutputError(f"{where}; choose another with --port") from e
    blocks = server.get_blocks()
    blocks._queue.max_size = limits.queued  # `gr.Server` has no argument for it
    blocks._queue.pending_messages_per_session.max_size = 8 * limits.queued  # responses that nobody has fetched
    hosts.add(urlsplit(public or "").hostname)
    if share and not public:
        print("no public link: Gradio's share server cannot be reached; the page runs here only", file=sys.stderr)
    address = public or local
    if block:
        try:
            print(f"sam-hub runs at {address}  (Ctrl-C stops it)", flush=True)
            if mcp:
                print(f"MCP: {local}gradio_api/mcp/", flush=True)
            threading.Event().wait()
        except KeyboardInterrupt:
            print("\nStopped.", flush=True)
        _exit_after(PATIENCE)
        blocks.server.config.timeout_graceful_shutdown = 1  # open connections are closed then
        blocks.close(verbose=False)
        _exit_after(0)
    return address


def _exit_after(seconds: float) -> None:
    """End the process even if threads are still computing, as a thread inside a model cannot be interrupted."""

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)

    if not seconds:
        leave()
    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()


def _is_loopback(host: str | None) -> bool:
    try:
        return host in (None, "localhost") or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def user_of(server: gr.Server, scope: dict) -> str | None:
    """The name of the signed-in user, or None."""
    tokens = getattr(server, "tokens", None)  # set when the server has started
    return tokens.get(_token(server, scope)) if tokens else None


def _token(server: gr.Server, scope: dict) -> str | None:
    """The value of the cookie set by Gradio's login."""
    from starlette.requests import Request

    cookies = Request(scope).cookies
    names = (f"access-token-{server.cookie_id}", f"access-token-unsecure-{server.cookie_id}")
    return next((cookies[name] for name in names if name in cookies), None)


def main(**options: Any) -> None:
    """Build and run: for a Space's ``app.py``."""
    names = {"models", "device", "limits", "hosts", "words"}
    server, _ = build(**{k: v for k, v in options.items() if k in names})
    launch(server, **{k: v for k, v in options.items() if k not in names})
