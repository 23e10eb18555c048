"""Visitors who disconnect during a request, over real HTTP: others are served, and the abandoned work ends."""

import asyncio
import gc
import json
import socket
import time
from dataclasses import replace

import httpx
import numpy as np
import pytest
from sam_hub.demo import routes
from sam_hub.demo.callers import LOOK
from sam_hub.demo.limits import Limits
from sam_hub.demo.streams import WorkLimit

from sam_hub.ops.masks import mask_to_rle

from .conftest import Running, start
from .wire import SECONDS, Endless, address, encode, json_body, sent, until


def test_an_upload_that_is_cut_holds_nobody_up(running, cat):
    for wait in (0.05, 0.05, 0.0, 0.2):
        with sent(running, "/sam/encode", cat):
            time.sleep(wait)
        assert encode(running, cat)["stage"] == "done"
    with sent(running, "/sam/encode", cat) as s:
        told = b""
        while b"reading" not in told:  # its turn has begun
            told += s.recv(1000)
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


def test_a_visitor_who_takes_nothing_of_an_answer_is_cut_off(cat, monkeypatch):
    """A visitor who stays connected but does not read megabytes of an answer."""
    endless = Endless()
    monkeypatch.setattr(routes, "export", lambda *_: ("x.zip", endless.pieces()))
    for running in start(limits=replace(Limits(), send_seconds=0.5)):
        photo = encode(running, cat)
        rle = mask_to_rle(np.ones((photo["height"], photo["width"]), bool))
        body = json_body(id=photo["id"], objects=[{"rle": rle}], formats=["masks"])
        with sent(running, "/sam/export", body) as s:
            assert s.recv(100).startswith(b"HTTP/1.1 200")
            until(lambda: gc.collect() >= 0 and endless.closed.is_set())


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


def test_a_call_over_mcp_whose_connection_is_closed_is_given_up(running, monkeypatch):
    mcp = pytest.importorskip("mcp", reason="MCP needs an extra: install sam-hub[mcp]")
    from mcp.client.streamable_http import streamable_http_client

    endless = Endless()
    monkeypatch.setattr(running.service, "everything", endless.events)

    async def call_and_leave() -> bool:
        address = f"{running.url}/gradio_api/mcp/"
        async with streamable_http_client(address) as streams, mcp.ClientSession(*streams[:2]) as session:
            await session.initialize()
            names = [tool.name for tool in (await session.list_tools()).tools]
            name = next(name for name in names if name.endswith("everything"))
            call = asyncio.ensure_future(session.call_tool(name, {"id": "x", "preset": "fast"}))
            begun = await asyncio.to_thread(endless.begun.wait, SECONDS)
            await asyncio.sleep(2 * LOOK)
            assert not endless.closed.is_set(), "somebody listens"
            call.cancel()
            return begun

    assert asyncio.run(call_and_leave()) and endless.closed.wait(SECONDS)


def test_a_call_whose_answer_nobody_fetches_is_given_up(monkeypatch):
    for running in start(limits=replace(Limits(), call_seconds=0.5)):
        endless = Endless()
        monkeypatch.setattr(running.service, "everything", endless.events)
        call_everything(running)
        assert endless.begun.wait(SECONDS) and endless.closed.wait(SECONDS)
