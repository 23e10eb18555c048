"""Turns failures into responses: an HTTP status and one sentence."""

import json
import logging
from collections.abc import Awaitable, Callable

from starlette.requests import ClientDisconnect

from ..errors import SamHubError
from .limits import Refusal

logger = logging.getLogger(__name__)


class ServerFailure(Exception):
    """The wrapped server was about to respond with status 500."""


def status_and_message(error: BaseException) -> tuple[int, str]:
    """The HTTP status and the sentence of a failure; unexpected errors are logged."""
    if isinstance(error, Refusal):
        return error.status, str(error)
    if isinstance(error, SamHubError):
        return 400, str(error)
    if isinstance(error, MemoryError):
        return 503, "the server is out of memory; try a smaller photo"
    if isinstance(error, ClientDisconnect):
        return 408, "the connection was cut"
    if not isinstance(error, ServerFailure):
        logger.error("%s: %s", type(error).__name__, error, exc_info=logger.isEnabledFor(logging.DEBUG))
    return 500, "something went wrong on the server; try again"


async def send_failure(error: BaseException, send: Callable[[dict], Awaitable[None]], headers: dict[str, str]) -> None:
    """Respond with the sentence of a failure."""
    status, text = status_and_message(error)
    headers = {"content-type": "application/json", **headers}
    raw = [(k.encode(), v.encode()) for k, v in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": json.dumps({"error": text}).encode()})
