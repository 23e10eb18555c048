"""Limits of requests, as data."""

from dataclasses import dataclass

from ..errors import SamHubError

MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Limits of a public server.

    upload_bytes, pixels, side, aspect: of a photo; aspect is its long side divided by its short side
    message_bytes, message_values: of an export or import: size, and number of values in its JSON
    small_bytes, small_values: of any other request
    bytes_in_flight: of all requests and downloads in transit
    body_seconds, body_rate: a request must arrive within this many seconds, plus one for each ``body_rate`` bytes
    send_seconds: how long a visitor may stop reading a response
    points, strokes, stroke_points: of one object's prompt
    objects, runs: of one photo's export or import: number of objects, and run lengths of all their masks
    outline: total length of all outlines in an import, in pixels
    export_bytes, export_seconds: of one export or import: estimated size, and computing time
    encodes: photos encoded, or segmented in everything mode, at once; decodes: prompts decoded at once
    waiting: requests waiting for their turn; further ones are refused
    queued: calls of the named endpoints waiting in Gradio's queue
    call_seconds: how long such a call continues while nobody reads its messages
    photos, photo_bytes, photo_seconds: photos whose embeddings are kept: number, memory including pixels, and lifetime
    of an unused one
    results: masks of earlier prompts kept per photo, for refinement
    models: models in memory at once, and loading at once
    hub_seconds: how long a visitor waits for an unresponsive Hub
    logins, all_logins: sign-in attempts per minute, for one name and in total
    login_bytes: of a sign-in attempt
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
    """A request that the server refuses.

    status: HTTP status code
    """

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status
