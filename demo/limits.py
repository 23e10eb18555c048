"""What one visitor may ask for, as data."""

from dataclasses import dataclass

from ..errors import SamHubError

MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Bounds of a server that strangers use.

    upload_bytes, pixels, side, aspect: of a photo; aspect is its long side over its short one
    message_bytes, message_values: of an export or import, and of how many values its JSON may consist
    small_bytes, small_values: of any other request
    bytes_in_flight: of all requests and downloads that are on their way at once
    body_seconds, body_rate: a request must arrive within so many seconds, and one more for each ``body_rate`` bytes
    send_seconds: how long a visitor may take none of an answer
    points, strokes, stroke_points: of the prompt of one object
    objects, runs: of one photo, where they are exported or imported: their number, and run lengths of all their masks
    outline: pixels that all outlines of an import may be long together
    export_bytes, export_seconds: of one export or import: its estimated size, and time of computing
    encodes: photos that are encoded, or searched in everything mode, at once; decodes: prompts
    waiting: requests that wait for their turn; further ones are refused
    queued: calls of the named endpoints that wait in Gradio's queue
    call_seconds: how long such a call goes on while nobody reads what the server says of it
    photos, photo_bytes, photo_seconds: photos whose embeddings are kept: their number, the memory that they and
        their pixels take, and how long an unused one stays
    results: masks of earlier prompts that are remembered for each photo, to go on from
    models: models in memory at once, and being loaded at once
    hub_seconds: how long a visitor waits for a Hub that does not answer
    logins, all_logins: attempts to sign in within a minute, under one name and under all names together
    login_bytes: of such an attempt
    """

    upload_bytes: int = 30 * MEGABYTE
    pixels: int = 50_000_000
    side: int = 20_000
    aspect: int = 50
    message_bytes: int = 16 * MEGABYTE
    message_values: int = 2_000_000
    small_bytes: int = MEGABYTE
    small_values: int = 200_000
    bytes_in_flight: int = 384 * MEGABYTE
    body_seconds: float = 30
    body_rate: int = 32 << 10
    send_seconds: float = 30
    points: int = 256
    strokes: int = 64
    stroke_points: int = 4096
    objects: int = 1000
    runs: int = 1_000_000
    outline: int = 10_000_000
    export_bytes: int = 512 * MEGABYTE
    export_seconds: float = 60
    encodes: int = 1
    decodes: int = 2
    waiting: int = 24
    queued: int = 8
    call_seconds: float = 30
    photos: int = 64
    photo_bytes: int = 1024 * MEGABYTE
    photo_seconds: float = 30 * 60
    results: int = 24
    models: int = 2
    hub_seconds: float = 4.5
    logins: int = 10
    all_logins: int = 200
    login_bytes: int = 4096


class Refusal(SamHubError):
    """A request that the server will not fulfil.

    status: of HTTP
    """

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status
