"""Project mode of the page over HTTP: everything acknowledged is in the project's file."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

pytest.importorskip("gradio", reason="the web page needs gradio: install sam-hub[demo]")

from sam_hub.demo import app
from sam_hub.demo.labelling import Labelling

from sam_hub.engine.status import problems
from sam_hub.engine.store import Project
from sam_hub.ops.masks import mask_to_rle

from ..demo.conftest import free_port
from .conftest import blob, version


class Desk:
    """A server with a project; post(path, body) -> the answer."""

    def __init__(self, url: str, project: Project) -> None:
        self.url, self.project = url.rstrip("/"), project
        self.client = httpx.Client(base_url=f"{self.url}/sam/", timeout=60)

    def post(self, path: str, **body: object) -> httpx.Response:
        return self.client.post(f"project/{path}", json=body)

    def mask(self, photo: int, request: str, seed: int = 0, **more: object) -> dict:
        rle = mask_to_rle(blob(seed))
        body = {"photo": photo, "holder": "me", "request": request, "object": "a", "state": "accepted", "rle": rle}
        return {**body, "clicks": 2, "seconds": 3.5, "prompts": {"points": [[1, 2]], "labels": [1]}, **more}


@pytest.fixture
def serve() -> Iterator[Callable[..., Desk]]:
    servers = []

    def start(project: Project, **options: object) -> Desk:
        server, service = app.build(["pocket"], "cpu")
        servers.append(server)
        Labelling(project, service, lambda request: app.user_of(server, request.scope) or "ann").add_to(server)
        return Desk(app.launch(server, port=free_port(), block=False, **options), project)

    yield start
    for server in servers:
        server.get_blocks().close(verbose=False)


def test_a_photo_from_first_to_last(make_project, serve):
    desk = serve(make_project(3))
    first = desk.post("next", holder="me").json()
    photo = first["photo"]["id"]
    assert first["counts"] == {"all": 3, "done": 0, "left": 3, "masks": 0} and first["objects"] == []
    data = desk.client.get(f"project/photo/{photo}").content
    assert data == Path(desk.project.photo(photo).path).read_bytes()

    answer = desk.post("save", **desk.mask(photo, "r1")).json()
    assert answer["saved"] == "r1" and answer["counts"]["masks"] == 1
    (row,) = desk.project.objects(photo)
    assert row["counts"] == mask_to_rle(blob(0))["counts"]
    assert (row["annotator"], row["clicks"], row["seconds"], row["stage"]) == ("ann", 2, 3.5, "assisted")
    assert desk.post("save", **desk.mask(photo, "r1")).json() == answer, "sent again, stored once"
    assert len(desk.project.history(photo, "a")) == 1

    assert desk.post("finish", holder="me", photo=photo, state="done").json()["counts"]["done"] == 1
    assert desk.post("next", holder="me").json()["photo"]["id"] != photo
    back = desk.post("before", holder="me", photo=None).json()
    assert back["photo"]["id"] == photo and back["objects"][0]["object"] == "a"
    assert back["objects"][0]["points"] == [[1, 2]] and back["objects"][0]["path"]
    assert not problems(desk.project)


def test_a_sign_of_life_that_is_slower_than_what_follows(make_project, serve):
    desk = serve(make_project(2))
    first = desk.post("next", holder="me").json()["photo"]["id"]
    desk.post("finish", holder="me", photo=first, state="done")
    assert desk.post("keep", holder="me", photo=first).status_code == 200
    second = desk.post("next", holder="me").json()["photo"]["id"]
    assert desk.post("keep", holder="me", photo=first).status_code == 200
    assert first != second == desk.post("next", holder="me").json()["photo"]["id"]
    assert desk.post("next", holder="you").json()["photo"] is None, "it would be given twice"


def test_two_people(make_project, serve):
    desk = serve(make_project(2))
    mine = desk.post("next", holder="me").json()["photo"]["id"]
    yours = desk.post("next", holder="you").json()["photo"]["id"]
    assert mine != yours
    assert desk.post("next", holder="third").json()["photo"] is None
    refused = desk.post("save", **desk.mask(yours, "r9"))
    assert refused.status_code == 409 and "has this photo open" in refused.json()["error"]
    assert not desk.project.objects(yours)
    assert desk.post("keep", holder="me", photo=yours).status_code == 409
    assert desk.post("keep", holder="me", photo=mine).status_code == 200


def test_what_is_wrong_is_a_sentence_and_stores_nothing(make_project, serve):
    desk = serve(make_project(1))
    photo = desk.post("next", holder="me").json()["photo"]["id"]
    for wrong, word in [
        ({"state": "maybe"}, "state of a mask"),
        ({"state": ["accepted"]}, "state of a mask"),
        ({"state": {}}, "state of a mask"),
        ({"rle": {"size": [3, 3], "counts": [9]}}, "not 32 x 24"),
        ({"rle": None}, "not run lengths"),
        ({"request": ""}, "request must be a text"),
        ({"name": "x" * 300}, "name must be a text"),
        ({"photo": 77}, "has no photo 77"),
        ({"prompts": []}, "prompts must be an object"),
    ]:
        answer = desk.post("save", **{**desk.mask(photo, "r"), **wrong})
        assert answer.status_code == 400 and word in answer.json()["error"], (wrong, answer.text)
    assert desk.post("finish", holder="me", photo=photo, state="lost").status_code == 400
    assert desk.client.get("project/photo/77").status_code == 400
    assert not desk.project.objects(photo)


def test_numbers_and_texts_that_no_database_holds(make_project, serve):
    desk = serve(make_project(1))
    photo = desk.post("next", holder="me").json()["photo"]["id"]
    sound = json.dumps(desk.mask(photo, "r"))
    for old, new, word in [
        (f'"photo": {photo}', '"photo": 1e999', "a number of the project"),
        (f'"photo": {photo}', f'"photo": {10**30}', "a number of the project"),
        (f'"photo": {photo}', '"photo": 1.5', "a number of the project"),
        ('"object": "a"', r'"object": "\ud800"', "an incomplete character"),
        ("[[1, 2]]", "[[1, 1e999]]", "not finite"),
        ("[[1, 2]]", json.dumps([[1, 2]] * 20_000), "send fewer"),
    ]:
        answer = desk.client.post("project/save", content=sound.replace(old, new))
        assert answer.status_code == 400 and word in answer.json()["error"], (new, answer.text)
    assert not desk.project.objects(photo)
    for path in ("before", "keep", "finish"):
        body = sound.replace('"accepted"', '"done"').replace(f'"photo": {photo}', f'"photo": {10**30}')
        assert desk.client.post(f"project/{path}", content=body).status_code == 400, path
    for number in ("-1", "1e3", "9" * 30, "x", "..%2f1"):
        assert desk.client.get(f"project/photo/{number}").status_code in (400, 404)
    odd = sound.replace('"seconds": 3.5', '"seconds": 1e999').replace('"clicks": 2', f'"clicks": {10**30}')
    assert desk.client.post("project/save", content=odd).status_code == 200, "what only measures is left out"
    assert (desk.project.objects(photo)[0]["seconds"], desk.project.objects(photo)[0]["clicks"]) == (0, 0)


def test_a_project_that_names_other_files_gives_none_of_them_out(make_project, serve, tmp_path):
    """A project's file that others made may name anything; only photos are served."""
    project = make_project(1)
    secret = tmp_path / "secret.txt"
    secret.write_text("password")
    state = secret.stat()
    with project.writing() as db:
        values = (str(secret), state.st_size, state.st_mtime_ns)
        db.execute("UPDATE photos SET path = ?, bytes = ?, modified = ?", values)
    desk = serve(project)
    assert desk.post("next", holder="me").status_code == 200
    answer = desk.client.get("project/photo/1")
    assert answer.status_code == 404 and "is not a photo" in answer.json()["error"]


