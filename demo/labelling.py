"""Serves a project of the data engine to the page; every mask is stored before it is acknowledged."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from ..engine.photos import is_photo
from ..engine.queue import NotYours, Queue
from ..engine.rounds import model_source
from ..engine.store import MaskVersion, PhotoRow, Project, insert_mask, read_object, rle_of
from ..errors import DataError, OutputError
from ..ops.run_lengths import rle_to_mask
from .limits import Refusal
from .models import ModelEntry
from .routes import PRIVATE, guarded, read_json
from .service import SegmentationService
from .shapes import shape_of_mask

TEXT = 200
"""Maximum characters of an id or name from the page."""

PROMPTS = 100_000
"""Maximum characters of an object's prompts, as JSON."""

STATES = ("accepted", "proposed", "removed")  # not a set: a client may send a list, which is not hashable


class Labelling:
    """The routes of a project; `add_to` puts them on a server.

    service: encodes and segments; offers the project's current model, including one trained in the meantime
    annotator: returns the name of a request's sender
    """

    def __init__(self, project: Project, service: SegmentationService, annotator: Callable[[Request], str]) -> None:
        self.project, self.service, self.annotator = project, service, annotator
        self.queue = Queue(project)
        self.first = project.setting("round")  # round of the model at server start
        service.more_facts = lambda: {"project": {"name": project.folder.resolve().name, "limit": SLOW_MASK}}

    def add_to(self, server: Any) -> None:
        server.add_route("/sam/project/photo/{id:path}", guarded(self.photo), methods=["GET"])
        for name in ("next", "before", "save", "finish", "keep"):
            server.add_route(f"/sam/project/{name}", guarded(getattr(self, name)), methods=["POST"])

    async def photo(self, request: Request) -> Response:
        photo = self.project.photo(_number(request.path_params["id"]))
        if not Path(photo.path).is_file():
            raise Refusal(f"{Path(photo.path).name} no longer exists; go on to the next photo", 404)
        if not await self.service.files.run(is_photo, photo.path):  # a project made by others may name any file
            raise Refusal(f"{Path(photo.path).name} is not a photo; go on to the next one", 404)
        return FileResponse(photo.path, media_type="application/octet-stream", headers=PRIVATE)

    async def next(self, request: Request) -> Response:
        body = await read_json(request)
        holder, who = _text(body, "holder"), self.annotator(request)
        photo = await self.service.files.run(lambda: self.queue.next(holder, who))
        return await self._answer(photo)

    async def before(self, request: Request) -> Response:
        body = await read_json(request)
        holder, who, now = _text(body, "holder"), self.annotator(request), body.get("photo")
        now = None if now is None else _number(now)

        def work() -> PhotoRow | None:
            id = self.queue.before(who, now)
            return None if id is None else self.queue.take(id, holder, who)

        with Named():
            photo = await self.service.files.run(work)
        if photo is None:
            raise Refusal("there is no photo before this one", 404)
        return await self._answer(photo)

    async def keep(self, request: Request) -> Response:
        body = await read_json(request)
        photo, holder, who = _number(body.get("photo")), _text(body, "holder"), self.annotator(request)
        with Named():
            await self.service.files.run(lambda: self.queue.keep(photo, holder, who))
        return JSONResponse({"counts": self._counts()}, headers=PRIVATE)

    async def save(self, request: Request) -> Response:
        """Store one version of an object; it is on disk when this returns."""
        body = await read_json(request)
        photo, holder = self.project.photo(_number(body.get("photo"))), _text(body, "holder")
        who = self.annotator(request)
        version = self._version(body, who)

        def work() -> int:
            with self.project.writing() as db:
                if db.execute("SELECT 1 FROM masks WHERE request = ?", (version.request,)).fetchone() is None:
                    self.queue.check(db, photo.id, holder)
                return insert_mask(db, photo, version)

        with Named():
            stored = await self.service.files.run(work)
        facts = {"saved": version.request, "number": stored, "counts": self._counts()}
        return JSONResponse(facts, headers=PRIVATE)

    async def finish(self, request: Request) -> Response:
        body = await read_json(request)
        state, photo = body.get("state"), _number(body.get("photo"))
        if state not in ("done", "skipped"):
            raise DataError("a photo can be marked done or skipped")
        holder, who = _text(body, "holder"), self.annotator(request)
        with Named():
            await self.service.files.run(lambda: self.queue.finish(photo, holder, who, state))
        return JSONResponse({"counts": self._counts()}, headers=PRIVATE)

    def _version(self, body: dict[str, Any], who: str) -> MaskVersion:
        """raises: DataError"""
        if body.get("state") not in STATES:
            raise DataError(f"the state of a mask is one of {', '.join(STATES)}")
        round = self.project.setting("round")
        return MaskVersion(
            request=_text(body, "request"),
            object=_text(body, "object"),
            state=body["state"],
            rle=body.get("rle"),
            stage="semi" if body.get("semi") is True else "assisted",
            round=round,
            model=self.project.one("SELECT model FROM rounds WHERE round = ?", (round,))["model"],
            annotator=who,
            name=_text(body, "name", least=0),
            prompts=_prompts(body),
            score=_real(body.get("score")),
            clicks=_count(body.get("clicks")),
            seconds=max(0.0, _real(body.get("seconds")) or 0.0),
        )

    async def _answer(self, photo: PhotoRow | None) -> Response:
        """A photo with its objects, or a note that nothing is left."""
        if photo is None:
            return JSONResponse({"photo": None, "counts": self._counts()}, headers=PRIVATE)
        objects = await self.service.files.run(lambda: [self._object(row, photo) for row in self._rows(photo)])
        about = {"id": photo.id, "name": Path(photo.path).name, "width": photo.width, "height": photo.height}
        facts = {"photo": {**about, "state": photo.state}, "objects": objects, "model": self._model()}
        return JSONResponse({**facts, "counts": self._counts()}, headers=PRIVATE)

    def _rows(self, photo: PhotoRow) -> list:
        return self.project.objects(photo.id)

    def _object(self, row: Any, photo: PhotoRow) -> dict[str, Any]:
        prompts = read_object(row["prompts"], "what an object was made with")
        return {
            **{key: row[key] for key in ("object", "state", "name", "score", "clicks", "seconds")},
            "points": prompts.get("points", []),
            "labels": prompts.get("labels", []),
            "box": prompts.get("box"),
            "zoom": prompts.get("zoom") is True,
            **shape_of_mask(rle_to_mask(rle_of(row, photo.size))),
        }

    def _model(self) -> str:
        """The name of the current round's model among those that the page offers."""
        round = self.project.setting("round")
        name = self.service.models.default if round == self.first else f"round {round}"
        if name not in self.service.models.entries:
            entry = ModelEntry(name, model_source(self.project), is_local=True)
            self.service.models.entries[name] = entry
        return name

    def _counts(self) -> dict[str, int]:
        rows = self.project.rows("SELECT state, sum(photos) AS n FROM photo_counts GROUP BY state")
        by_state = {row["state"]: row["n"] for row in rows}
        masks = self.project.one("SELECT sum(masks) AS n FROM mask_counts WHERE state = 'accepted'")
        done = by_state.get("done", 0) + by_state.get("auto", 0)
        return {
            "all": sum(by_state.values()),
            "done": done,
            "left": by_state.get("open", 0),
            "masks": masks["n"] or 0,
        }


