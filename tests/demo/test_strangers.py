"""Visitors who leave, send nonsense, or send too much, over real HTTP: the others are served."""

import asyncio
import gc
import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
from PIL import Image
from sam_hub.demo import app, exports, routes
from sam_hub.demo.guard import HostNames
from sam_hub.demo.limits import Limits
from sam_hub.demo.streams import WorkLimit

from sam_hub.ops.masks import mask_to_rle

from .conftest import Running, free_port, start

SECONDS = 300
"""A guard: who is blocked waits for ever."""


def address(running: Running) -> tuple[str, int]:
    url = httpx.URL(running.url)
    return url.host, url.port


@contextmanager
def sent(running: Running, path: str, body: bytes, announced: int | None = None) -> Iterator[socket.socket]:
    """A request of which nothing has been read; leaving the block cuts its connection."""
    with socket.create_connection(address(running), timeout=SECONDS) as s:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {announced or len(body)}\r\n"
        s.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
        yield s
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, as of a lost phone


def json_body(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def encode(running: Running, data: bytes) -> dict:
    answer = httpx.post(f"{running.url}/sam/encode", content=data, timeout=SECONDS)
    return json.loads(answer.text.splitlines()[-1])


def until(true: object, seconds: float = SECONDS) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "never"
        time.sleep(0.02)


# ---- visitors who leave


def test_an_upload_that_is_cut_holds_nobody_up(running, cat):
    for wait in (0.05, 0.05, 0.0, 0.2):
        with sent(running, "/sam/encode", cat):
            time.sleep(wait)
        assert encode(running, cat)["stage"] == "done"
    until(lambda: running.service._encoders.ahead == 0)


def test_thirty_visitors_who_leave_a_search_do_not_block_the_next(running, cat, photo):
    body = json_body(id=photo["id"], preset="fine")
    for _ in range(30):
        with sent(running, "/sam/everything", body) as s:
            s.recv(100)  # it has begun, or waits
    answer = httpx.post(f"{running.url}/sam/encode", content=cat, timeout=SECONDS)
    assert answer.status_code == 200 and json.loads(answer.text.splitlines()[-1])["stage"] == "done"
    until(lambda: running.service._encoders.ahead == 0)


def test_a_visitor_who_reads_nothing_holds_nobody_up(running, cat, photo):
    with sent(running, "/sam/everything", json_body(id=photo["id"], preset="fast")):
        assert encode(running, cat)["stage"] == "done"


class Endless:
    """Work in steps that never ends on its own. begun: set by the first step; closed: once it was given up"""

    def __init__(self) -> None:
        self.begun, self.closed = threading.Event(), threading.Event()

    def steps(self, *_: object) -> Iterator[None]:
        self.begun.set()
        try:
            while True:
                time.sleep(0.001)
                yield None
        finally:
            self.closed.set()

    async def events(self, *_: object) -> AsyncIterator[dict]:
        self.begun.set()
        try:
            await asyncio.Event().wait()
            yield {}
        finally:
            self.closed.set()


@pytest.mark.parametrize("path", ["/sam/export", "/sam/import"])
def test_leaving_ends_an_export_or_import(running, photo, monkeypatch, path):
    endless = Endless()
    monkeypatch.setattr(routes, "WorkLimit", lambda _: WorkLimit(float("inf")))
    monkeypatch.setattr(routes, "export", lambda *_: ("x.zip", endless.steps()))
    monkeypatch.setattr(routes, "read_annotations", endless.steps)
    rle = mask_to_rle(np.ones((photo["height"], photo["width"]), bool))
    more = {"objects": [{"rle": rle}], "formats": ["masks"]} if path == "/sam/export" else {"document": []}
    with sent(running, path, json_body(id=photo["id"], **more)):
        assert endless.begun.wait(SECONDS)
    until(lambda: gc.collect() >= 0 and endless.closed.is_set())  # nobody holds its steps any more
    until(lambda: running.service.files.ahead == 0)


def call_everything(running: Running) -> str:
    """Begin a call of a named endpoint; returns the path of its answer."""
    url = f"{running.url}/gradio_api/call/everything"
    call = httpx.post(url, json={"data": ["x", "fast"]}, timeout=SECONDS).json()
    return f"/gradio_api/call/everything/{call['event_id']}"


def test_a_call_whose_caller_leaves_is_given_up(running, monkeypatch):
    endless = Endless()
    monkeypatch.setattr(running.service, "everything", endless.events)
    path = call_everything(running)
    assert endless.begun.wait(SECONDS)
    with socket.create_connection(address(running), timeout=SECONDS) as s:
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert s.recv(100).startswith(b"HTTP/1.1 200")
        assert not endless.closed.is_set(), "somebody listens"
    assert endless.closed.wait(SECONDS)


def test_a_call_whose_answer_nobody_fetches_is_given_up(monkeypatch):
    from dataclasses import replace

    from sam_hub.demo.limits import Limits

    for running in start(limits=replace(Limits(), call_seconds=0.5)):
        endless = Endless()
        monkeypatch.setattr(running.service, "everything", endless.events)
        call_everything(running)
        assert endless.begun.wait(SECONDS) and endless.closed.wait(SECONDS)


@pytest.fixture(scope="module")
def large(running) -> tuple[str, list[dict]]:
    """The id of a photo of 6 megapixels, and 300 objects in it."""
    file = io.BytesIO()
    Image.new("RGB", (3000, 2000), "gray").save(file, "PNG")
    key = encode(running, file.getvalue())["id"]
    mask = np.zeros((2000, 3000), bool)
    mask[:, 100:2900:2] = True
    return key, [{"name": "", "rle": mask_to_rle(mask)}] * 90


# ---- too much


def damaged_counts(size: list[int]) -> list[str]:
    """Compressed counts with a sound sum whose end or length is not: pycocotools would read on. And noise."""
    rng = np.random.default_rng(0)
    empty, full = (mask_to_rle(np.full(size, value))["counts"] for value in (False, True))
    noise = ["".join(chr(c) for c in rng.integers(48, 112, rng.integers(1, 60))) for _ in range(20)]
    cut = [empty + "P", empty + "PPPPPP", full + "P", "P" * 40 + full, "P" * 4000 + full]
    return [*cut, "o", "P" * 9, "0" * 400, "", *noise]


def test_damaged_run_lengths_are_a_sentence_and_the_server_lives(running, photo):
    size = [photo["height"], photo["width"]]
    for counts in damaged_counts(size):
        rle = {"size": size, "counts": counts}
        export = running.post("export", {"id": photo["id"], "objects": [{"rle": rle}], "formats": ["masks", "yolo"]})
        read = running.post("import", {"id": photo["id"], "document": json.dumps([{"segmentation": rle}])})
        for answer in (export, read):
            assert answer.status_code == 400 and len(answer.json()["error"]) > 15, counts
    assert httpx.get(f"{running.url}/sam/about").status_code == 200


def plain_png(width: int, height: int) -> bytes:
    """A black PNG, written without holding its pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj()
    row = bytes(1 + (width + 7) // 8)
    lines = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(1_000_000, 1), (1, 1_000_000), (20_000, 100), (30_000, 1000)])
def test_thin_pictures_are_refused_before_they_are_decoded(running, size):
    answer = encode(running, plain_png(*size))
    assert answer["stage"] == "failed" and answer["status"] == 413 and "crop" in answer["error"]


def test_the_thinnest_picture_that_is_taken_needs_little_memory(running):
    """Peak memory of encoding and one click, of the arrays that are kept."""
    answer = encode(running, plain_png(20_000, 400))
    assert answer["stage"] == "done"
    assert running.segment(answer["id"], {"points": [[10_000, 200]]})["stage"] == "done"
    assert running.service.photos.get(answer["id"]).taken < 200 << 20
    running.service.photos.drop(answer["id"])


def test_an_export_is_bounded_in_output_before_it_begins(running, large, monkeypatch):
    key, (one, *_) = large
    drawn = []
    monkeypatch.setattr(exports.results, "cutout_png", lambda *_: drawn.append(1))
    body = {"id": key, "objects": [one] * 40, "formats": ["cutouts"]}
    answer = running.post("export", body)
    assert answer.status_code == 413 and "too much" in answer.json()["error"]
    assert not drawn


def test_an_export_arrives_in_pieces_and_whole(running, large, monkeypatch):
    """What is made first is here before the last is made: that waits for it."""
    key, objects = large
    mask_png, made, go = exports.results.mask_png, [], threading.Event()

    def last_waits(*arguments: object) -> bytes:
        if len(made) == 19:
            assert go.wait(SECONDS)
        made.append(1)
        return mask_png(*arguments)

    monkeypatch.setattr(exports.results, "mask_png", last_waits)
    body = {"id": key, "objects": objects[:20], "formats": ["masks", "coco"]}
    with httpx.stream("POST", f"{running.url}/sam/export", json=body, timeout=SECONDS) as answer:
        assert "content-length" not in answer.headers
        content = b""
        for piece in answer.iter_raw():
            content += piece
            go.set()
    archive = zipfile.ZipFile(io.BytesIO(content))
    assert archive.testzip() is None and len(archive.namelist()) == 21 and len(made) == 20


def test_too_fine_outlines_are_refused(running, photo):
    """Polygons as long as a thousand photos, and run lengths by the million."""
    w, h = photo["width"], photo["height"]
    zigzag = [[0, 0, w, h] * 5000]
    answer = running.post("import", {"id": photo["id"], "document": [{"segmentation": zigzag}] * 4})
    assert answer.status_code == 413 and "too fine" in answer.json()["error"]
    fine = {"size": [h, w], "counts": [1] * (h * w)}
    answer = running.post("import", {"id": photo["id"], "document": [{"segmentation": fine}] * 9})
    assert answer.status_code == 413 and "too fine" in answer.json()["error"]


def test_yolo_of_a_speckled_mask_is_quick(running, photo):
    """Every other pixel: its outlines have as many corners as the photo has pixels."""
    h, w = photo["height"], photo["width"]
    mask = np.zeros((h, w), bool)
    mask[::2, ::2] = True
    answer = running.post("export", {"id": photo["id"], "objects": [{"rle": mask_to_rle(mask)}], "formats": ["yolo"]})
    assert answer.status_code == 200
    label = zipfile.ZipFile(io.BytesIO(answer.content)).read("yolo/labels/photo.txt").split()
    assert 1000 < len(label) < 50_000


@pytest.mark.parametrize("path", ["/sam/import", "/sam/segment", "/gradio_api/call/segment"])
def test_flat_json_of_many_values_is_refused_while_it_arrives(running, path):
    body = b'{"data": [' + b"1," * 4_000_000 + b"1]}"
    answer = httpx.post(running.url + path, content=body, timeout=SECONDS)
    assert answer.status_code == 413


def test_half_sent_uploads_are_ended(cat):
    from dataclasses import replace

    from sam_hub.demo.limits import Limits

    limits = replace(Limits(), body_seconds=1.0, bytes_in_flight=2 * len(cat))
    for running in start(limits=limits):
        waiting = [sent(running, "/sam/encode", cat[:-10], announced=len(cat)) for _ in range(3)]
        sockets = [each.__enter__() for each in waiting]
        busy = [b"".join(iter(lambda s=s: s.recv(4000), b"")) for s in sockets]  # until it is closed
        assert sum(b" 408 " in answer for answer in busy) == 2, "slow ones are told so"
        assert sum(b" 503 " in answer for answer in busy) == 1, "and so is one who is too many"
        assert encode(running, cat)["stage"] == "done", "and what they took is given back"


def test_calls_of_the_endpoints_wait_in_a_bounded_queue(running, monkeypatch):
    """Each waiting call holds its photo in memory."""
    go = threading.Event()
    jobs = [running.service.files.submit(lambda stopped: go.wait(SECONDS)) for _ in range(2)]
    codes = []
    for _ in range(running.service.limits.queued + 6):
        call = {"data": ["aGVsbG8=", ""]}
        codes.append(httpx.post(f"{running.url}/gradio_api/call/encode", json=call, timeout=SECONDS).status_code)
    go.set()
    [job.future.result(SECONDS) for job in jobs]
    assert codes[0] == 200 and codes[-1] == 503
    queue = running.server.get_blocks()._queue
    until(lambda: len(queue) == 0)


# ---- addresses

FETCHED: list[str] = []
HEARD = {"socket.getaddrinfo", "socket.gethostbyname", "socket.connect", "urllib.Request", "open"}
NAME = "photos.sam-hub.invalid"


def listen(event: str, arguments: tuple) -> None:
    """An audit hook: what is resolved, connected to or opened with the name in it."""
    if event in HEARD and NAME in repr(arguments):
        FETCHED.append(f"{event} {arguments!r}")


def file_like(key: str) -> list[dict]:
    url = f"http://{NAME}/{key}.jpg"
    meta = {"_type": "gradio.FileData"}
    return [
        {"path": url, "meta": meta},
        {"path": url, "url": url, "meta": meta, "orig_name": "x.jpg"},
        {"url": url, "meta": meta},
        {"path": f"/tmp/{NAME}", "meta": meta},
        {"path": url},
    ]


def test_no_address_that_a_client_gives_is_resolved_or_opened(running, photo):
    sys.addaudithook(listen)
    with suppress(OSError):
        socket.getaddrinfo(NAME, 80)
    assert FETCHED, "the hook hears"
    FETCHED.clear()
    with httpx.Client(base_url=running.url, timeout=SECONDS) as client:
        for i, file in enumerate(file_like("x")):
            for value in (file, [file], {"result": file, "mask": 0}, {"deep": [[{"x": file}]]}):
                calls = {
                    "/gradio_api/call/encode": {"data": [value, ""]},
                    "/gradio_api/call/segment": {"data": [photo["id"], None, None, None, value]},
                    "/gradio_api/call/v2/segment": {"id": photo["id"], "refine": value},
                    "/gradio_api/queue/join": {"data": [value, ""], "fn_index": 0, "session_hash": f"s{i}"},
                    "/gradio_api/mcp/": {"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                                         "params": {"name": "encode", "arguments": {"image": value}}},
                }  # fmt: skip
                for path, body in calls.items():
                    answer = client.post(path, json=body)
                    assert answer.status_code == 400 and "not opened" in answer.text, (path, body, answer.text)
        twice = json.dumps({"data": [file_like("x")[0], ""]}).replace('"path"', '"path": 1, "p\\u0061th"')
        assert client.post("/gradio_api/call/encode", content=twice).status_code == 400
        call = client.post("/gradio_api/call/encode", json={"data": [f"http://{NAME}/x.jpg", ""]})
        told = client.get(f"/gradio_api/call/encode/{call.json()['event_id']}").text
        assert "error" in told and "base64" in told
    assert not FETCHED


# ---- who may come in


def test_host_names(running):
    for name, status in {
        "localhost:1": 200, "127.0.0.1": 200, "[::1]:80": 200, "192.168.1.9": 200, socket.gethostname(): 200,
        "evil.example": 421, "127.0.0.1.evil.example": 421, "localhost.evil.example": 421, "": 421,
    }.items():  # fmt: skip
        answer = httpx.get(f"{running.url}/sam/about", headers={"host": name})
        assert answer.status_code == status, name
    assert "--allow-host" in httpx.get(running.url, headers={"host": "evil.example"}).json()["error"]
    running.server.state.hosts.add("Masks.example.org")
    assert httpx.get(running.url, headers={"host": "masks.example.org:443"}).status_code == 200


def test_host_names_in_any_case(monkeypatch):
    """Windows names its machines in capitals; browsers ask in small letters."""
    from sam_hub.demo.guard import HostNames

    monkeypatch.setattr(socket, "gethostname", lambda: "DESKTOP-7")
    for name in (b"desktop-7:7860", b"Desktop-7.local"):
        HostNames().check(name)


def test_nobody_frames_the_page(running):
    for path in ("/", "/sam/about", "/nothing"):
        assert "frame-ancestors 'self'" in httpx.get(running.url + path).headers["content-security-policy"], path


def test_on_a_space_the_hub_frames_the_page(monkeypatch):
    from sam_hub.demo.guard import HostNames, security_headers

    monkeypatch.setenv("SPACE_ID", "me/masks")
    monkeypatch.setenv("SPACE_HOST", "me-masks.hf.space")
    assert "https://huggingface.co" in security_headers()["content-security-policy"]
    HostNames().check(b"me-masks.hf.space")


def sign_in(running: Running, name: str, password: str, **headers: str) -> int:
    form = {"username": name, "password": password}
    return httpx.post(f"{running.url}/login", data=form, headers=headers).status_code


def test_passwords_cannot_be_guessed_in_bulk(locked):
    """Behind a proxy all visitors have one address: what counts is the name."""
    assert [sign_in(locked, "me", str(i)) for i in range(14)] == [400] * 10 + [429] * 4
    assert (
        sign_in(locked, " me ", "secret") == 429 and sign_in(locked, "me", "secret", **{"x-forwarded-for": "1"}) == 429
    )
    assert sign_in(locked, "you", "secret") == 400, "others are not held up"


def test_a_name_to_sign_in_cannot_be_hidden(locked):
    url = f"{locked.url}/login"
    forms = {
        "application/x-www-form-urlencoded": [
            b"",
            b"username=a&username=me&password=x",
            b"username=\xff",
            b"a=1&" * 90,
        ],
        "multipart/form-data; boundary=x": [
            b'--x\r\nContent-Disposition: form-data; name="username"\r\n\r\nme\r\n--x--'
        ],
        "application/json": [b'{"username": "me"}'],
    }
    for kind, bodies in forms.items():
        for body in bodies:
            answer = httpx.post(url, content=body, headers={"content-type": kind})
            assert answer.status_code in (400, 415) and "username" in answer.json()["error"], body
    assert httpx.post(url, data={"username": "me", "password": "x" * 5000}).status_code == 413


def test_attempts_are_forgotten_after_a_minute():
    from sam_hub.demo.guard import LoginLimit
    from sam_hub.demo.limits import Refusal

    now = [0.0]
    limit = LoginLimit(2, 5, lambda: now[0])
    for name in ("a", "a", "b", "c", "d"):
        limit.check(name)
    for name in ("a", "b", "e"):  # one name, and all names together
        with pytest.raises(Refusal):
            limit.check(name)
    now[0] = 59
    with pytest.raises(Refusal):
        limit.check("e")
    now[0] = 61
    limit.check("a")


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        ({}, False),
        ({"host": "127.0.0.1"}, False),
        ({"host": "localhost"}, False),
        ({"host": "::1"}, False),
        ({"host": "0.0.0.0"}, True),
        ({"host": "192.168.1.9"}, True),
        ({"host": "masks.example.org"}, True),
        ({"share": True}, True),
        ({"host": "0.0.0.0", "share": True, "auth": ("me", "secret")}, False),
    ],
)
def test_an_open_server_without_a_password_is_warned_of(options, warned, capsys, monkeypatch):
    monkeypatch.delenv("SPACE_ID", raising=False)
    blocks = SimpleNamespace(_queue=SimpleNamespace(pending_messages_per_session=SimpleNamespace()))
    server = SimpleNamespace(
        state=SimpleNamespace(limits=Limits(), hosts=HostNames()),
        launch=lambda **_: (None, "http://127.0.0.1:7860/", "https://x.gradio.live"),
        get_blocks=lambda: blocks,
    )
    app.launch(server, block=False, **options)
    told = capsys.readouterr().err
    assert ("everybody who reaches this page may use it; --auth" in told) is warned


def test_a_radius_that_is_a_list_is_a_sentence(running, photo):
    for radius in ([3], [[3]], {}, [3, 4], "3"):
        stroke = {"points": [[50, 50]], "radius": radius}
        answer = running.post("segment", {"id": photo["id"], "prompt": {"strokes": [stroke]}})
        assert answer.status_code == 400 and "radius" in answer.json()["error"]


# ---- a server of its own


@contextmanager
def served(*command: str, port: int, **environment: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """A process that serves the page, and its address."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
    )
    try:
        assert "runs at" in process.stdout.readline()
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.communicate()


