"""Starting and stopping the page."""

import os
import signal
import socket
import subprocess
import sys

import httpx
import pytest
from gradio import blocks
from sam_hub.demo import app

from sam_hub.errors import OutputError

from .conftest import free_port, start


def test_without_a_public_link_the_page_runs_here(monkeypatch, capfd):
    def unreachable(**_: object) -> str:
        print("a long advice")
        raise OSError("no network")

    monkeypatch.setattr(blocks.networking, "setup_tunnel", unreachable)
    for running in start(share=True):
        assert httpx.get(f"{running.url}/sam/about").json()["default"] == "pocket"
    told = capfd.readouterr()
    assert told.err.count("no public link") == 1 and "advice" not in told.out + told.err


def test_a_port_that_is_taken_is_a_sentence():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        server, _ = app.build(["pocket"], "cpu")
        with pytest.raises(OutputError, match=f"^port {port} is taken or not allowed; choose another with --port$"):
            app.launch(server, port=port, block=False)


def test_ctrl_c_stops_it():
    command = [sys.executable, "-m", "sam_hub", "demo", "--model", "pocket", "--port", str(free_port())]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert "runs at http://127.0.0.1" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and out.strip() == "Stopped." and "Traceback" not in err
