"""The page and what it talks to, over HTTP.

Small answers are JSON; what takes long is told line by line, each line a JSON object (see `service.Event`), so
that the page shows what happens and can stop it by closing the connection.
"""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse

from .. import __version__
from ..errors import DataError
from ..results import jpeg
from .admission import AdmissionQueue
from .exports import Scene, export, stem_of
from .guard import status_and_message
from .objects import read_annotations, read_objects
from .service import Event, SegmentationService

PAGE = Path(__file__).parent / "page"
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
}
FILES = {path.name: path for path in sorted(PAGE.iterdir()) if path.suffix in TYPES}
"""What is served, by name: a name that is none of these is not looked for."""

Handler = Callable[[Request], Any]


class Routes:
    """The handlers; `add_to` puts them on a server."""

    def __init__(self, service: SegmentationService, signed_in: Callable[[Request], bool]) -> None:
        self.service, self.signed_in = service, signed_in
        self.exports = AdmissionQueue(service.limits.decodes, service.limits.waiting)

    def add_to(self, server: Any) -> None:
        server.add_route("/", self.index, methods=["GET", "HEAD"])
        server.add_route("/page/{name}", self.file, methods=["GET"])
        for method, handler in {
            "GET": {"about": self.about, "photo/{id}": self.photo},
            "POST": {
                "encode": self.encode,
                "again": self.again,
                "segment": self.segment,
                "everything": self.everything,
                "export": self.export,
                "import": self.read,
            },
        }.items():
            for path, function in handler.items():
                server.add_route(f"/sam/{path}", _guarded(function), methods=[method])

    async def index(self, request: Request) -> Response:
        return _file(FILES["index.html" if self.signed_in(request) else "login.html"])

    async def file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in FILES:
            return JSONResponse({"error": "there is no such file"}, 404)
        return _file(FILES[name])

    async def about(self, request: Request) -> Response:
        return JSONResponse({**self.service.facts(), "version": __version__})

    async def photo(self, request: Request) -> Response:
        pixels = self.service.pixels(request.path_params["id"])
        return Response(await run_in_threadpool(jpeg, pixels), media_type="image/jpeg", headers=PRIVATE)

    async def encode(self, request: Request) -> Response:
        data = await request.body()
        return await _lines(self.service.encode(data, request.query_params.get("model")))

    async def again(self, request: Request) -> Response:
        body = await _json(request)
        return await _lines(self.service.encode_again(body.get("id"), body.get("model")))

    async def segment(self, request: Request) -> Response:
        body = await _json(request)
        if body.get("preview") is True:
            return await _answer(self.service.preview, body.get("id"), body.get("prompt"))
        return await _lines(self.service.segment(body.get("id"), body.get("prompt")))

    async def everything(self, request: Request) -> Response:
        body, stop = await _json(request), threading.Event()
        return await _lines(self.service.everything(body.get("id"), body.get("preset"), stop), stop)

    async def export(self, request: Request) -> Response:
        body = await _json(request)

        def work() -> tuple[str, bytes]:
            photo = self.service.photos.get(body.get("id"))
            with self.exports.turn():
                objects = read_objects(body.get("objects"), photo.size, self.service.limits)
                return export(Scene(stem_of(body.get("file_name")), photo.pixels, objects), body.get("formats"))

        name, content = await run_in_threadpool(work)
        disposition = {"content-disposition": f"attachment; filename*=UTF-8''{quote(name)}"}
        return Response(content, media_type="application/octet-stream", headers={**PRIVATE, **disposition})

    async def read(self, request: Request) -> Response:
        body = await _json(request)

        def work() -> dict[str, Any]:
            photo = self.service.photos.get(body.get("id"))
            with self.exports.turn():
                return {"objects": read_annotations(body.get("document"), photo.size, self.service.limits)}

        return await _answer(work)


PRIVATE = {"cache-control": "no-store"}


def _file(path: Path) -> Response:
    return FileResponse(path, media_type=TYPES[path.suffix], headers={"cache-control": "no-cache"})


def _guarded(handler: Handler) -> Handler:
    """A failure becomes its sentence."""

    async def guarded(request: Request) -> Response:
        try:
            return await handler(request)
        except Exception as e:
            status, text = status_and_message(e)
            return JSONResponse({"error": text}, status)

    return guarded


async def _answer(function: Callable, *arguments: Any) -> Response:
    return JSONResponse(await run_in_threadpool(function, *arguments), headers=PRIVATE)


async def _json(request: Request) -> dict[str, Any]:
    """The body, an object. raises: DataError"""
    try:
        body = json.loads(await request.body(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as e:
        raise DataError("the request is not JSON") from e
    if not isinstance(body, dict):
        raise DataError("the request must be a JSON object")
    return body


def _no_constant(name: str) -> None:
    raise ValueError(name)


async def _lines(events: Iterator[Event], stop: threading.Event | None = None) -> Response:
    """Events as they happen, a line each; a failure is the last line. What is wrong at once has its own status."""
    first = await run_in_threadpool(next, events)  # checks of the arguments

    def lines() -> Iterator[str]:
        try:
            yield _line(first)
            for event in events:
                yield _line(event)
        except Exception as e:
            status, text = status_and_message(e)
            yield _line({"stage": "failed", "error": text, "status": status})
        finally:
            if stop is not None:
                stop.set()
            events.close()

    return StreamingResponse(lines(), media_type="application/x-ndjson", headers={**PRIVATE, "x-accel-buffering": "no"})


def _line(event: Event) -> str:
    return json.dumps(event) + "\n"
