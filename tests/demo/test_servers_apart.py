"""Servers in separate processes: stopping them, and an unresponsive Hub."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import httpx
from sam_hub.demo import app

from .conftest import Running, free_port
from .wire import SECONDS, encode, sent


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
    """With threads that never end, one of them encoding a photo, and an upload that never completes."""
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
