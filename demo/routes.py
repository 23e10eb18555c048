"""HTTP routes of the page and its endpoints.

Short responses are JSON; long ones are streamed as lines, each a JSON object (see `service.Event`), so that the page
shows progress and can cancel the work by closing the connection.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from .. import __version__
from ..errors import DataError
from ..results import jpeg
from .bodies import ByteBudget
from .exports import Scene, export, stem_of
from .failures import status_and_message
from .objects import read_annotations, read_objects
from .service import Event, SegmentationService
from .streams import Stream, WorkLimit, after, in_turns, lines, until_left

PAGE = Path(__file__).parent / "page"
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
}
FILES = {path.name: path for path in sorted(PAGE.iterdir()) if path.suffix in TYPES}
"""The only files served, by name."""

Handler = Callable[[Request], Awaitable[Response]]
PRIVATE = {"cache-control": "no-store"}


class Routes:
    """The handlers; `add_to` puts them on a server.

    signed_in: whether a request's sender may see the page
    budget: of bytes in transit
    """

    def __init__(self, service: SegmentationService, signed_in: Callable[[Request], bool], budget: ByteBudget) -> None:
        self.service, self.signed_in, self.budget = service, signed_in, budget
        self.limits = service.limits

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
                "words": self.words,
                "export": self.export,
                "import": self.read,
            },
        }.items():
            for path, function in handler.items():
                server.add_route(f"/sam/{path}", guarded(function), methods=[method])

    async def index(self, request: Request) -> Response:
        return _file(FILES["index.html" if self.signed_in(request) else "login.html"])

    async def file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in FILES:
            return JSONResponse({"error": "there is no such file"}, 404)
        return _file(FILES[name])

    async def about(self, request: Request) -> Response:
        return JSONResponse({**self.service.facts(), **self.service.more_facts(), "version": __version__})

    async def photo(self, request: Request) -> Response:
        pixels = self.service.pixels(request.path_params["id"])
        return Response(await self.service.files.run(jpeg, pixels), media_type="image/jpeg", headers=PRIVATE)

    async def encode(self, request: Request) -> Response:
        data = await request.body()
        return await self._events(self.service.encode(data, request.query_params.get("model")))

    async def again(self, request: Request) -> Response:
        body = await read_json(request)
        return await self._events(self.service.encode_again(body.get("id"), body.get("model")))

    async def segment(self, request: Request) -> Response:
        body = await read_json(request)
        if body.get("preview") is True:
            answer = await self.service.preview(body.get("id"), body.get("prompt"))
            return JSONResponse(answer, headers=PRIVATE)
        return await self._events(self.service.segment(body.get("id"), body.get("prompt")))

    async def everything(self, request: Request) -> Response:
        body = await read_json(request)
        return await self._events(self.service.everything(body.get("id"), body.get("preset"), body.get("tidy")))

    async def words(self, request: Request) -> Response:
        body = await read_json(request)
        return await self._events(self.service.words(body.get("id"), body.get("text")))

    async def export(self, request: Request) -> Response:
        body, limit = await read_json(request), WorkLimit(self.limits.export_seconds)
        photo = self.service.photos.get(body.get("id"))

        def prepare() -> tuple[str, Any]:
            objects = read_objects(body.get("objects"), photo.size, self.limits)
            scene = Scene(stem_of(body.get("file_name")), photo.pixels, objects, limit.check)
            return export(scene, body.get("formats"), self.limits)

        name, chunks = await self.service.files.run(prepare)
        disposition = {"content-disposition": f"attachment; filename*=UTF-8''{quote(name)}"}
        chunks = await _started(in_turns(self.service.files, chunks, limit))
        return Stream(chunks, self.limits, self.budget, "application/octet-stream", {**PRIVATE, **disposition})

    async def read(self, request: Request) -> Response:
        body, limit = await read_json(request), WorkLimit(self.limits.export_seconds)
        photo = self.service.photos.get(body.get("id"))
        steps = read_annotations(body.get("document"), photo.size, self.limits)
        objects = [o async for o in in_turns(self.service.files, steps, limit)]
        return JSONResponse({"objects": objects}, headers=PRIVATE)

    async def _events(self, events: AsyncIterator[Event]) -> Response:
        """Stream events, one line each. Immediate errors have their own HTTP status."""
        chunks = lines(await _started(events))
        headers = {**PRIVATE, "x-accel-buffering": "no"}
        return Stream(chunks, self.limits, self.budget, "application/x-ndjson", headers)


def _file(path: Path) -> Response:
    return FileResponse(path, media_type=TYPES[path.suffix], headers={"cache-control": "no-cache"})


def guarded(handler: Handler) -> Handler:
    """Turn failures into sentences, and cancel the handler if the visitor leaves."""

    async def answer(request: Request) -> Response:
        try:
            await request.body()
            return await until_left(request.receive, handler(request))
        except Exception as e:
            status, text = status_and_message(e)
            return JSONResponse({"error": text}, status)

    return answer


async def _started(items: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """The same iterator, after the first event has arrived."""
    return after(await anext(items), items)


async def read_json(request: Request) -> dict[str, Any]:
    """The body, a JSON object. raises: DataError"""
    try:
        body = json.loads(await request.body(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as e:
        raise DataError("the request is not JSON") from e
    if not isinstance(body, dict):
        raise DataError("the request must be a JSON object")
    return body


def _no_constant(name: str) -> None:
    raise ValueError(name)
