"""What stands before the server: which addresses exist, who may come in, how much they may bring.

Gradio's server has many more routes than this page needs (uploads to disk, files by path, a proxy, editors, ...).
Only those of the page and of the named endpoints are let through; nothing that is let through reads or writes files
by a name that a client gives.
"""

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from ..errors import SamHubError
from .limits import Limits, Refusal

logger = logging.getLogger(__name__)

OPEN = ("/page/", "/login", "/logout", "/favicon.ico", "/robots.txt", "/gradio_api/startup-events")
"""For everybody, also before the password: nothing in them is private. Gradio asks for the last when it starts."""

GRADIO = (
    "/config",
    "/gradio_api/info",
    "/gradio_api/call/",
    "/gradio_api/queue/join",
    "/gradio_api/queue/data",
    "/gradio_api/heartbeat/",
    "/gradio_api/cancel",
    "/gradio_api/reset",
    "/gradio_api/login_check",
    "/gradio_api/app_id",
    "/gradio_api/mcp",
)
"""Of Gradio's own addresses, what its clients and MCP need."""

OWN = ("/sam/",)

HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class RequestGuard:
    """ASGI middleware.

    limits: bodies larger than they allow are refused while they arrive
    user_of: the name of who sends a request, None for a stranger; itself None where everybody may come in
    """

    def __init__(self, app: Any, limits: Limits, user_of: Callable[[Any], str | None] | None = None) -> None:
        self.app, self.limits, self.user_of = app, limits, user_of

    async def __call__(self, scope: dict, receive: Callable, send: Callable[[dict], Awaitable[None]]) -> None:
        if scope["type"] != "http":
            await (self.app(scope, receive, send) if scope["type"] == "lifespan" else _close(send))
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        started = False

        async def answer(message: dict) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                if message["status"] == 500:
                    raise _Failed
                started = True
                own = [(k.encode(), v.encode()) for k, v in HEADERS.items()]
                if message["status"] == 413:  # the rest of the body is not waited for
                    own.append((b"connection", b"close"))
                message = {**message, "headers": [*message.get("headers", []), *own]}
            await send(message)

        try:
            self._check(path, scope)
            _announced(scope, self._most(path), path)
            await self.app(scope, _counted(receive, self._most(path), path), answer)
        except Exception as e:
            if started:
                raise
            await refuse(e, send)

    def _check(self, path: str, scope: dict) -> None:
        """Refusal unless the address exists and the sender may use it."""
        if path == "/" or path.startswith(OPEN):
            return
        if not path.startswith((*OWN, *GRADIO)):
            raise Refusal("there is nothing at this address", 404)
        if self.user_of is not None and self.user_of(scope) is None:
            raise Refusal("sign in first", 401)

    def _most(self, path: str) -> int:
        """Bytes of a body."""
        if path == "/sam/encode":
            return self.limits.upload_bytes
        if path.startswith(("/gradio_api/call/", "/gradio_api/queue/join", "/gradio_api/mcp")):
            return self.limits.upload_bytes * 4 // 3 + 65536  # a photo in base64
        return self.limits.message_bytes


class _Failed(Exception):
    """The server behind was about to answer 500."""


def _announced(scope: dict, most: int, path: str) -> None:
    """Refusal where the headers already say that the body is too large."""
    length = dict(scope["headers"]).get(b"content-length", b"0")
    if not length.isdigit() or int(length) > most:
        raise _too_large(most, path)


def _too_large(most: int, path: str) -> Refusal:
    what = "the photo" if path == "/sam/encode" else "the request"
    return Refusal(f"{what} is larger than {most >> 20} MB; send less", 413)


def _counted(receive: Callable, most: int, path: str) -> Callable:
    taken = 0

    async def counting() -> dict:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > most:
            raise _too_large(most, path)
        return message

    return counting


def status_and_message(error: Exception) -> tuple[int, str]:
    """The HTTP status and the sentence of a failure."""
    if isinstance(error, Refusal):
        return error.status, str(error)
    if isinstance(error, SamHubError):
        return 400, str(error)
    if isinstance(error, MemoryError):
        return 503, "the server is out of memory; try a smaller photo"
    if not isinstance(error, _Failed):
        logger.error("%s: %s", type(error).__name__, error, exc_info=logger.isEnabledFor(logging.DEBUG))
    return 500, "something went wrong on the server; try again"


async def refuse(error: Exception, send: Callable[[dict], Awaitable[None]]) -> None:
    """Answer with the sentence of a failure."""
    status, text = status_and_message(error)
    headers = [(b"content-type", b"application/json")]
    if status == 413:  # the rest of the body is not waited for
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"error": text}).encode()})


async def _close(send: Callable) -> None:
    await send({"type": "websocket.close", "code": 1000})
