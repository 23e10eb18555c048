"""The named endpoints, for ``gradio_client`` and, as tools, for language models over MCP.

They do what the page does, through Gradio's queue. A photo comes as the base64 of its file: no path and no address that
a client gives is ever opened.
"""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

import gradio as gr

from .callers import Callers, Connections
from .failures import status_and_message
from .photos import decode_base64
from .service import SegmentationService, last


def add_endpoints(server: gr.Server, service: SegmentationService, connections: Connections) -> None:
    """Put ``encode``, ``segment`` and ``everything`` on a server.

    connections: of those who call them over MCP
    """

    async def encode(image: str, model: str = "") -> dict:
        """Encode a photo, once, before asking for masks in it.

        Args:
            image: the content of a photo file (JPEG, PNG, WebP, ...) in base64, also as a data: address
            model: a name that the server offers; empty for its default

        Returns:
            id (for the other calls; it expires), width, height, model, device, encode_ms
        """
        data = await service.files.run(decode_base64, image, service.limits)
        return await last(service.encode(data, model))

    async def segment(
        id: str,
        points: list[list[float]] | None = None,
        labels: list[int] | None = None,
        box: list[float] | None = None,
        refine: dict[str, Any] | None = None,
        tidy: bool | None = None,
        zoom: bool = False,
    ) -> dict:
        """Masks of one object in a photo that was encoded, from clicks, a box or both.

        Args:
            id: from encode
            points: [[x, y], ...] in pixels of the photo
            labels: for each point 1 (on the object) or 0 (beside it); all 1 if left out
            box: [x0, y0, x1, y1] around the object, in pixels of the photo
            refine: {"result": result, "mask": index} of an earlier answer, to correct that mask with more points
            tidy: whether specks of a mask go and its pinholes are filled; as suits the model if left out
            zoom: whether to encode the part of the photo around the object as well, which makes masks of small objects
                better and takes as long as encode; not with refine

        Returns:
            masks (each with score, rle in COCO's compressed run lengths, area, bbox as x, y, width, height), best (the
            index of the one to take), result (for refine), decode_ms, and, with zoom, window (the part that was
            encoded, as x0, y0, x1, y1, or None if the object is large already)
        """
        given = {"points": points, "labels": labels, "box": box, "refine": refine, "tidy": tidy, "zoom": zoom}
        answer = await last(service.segment(id, {k: v for k, v in given.items() if v is not None}))
        return {**answer, "masks": [_without_outline(m) for m in answer["masks"]]}

    async def everything(id: str, preset: str = "default") -> dict:
        """Masks of everything in a photo that was encoded.

        Args:
            id: from encode
            preset: "fast", "default" or "fine"

        Returns:
            masks (as of segment, with stability and the point that found it), the largest first, and ms
        """
        answer = await last(service.everything(id, preset))
        return {**answer, "masks": [_without_outline(m) for m in answer["masks"]]}

    callers = Callers(lambda: server.get_blocks()._queue, service.limits, connections)

    def endpoint(function: Callable[..., Awaitable[dict]]) -> Callable[..., Awaitable[dict]]:
        return _named(_awaited(function, callers))

    slow = {"concurrency_id": "encode", "concurrency_limit": service.limits.encodes}
    server.api(endpoint(encode), name="encode", **slow)
    server.api(endpoint(everything), name="everything", **slow)
    server.api(endpoint(segment), name="segment", concurrency_limit=service.limits.decodes)


def _without_outline(mask: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in mask.items() if k != "path"}


def _awaited(function: Callable[..., Awaitable[dict]], callers: Callers) -> Callable[..., Awaitable[dict]]:
    """The call is given up once its caller is gone."""

    @wraps(function)
    async def awaited(*arguments: Any, **more: Any) -> dict:
        return await callers.wait(function(*arguments, **more))

    return awaited


def _named(function: Callable[..., Awaitable[dict]]) -> Callable[..., Awaitable[dict]]:
    """A failure becomes its sentence."""

    @wraps(function)
    async def named(*arguments: Any, **more: Any) -> dict:
        try:
            return await function(*arguments, **more)
        except Exception as e:
            raise gr.Error(status_and_message(e)[1], print_exception=False) from None

    return named
