"""What one visitor may ask for, as data."""

from dataclasses import dataclass

from ..errors import SamHubError

MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Bounds of a server that strangers use.

    upload_bytes, pixels: of a photo
    message_bytes: of any other request
    points, strokes, stroke_points: of the prompt of one object
    objects: of one photo, where they are exported or imported
    encodes: photos that are encoded, or searched in everything mode, at once; decodes: prompts
    waiting: requests that wait for their turn; further ones are refused
    photos, photo_bytes, photo_seconds: photos whose embeddings are kept: their number, the memory that they and
        their pixels take, and how long an unused one stays
    results: masks of earlier prompts that are remembered for each photo, to go on from
    models: models in memory at once
    """

    upload_bytes: int = 30 * MEGABYTE
    pixels: int = 50_000_000
    message_bytes: int = 16 * MEGABYTE
    points: int = 256
    strokes: int = 64
    stroke_points: int = 4096
    objects: int = 1000
    encodes: int = 1
    decodes: int = 2
    waiting: int = 24
    photos: int = 64
    photo_bytes: int = 1024 * MEGABYTE
    photo_seconds: float = 30 * 60
    results: int = 24
    models: int = 2


class Refusal(SamHubError):
    """A request that the server will not fulfil.

    status: of HTTP
    """

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status