def test_a_full_disk_is_a_507(make_project, serve):
    desk = serve(make_project(1))
    photo = desk.post("next", holder="me").json()["photo"]["id"]
    pages = desk.project.connection.execute("PRAGMA page_count").fetchone()[0]
    desk.project.connection.execute(f"PRAGMA max_page_count = {pages}")
    answers = [desk.post("save", **desk.mask(photo, f"r{i}", object=f"o{i}")) for i in range(60)]
    stored = [a for a in answers if a.status_code == 200]
    refused = [a for a in answers if a.status_code == 507]
    assert len(stored) + len(refused) == 60 and refused and "free some space" in refused[0].json()["error"]
    assert len(desk.project.objects(photo)) == len(stored)


def test_the_name_logged_in_is_the_annotator(make_project, serve):
    desk = serve(make_project(2), auth=[("bob", "secret"), ("eve", "geheim")])
    assert desk.post("next", holder="me").status_code == 401
    for name, password in (("bob", "secret"), ("eve", "geheim")):
        with httpx.Client(base_url=desk.url, timeout=60) as client:
            assert client.post("/login", data={"username": name, "password": password}).status_code == 200
            desk.client = httpx.Client(base_url=f"{desk.url}/sam/", cookies=client.cookies, timeout=60)
        photo = desk.post("next", holder=name).json()["photo"]["id"]
        assert desk.post("save", **desk.mask(photo, name, holder=name)).status_code == 200
        assert desk.project.objects(photo)[0]["annotator"] == name