SLOW_MASK = 30
"""Seconds on a mask after which the page suggests moving on (paper, section 4)."""


class Named:
    """Maps a project's failures to the HTTP statuses that the page distinguishes."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, NotYours):
            raise Refusal(str(error), 409) from error
        if isinstance(error, OutputError):
            raise Refusal(str(error), 507) from error


def _number(value: Any) -> int:
    """A photo's id, possibly as text from a URL. raises: DataError"""
    if isinstance(value, str) and value.isdecimal() and len(value) < 20:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:  # as SQLite counts
        raise DataError("a photo is a number of the project")
    return value


def _text(body: dict[str, Any], key: str, least: int = 1) -> str:
    value = body.get(key, "")
    if not isinstance(value, str) or not least <= len(value) <= TEXT:
        raise DataError(f"{key} must be a text of {least} to {TEXT} characters")
    if any("\ud800" <= c <= "\udfff" for c in value):
        raise DataError(f"{key} has an incomplete character; send whole characters")
    return value


def _real(value: Any) -> float | None:
    """A finite number; None for anything else."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if plain and abs(value) < 1e9 else None  # NaN is not


def _prompts(body: dict[str, Any]) -> dict[str, Any]:
    """The prompts of an object, to be shown again. raises: DataError"""
    prompts = body.get("prompts", {})
    if not isinstance(prompts, dict):
        raise DataError("prompts must be an object")
    try:
        text = json.dumps(prompts, allow_nan=False)
    except (ValueError, RecursionError) as e:
        raise DataError("prompts hold a number that is not finite, or are nested too deeply") from e
    if len(text) > PROMPTS:
        raise DataError(f"prompts take {len(text)} characters, more than {PROMPTS}; send fewer points")
    return prompts


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else 0