STUCK = """
import threading
from sam_hub.demo import app
server, service = app.build()
threading.Thread(target=threading.Event().wait).start()
service._encoders.submit(lambda stopped: threading.Event().wait())
app.launch(server, port={port})
"""


def test_ctrl_c_ends_a_server_that_is_stuck(cat):
    """Threads that never end, one of them within a photo, and an upload that never arrives."""
    port = free_port()
    with served(sys.executable, "-c", STUCK.format(port=port), port=port) as (process, url):
        running = Running(url, None, None)
        with sent(running, "/sam/encode", cat[:-9], announced=len(cat)), sent(running, "/sam/encode", cat) as s:
            assert s.recv(100), "it is told that it waits"
            process.send_signal(signal.SIGINT)
            assert process.wait(SECONDS) == 0


def test_what_is_stuck_has_two_seconds(monkeypatch):
    waits = []
    monkeypatch.setattr(
        app.threading, "Timer", lambda seconds, leave: waits.append(seconds) or SimpleNamespace(start=int)
    )
    app._exit_after(app.PATIENCE)
    assert waits == [2.0]


SLOW_HUB = """
from dataclasses import replace
from sam_hub.demo import app
from sam_hub.demo.limits import Limits
server, service = app.build(["pocket", "sam-vit-b"], limits=replace(Limits(), hub_seconds={seconds}))
app.launch(server, port={port})
"""