def annotate_for(desk: Desk, name: str, seconds: float, done: list[int]) -> None:
    """Photo after photo as a page does it; each photo's mask is the `blob` of its number."""
    client, end = Desk(desk.url, desk.project), time.monotonic() + seconds
    while time.monotonic() < end and (photo := client.post("next", holder=name).json()["photo"]):
        id = photo["id"]
        for n in range(2):
            body = desk.mask(id, f"{name}-{id}-{n}", 7 * id + n, holder=name, object=f"o{n}")
            assert client.post("save", **body).status_code == 200
        assert client.post("finish", holder=name, photo=id, state="done").status_code == 200
        done.append(id)


def test_two_annotators_for_a_while(make_project, serve):
    """ANNOTATE_SECONDS=300 is the long run."""
    seconds = float(os.environ.get("ANNOTATE_SECONDS", 4))
    desk = serve(make_project(400 if seconds <= 4 else 4000))
    done: dict[str, list[int]] = {"ann": [], "bob": []}
    threads = [threading.Thread(target=annotate_for, args=(desk, who, seconds, ids)) for who, ids in done.items()]
    [t.start() for t in threads]
    [t.join() for t in threads]
    every = [id for ids in done.values() for id in ids]
    assert all(done.values()) and len(every) == len(set(every)), "a photo given twice"
    for id in every:
        rows = desk.project.objects(id)
        assert [r["counts"] for r in rows] == [mask_to_rle(blob(7 * id + n))["counts"] for n in range(2)]
    assert desk.project.rows("SELECT count(*) AS n FROM masks")[0]["n"] == 2 * len(every)
    assert not problems(desk.project)
    print(f"{len(every)} photos, {2 * len(every)} masks")


def test_a_photo_of_proposals(make_project, serve):
    project = make_project(1)
    project.propose(project.photo(1), [version("p", "m", "proposed", 3, stage="semi", score=0.7)], 0)
    desk = serve(project)
    (proposed,) = desk.post("next", holder="me").json()["objects"]
    assert proposed["state"] == "proposed" and proposed["score"] == 0.7
    body = desk.mask(1, "r", 3, object="m", semi=True, clicks=0)
    assert desk.post("save", **body).status_code == 200
    assert project.rows("SELECT untouched FROM mask_counts WHERE state = 'accepted'")[0]["untouched"] == 1
