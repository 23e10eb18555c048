"""Malformed or excessive requests over real HTTP: an error message, and others are served."""

import io
import json
import struct
import threading
import zipfile
import zlib
from dataclasses import replace

import httpx
import numpy as np
import pytest
from PIL import Image
from sam_hub.demo import exports, objects
from sam_hub.demo.limits import Limits

from sam_hub.ops.masks import mask_to_rle

from .conftest import start
from .wire import SECONDS, encode, sent, until


@pytest.fixture(scope="module")
def large(running) -> tuple[str, list[dict]]:
    """The id of a photo of 6 megapixels, and 90 objects in it."""
    file = io.BytesIO()
    Image.new("RGB", (3000, 2000), "gray").save(file, "PNG")
    key = encode(running, file.getvalue())["id"]
    mask = np.zeros((2000, 3000), bool)
    mask[:, 100:2900:2] = True
    return key, [{"name": "", "rle": mask_to_rle(mask)}] * 90


def damaged_counts(size: list[int]) -> list[str]:
    """Compressed counts with a valid sum but a wrong end or length, past which pycocotools would read; and noise."""
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
    """The first file arrives before the last is made, which waits for it."""
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


def test_an_export_that_grows_beyond_its_estimate_is_cut_off(running, large, monkeypatch):
    key, objects = large
    zipped = exports.zipped
    monkeypatch.setattr(exports, "estimated_bytes", lambda *_: 0)
    monkeypatch.setattr(exports, "zipped", lambda files, limits: zipped(files, replace(limits, export_bytes=20_000)))
    body = {"id": key, "objects": objects, "formats": ["masks"]}
    with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
        running.post("export", body)


def test_the_pixels_of_an_export_or_import_are_bounded(running, large, monkeypatch):
    """Checked before the first mask is decoded."""
    key, (one, *_) = large
    monkeypatch.setattr(exports, "WORK", 10_000_000)
    monkeypatch.setattr(objects, "WORK", 10_000_000)
    monkeypatch.setattr(exports.results, "mask_png", lambda *_: pytest.fail("a mask was made"))
    monkeypatch.setattr(objects, "shape_of_mask", lambda *_: pytest.fail("a mask was made"))
    answers = [
        running.post("export", {"id": key, "objects": [one] * 2, "formats": ["masks"]}),
        running.post("import", {"id": key, "document": [{"segmentation": one["rle"]}] * 2}),
    ]
    for answer in answers:
        assert answer.status_code == 413 and "too m" in answer.json()["error"]


def test_an_export_or_import_ends_in_time(cat):
    for running in start(limits=replace(Limits(), export_seconds=0.0)):
        photo = encode(running, cat)
        rle = mask_to_rle(np.ones((photo["height"], photo["width"]), bool))
        answers = [
            running.post("export", {"id": photo["id"], "objects": [{"rle": rle}], "formats": ["masks"]}),
            running.post("import", {"id": photo["id"], "document": [{"segmentation": rle}]}),
        ]
        for answer in answers:
            assert answer.status_code == 413 and "takes too long" in answer.json()["error"]


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


def test_a_radius_that_is_a_list_is_a_sentence(running, photo):
    for radius in ([3], [[3]], {}, [3, 4], "3"):
        stroke = {"points": [[50, 50]], "radius": radius}
        answer = running.post("segment", {"id": photo["id"], "prompt": {"strokes": [stroke]}})
        assert answer.status_code == 400 and "radius" in answer.json()["error"]
