"""Reading requests and writing responses, with the effects of a `Fault`."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, Protocol

from .faults import Fault


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Hub(Protocol):
    """What a connection asks of the server; see `LocalHub`."""

    faults: list[Fault]
    requests: list[tuple[str, str, str | None, bool]]
    handle: Callable[[str, str, Mapping[str, str], bytes], Answer]


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    block = 1 << 16

    def __init__(self, hub: Hub, verbose: bool, *args: Any) -> None:
        self.hub, self.verbose = hub, verbose
        super().__init__(*args)

    def log_message(self, text: str, *args: Any) -> None:
        if self.verbose:
            super().log_message(text, *args)

    def _serve(self) -> None:
        hub, path = self.hub, self.path
        hub.requests.append((self.command, path, self.headers.get("Range"), "Authorization" in self.headers))
        fault = next((f for f in hub.faults if f.matches(self.command, path)), Fault())
        uploading = self.command in ("PUT", "POST")
        body = self._read(fault.drop_after if uploading else None)
        if body is None:
            return self._hang_up()
        if fault.status:
            answer = Answer(fault.status, b"{}", {"Content-Type": "application/json", **fault.headers})
        else:
            answer = hub.handle(self.command, path, self.headers, body)
        if fault.flip is not None and fault.flip < len(answer.body):
            wrong = bytearray(answer.body)
            wrong[fault.flip] ^= 1
            answer = Answer(answer.status, bytes(wrong), answer.headers)
        self._send(answer, fault)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve

    def _read(self, limit: int | None) -> bytes | None:
        """The body; None where the connection is to be dropped before all of it is there."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            data = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                data += self.rfile.read(size)
                self.rfile.readline()
                if limit is not None and len(data) >= limit:
                    return None
            self.rfile.readline()
            return data
        size = int(self.headers.get("Content-Length") or 0)
        if limit is not None and limit < size:
            self.rfile.read(limit)
            return None
        return self.rfile.read(size)

    def _send(self, answer: Answer, fault: Fault) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        body = answer.body if fault.drop_after is None else answer.body[: fault.drop_after]
        step = max(1, fault.rate // 50) if fault.rate else self.block
        try:
            for i in range(0, len(body), step):
                self.wfile.write(body[i : i + step])
                if fault.rate:
                    self.wfile.flush()
                    time.sleep(step / fault.rate)
            self.wfile.flush()
        except ConnectionError:  # the client has gone
            self.close_connection = True
            return
        if len(body) < len(answer.body):
            self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.close()