@contextmanager
def silent_hub(folder: Path) -> Iterator[dict[str, str]]:
    """The environment of a Hub that takes connections and never answers."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(50)
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        patient = {"HF_HUB_ETAG_TIMEOUT": "10000", "HF_HUB_DOWNLOAD_TIMEOUT": "10000"}
        yield {"HF_ENDPOINT": address, "HF_HOME": str(folder), **patient}


def test_a_hub_that_does_not_answer_holds_nobody_up(cat, tmp_path):
    port = free_port()
    with silent_hub(tmp_path) as hub:
        code = SLOW_HUB.format(seconds=1e6, port=port)
        with served(sys.executable, "-c", code, port=port, **hub) as (_, url):
            running = Running(url, None, None)
            with sent(running, "/sam/encode?model=sam-vit-b", cat) as s:
                assert b"200" in s.recv(100), "it waits for the Hub"
                assert encode(running, cat)["stage"] == "done"
                s.setblocking(False)
                with suppress(BlockingIOError):
                    assert b"failed" not in s.recv(100_000), "it waits still"


def test_a_hub_that_does_not_answer_is_a_sentence(cat, tmp_path):
    port = free_port()
    with silent_hub(tmp_path) as hub:
        code = SLOW_HUB.format(seconds=0.5, port=port)
        with served(sys.executable, "-c", code, port=port, **hub) as (_, url):
            answer = httpx.post(f"{url}/sam/encode?model=sam-vit-b", content=cat, timeout=SECONDS)
    failed = json.loads(answer.text.splitlines()[-1])
    assert failed["status"] == 503 and "does not answer" in failed["error"]
