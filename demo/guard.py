"""Guards the server: which addresses and host names exist, who has access, and how large requests may be.

Gradio's server has many more routes than this page needs (uploads to disk, files by path, a proxy, editors, ...).
Only those of the page and of the named endpoints are allowed; none of them reads or writes files by a name from the
client.
"""

import logging
import os
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qs

from ..errors import DataError, SamHubError
from .bodies import Body, BodyLimits, ByteBudget
from .callers import Connections
from .failures import ServerFailure, send_failure, status_and_message
from .limits import Limits, Refusal

logger = logging.getLogger(__name__)

OPEN = ("/page/", "/login", "/logout", "/favicon.ico", "/robots.txt", "/gradio_api/startup-events")
"""Open to everybody, even before sign-in: nothing in them is private. Gradio requests the last one at startup."""

MCP = ("/gradio_api/mcp", "/gradio_api/mcp/http", "/gradio_api/mcp/schema")
"""Tools over streamable HTTP, where a call ends with its connection; not the older transport with two addresses."""

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
)
"""Gradio's own addresses that its clients and MCP need."""

OWN = ("/sam/",)


def is_open(path: str) -> bool:
    """Whether an address is open to everybody, even before sign-in."""
    return path == "/" or path.startswith(OPEN)


def is_gradios(path: str) -> bool:
    """Whether it is one of Gradio's allowed addresses."""
    return path.startswith(GRADIO) or path.rstrip("/") in MCP


def is_reachable(path: str) -> bool:
    """Whether an address exists, for those with access."""
    return is_open(path) or path.startswith(OWN) or is_gradios(path)


SPACE_FRAMES = "'self' https://huggingface.co https://*.hf.space"
"""Sites that may embed the page in a frame: on a Space, the Hub; elsewhere only the page's own."""


def security_headers() -> dict[str, str]:
    """Headers of every response."""
    frames = SPACE_FRAMES if os.environ.get("SPACE_ID") else "'self'"
    policy = (
        "default-src 'self'; img-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; object-src 'none'; "
        f"base-uri 'none'; form-action 'self'; frame-ancestors {frames}"
    )
    return {"content-security-policy": policy, "referrer-policy": "no-referrer", "x-content-type-options": "nosniff"}


class HostNames:
    """The accepted host names of the server. IP addresses are always accepted.

    A foreign page whose name resolves to this machine (DNS rebinding) sends its own name, and is refused.
    """

    def __init__(self, *names: str | None) -> None:
        here = socket.gethostname()
        self.names: set[str] = set()
        self.add("localhost", here, f"{here}.local", os.environ.get("SPACE_HOST"), *names)

    def add(self, *names: str | None) -> None:
        self.names |= {name.lower().rstrip(".") for name in names if name}

    def check(self, header: bytes | None) -> None:
        """Check a Host header. raises: Refusal (421) for a foreign name"""
        text = (header or b"").decode("latin-1").lower()
        name = text[1:].partition("]")[0] if text.startswith("[") else text.partition(":")[0].rstrip(".")
        if name and name in self.names:
            return
        try:
            ip_address(name)
        except ValueError:
            text = f"this server does not go by the name {name[:80]!r}; its operator can allow that with --allow-host"
            raise Refusal(text, 421) from None


class LoginLimit:
    """Limits sign-in attempts per minute, for each name and in total.

    Not by IP address: behind a proxy, all visitors share one.
    """

    def __init__(self, each: int, together: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.each, self.together, self._clock = each, together, clock
        self._attempts: deque[tuple[float, str]] = deque()

    def check(self, name: str) -> None:
        """Count one attempt. raises: Refusal (429)"""
        now = self._clock()
        while self._attempts and self._attempts[0][0] <= now - 60:
            self._attempts.popleft()
        here = sum(attempt[1] == name for attempt in self._attempts)
        if here >= self.each or len(self._attempts) >= self.together:
            raise Refusal("too many attempts to sign in; wait a minute", 429)
        self._attempts.append((now, name))


def login_name(body: bytes) -> str:
    """The name in a sign-in attempt, read as Gradio does. raises: DataError"""
    try:
        fields = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=20)
    except ValueError as e:
        raise DataError("the request to sign in cannot be read; send username and password as a form") from e
    names = fields.get("username", [])
    if len(names) != 1:
        raise DataError("the request to sign in has no username, or several; send one, and a password")
    return names[0].strip()


class RequestGuard:
    """ASGI middleware.

    limits: larger bodies are refused while they arrive
    budget: shared by all bodies; hosts: names of this server; connections: registry of MCP connections
    user_of: returns the sender's name, or None if not signed in; None if no sign-in is required
    """

    def __init__(
        self,
        app: Any,
        limits: Limits,
        budget: ByteBudget,
        hosts: HostNames,
        connections: Connections,
        user_of: Callable[[Any], str | None] | None = None,
    ) -> None:
        self.app, self.limits, self.budget, self.hosts, self.user_of = app, limits, budget, hosts, user_of
        self.connections = connections
        self.logins = LoginLimit(limits.logins, limits.all_logins)
        self.headers = security_headers()

    async def __call__(self, scope: dict, receive: Callable, send: Callable[[dict], Awaitable[None]]) -> None:
        if scope["type"] != "http":
            await (self.app(scope, receive, send) if scope["type"] == "lifespan" else _close(send))
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        headers, most = dict(scope["headers"]), BodyLimits.of(path, self.limits)
        body, started = Body(receive, headers, most, self.limits, self.budget), False

        def added() -> dict[str, str]:
            return {**self.headers, **({"connection": "close"} if body.unread else {})}

        async def answer(message: dict) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                if message["status"] == 500:
                    raise ServerFailure
                started = True
                own = [(k.encode(), v.encode()) for k, v in added().items()]
                message = {**message, "headers": [*message.get("headers", []), *own]}
            await send(message)

        try:
            self.hosts.check(headers.get(b"host"))
            self._check(path, scope)
            body.check_announced()
            readable = body.receive
            if scope["method"] == "POST" and most.login:
                whole, readable = await body.whole()
                self._check_login(headers, whole)
            elif scope["method"] == "POST" and most.plain:
                readable = await body.plain()
            with self.connections.opened(scope) if path.rstrip("/") in MCP else nullcontext(scope) as known:
                await self.app(known, readable, answer)
        except Exception as e:
            if is_gradios(path) and not isinstance(e, SamHubError | MemoryError):
                logger.info("%s: %s: %s", path, type(e).__name__, e)  # Gradio fails on unreadable requests
                e = Refusal("this is no call that the server knows; see /gradio_api/info", 400)
            if started:
                status_and_message(e)  # logs it; without its end the visitor knows that the answer is not whole
                return
            await send_failure(e, send, added())
        finally:
            body.release()

    def _check_login(self, headers: dict[bytes, bytes], whole: bytes) -> None:
        """Count a sign-in attempt. raises: Refusal (429) for too many"""
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind != b"application/x-www-form-urlencoded":  # in another encoding, the name could differ
            raise Refusal("send username and password as a form, application/x-www-form-urlencoded", 415)
        self.logins.check(login_name(whole))

    def _check(self, path: str, scope: dict) -> None:
        """Check that the address exists and the sender has access. raises: Refusal"""
        if is_open(path):
            return
        if not is_reachable(path):
            raise Refusal("there is nothing at this address", 404)
        if self.user_of is not None and self.user_of(scope) is None:
            raise Refusal("sign in first", 401)


async def _close(send: Callable) -> None:
    await send({"type": "websocket.close", "code": 1000})
