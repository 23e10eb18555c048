"""Access control and host names over real HTTP, and that the server opens nothing on a client's behalf."""

import json
import socket
import sys
from contextlib import suppress
from types import SimpleNamespace

import httpx
import pytest
from sam_hub.demo import app
from sam_hub.demo.guard import HostNames
from sam_hub.demo.limits import Limits

from .conftest import Running
from .wire import SECONDS

FETCHED: list[str] = []
HEARD = {"socket.getaddrinfo", "socket.gethostbyname", "socket.connect", "urllib.Request", "open"}
NAME = "photos.sam-hub.invalid"


def listen(event: str, arguments: tuple) -> None:
    """An audit hook that records names resolved, connected to or opened."""
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
    """Counted by name, because behind a proxy all visitors have one address."""
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
    assert ("anyone who can reach this page can use it; --auth" in told) is warned
