"""The guard of the server: routes, passwords, sizes, failures."""

import json
import logging
import socket
from contextlib import suppress

import httpx
import pytest

PRIVATE = ["/sam/about", "/config", "/gradio_api/info"]


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/upload", "/gradio_api/file=/etc/passwd", "/gradio_api/proxy=http://127.0.0.1/",  "/file=/etc/x",
        "/static/../../etc/passwd", "/page/../app.py", "/page/%2e%2e%2fapp.py", "/page/app.py", "/gradio_api/vibe-code",
        "/gradio_api/component_server", "/docs", "/openapi.json", "/monitoring", "/gradio_api/runs", "/theme.css",
        "/gradio_api/custom_component/1/client/x/y", "/sam/photo/..%2f..%2fetc%2fpasswd", "/nothing",
        "/gradio_api/mcp/sse", "/gradio_api/mcp/messages",
    ],
)  # fmt: skip
def test_what_is_not_needed_does_not_exist(running, path):
    for method in ("GET", "POST"):
        answer = httpx.request(method, running.url + path)
        assert answer.status_code in (404, 405, 410) and b"root:" not in answer.content


def test_the_page_needs_nothing_from_elsewhere(running, root):
    answer = httpx.get(running.url)
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    for file in (root / "demo" / "page").glob("*.*"):
        if file.suffix in (".html", ".css", ".js"):
            text = file.read_text().replace("http://www.w3.org/2000/svg", "")
            assert "http://" not in text and "https://" not in text and "@import" not in text, file


def test_large_bodies_are_refused_while_they_arrive(running):
    """With a length header, and chunked without one."""
    with socket.create_connection(("127.0.0.1", httpx.URL(running.url).port), timeout=20) as s:
        s.sendall(b"POST /sam/segment HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n")
        assert b" 413 " in s.recv(4000)
    with socket.create_connection(("127.0.0.1", httpx.URL(running.url).port), timeout=20) as s:
        s.sendall(b"POST /sam/segment HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        sent = 0
        with suppress(OSError):  # the server has hung up
            while sent < 100 << 20:
                s.sendall(b"100000\r\n" + bytes(1 << 20) + b"\r\n")
                sent += 1 << 20
        assert sent < 100 << 20


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b'"x"', b"\xff", b'{"id": NaN}', b"[" * 100_000])
@pytest.mark.parametrize("path", ["segment", "everything", "export", "import", "again"])
def test_bodies_that_are_no_object(running, path, body):
    answer = httpx.post(f"{running.url}/sam/{path}", content=body)
    assert answer.status_code == 400 and "JSON" in answer.json()["error"]


def test_a_failure_within_is_a_sentence_without_a_trace(running, photo, monkeypatch, caplog):
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret /home/me")

    monkeypatch.setattr(running.service, "_first", broken)
    with caplog.at_level(logging.INFO):
        answer = running.post("segment", {"id": photo["id"], "prompt": {"points": [[1, 1]]}})
    assert answer.status_code == 500 and "went wrong" in answer.json()["error"] and "secret" not in answer.text
    assert "ZeroDivisionError" in caplog.text  # who runs the server learns it


def test_a_photo_that_is_no_photo_is_told_in_the_stream(running):
    last = running.encode(b"nothing")
    assert last["stage"] == "failed" and last["status"] == 400 and "not a photo" in last["error"]


def test_a_password(locked):
    with httpx.Client(base_url=locked.url) as client:
        assert "sign in" in client.get("/").text and client.get("/page/login.js").status_code == 200
        for path in PRIVATE:
            assert client.get(path).status_code == 401
        assert client.post("/sam/encode", content=b"x").status_code == 401
        assert client.post("/login", data={"username": "me", "password": "wrong"}).status_code == 400
        assert client.get("/sam/about").status_code == 401
        assert client.post("/login", data={"username": "me", "password": "secret"}).status_code == 200
        for path in PRIVATE:
            assert client.get(path).status_code == 200
        assert "Click on an object" in client.get("/").text
        assert json.loads(client.get("/sam/about").text)["default"] == "pocket"


@pytest.mark.parametrize("path", ["call/nothing", "call/v2/nothing", "queue/join", "cancel"])
def test_calls_that_gradio_does_not_know_are_no_failure_of_the_server(running, path):
    for body in ({"data": []}, {"fn_index": 99, "data": [], "session_hash": "s"}, {"x": 1}, [], {"event_id": "gone"}):
        answer = httpx.post(f"{running.url}/gradio_api/{path}", json=body, timeout=20)
        assert answer.status_code < 500 and "Traceback" not in answer.text
