"""Project mode as people use it, in Debian's Chromium; screenshots are kept in out/demo."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="the web page needs gradio: install sam-hub[demo]")
from sam_hub.demo import app
from sam_hub.demo.labelling import Labelling

from sam_hub.engine import photos
from sam_hub.engine.status import problems
from sam_hub.engine.store import MaskVersion, Project
from sam_hub.ops.masks import mask_to_rle

from ..demo.conftest import free_port
from ..demo.person import CHROMIUM, Person, sync_api


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Patient(Person):
    """A user with long timeouts, for a busy machine."""

    def until(self, condition: str, seconds: float = 300) -> None:
        super().until(condition, seconds)


class Lab:
    """A project of the example photos on a server that can be stopped and started at one address."""

    def __init__(self, folder: Path, root: Path) -> None:
        source = folder / "photos"
        source.mkdir()
        for name in ("cat.jpg", "coffee.jpg", "astronaut.jpg"):
            shutil.copy(root / "examples" / name, source)
        self.project = Project.create(folder / "pets", "pocket", 0.2)
        photos.add(self.project, photos.find([source], self.project.folder))
        self.port, self.server = free_port(), None

    def start(self) -> str:
        self.server, service = app.build(["pocket"], "cpu")
        Labelling(self.project, service, lambda request: "ann").add_to(self.server)
        return app.launch(self.server, port=self.port, block=False).rstrip("/")

    def stop(self) -> None:
        self.server.get_blocks().close(verbose=False)

    def masks(self) -> dict[str, list]:
        """File name -> rows of accepted masks."""
        rows = self.project.rows("SELECT id, path FROM photos")
        found = {Path(r["path"]).name: [m for m in self.project.objects(r["id"])] for r in rows}
        return {name: [m for m in masks if m["state"] == "accepted"] for name, masks in found.items()}


@pytest.fixture
def lab(tmp_path: Path, root: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path, root)
    lab.url = lab.start()
    yield lab
    lab.stop()
    lab.project.close()


@pytest.fixture
def visit(lab: Lab, browser: sync_api.Browser, root: Path) -> Iterator[Callable[..., Patient]]:
    shots, people = root / "out" / "demo", []
    os.makedirs(shots, exist_ok=True)

    def arrive(width: int = 1280, height: int = 800, touch: bool = False, calm: bool = True) -> Person:
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="light", has_touch=touch, is_mobile=touch
        )
        person = Patient(context.new_page(), lab.url, shots)
        person.calm = calm
        people.append(person)
        person.until("samHub.photo?.id")
        return person

    yield arrive
    for each in people:
        each.page.context.close()
        assert not each.troubles or not each.calm


def saved(person: Person) -> None:
    person.until("samHub.project.outbox.size === 0 && doc.objects.every(o => !o.points.length || o.answer)")


NEXT = "samHub.photo?.id !== '{}' && (samHub.photo?.id || !document.getElementById('project-done').hidden)"
MIDDLES = {"cat.jpg": (220, 150), "coffee.jpg": (290, 200), "astronaut.jpg": (220, 150)}


def test_three_photos_by_keyboard_alone(lab, visit):
    p = visit()
    names = []
    for number in range(3):
        names.append(p.look("samHub.photo.name"))
        p.until("document.activeElement.id === 'canvas'")
        p.page.keyboard.press("Enter")  # the cross, in the middle
        p.page.keyboard.press("Enter")
        p.answered(1)
        p.page.keyboard.press("n")
        for _ in range(6):
            p.page.keyboard.press("ArrowUp")
        p.page.keyboard.press("Enter")
        p.answered(2)
        if number == 0:
            p.page.keyboard.press("F2")
            p.page.keyboard.type("thing")
            p.page.keyboard.press("Enter")
            saved(p)
            assert p.page.inner_text("#project-count") == "0 of 3 photos, 2 masks"
            p.shot("project-keyboard")
        if number == 1:
            p.page.keyboard.press("Delete")
        before = p.look("samHub.photo.id")
        p.page.keyboard.press("d")
        p.until(
            f"samHub.photo?.id !== '{before}' && (samHub.photo?.id || !document.getElementById('project-done').hidden)"
        )
    assert not p.page.is_visible("#no-objects"), "there is no photo to click on"
    p.shot("project-done")
    masks = lab.masks()
    assert sorted(names) == sorted(masks) and [len(masks[name]) for name in names] == [2, 1, 2]
    assert [m["name"] for m in masks[names[0]]] == ["", "thing"]
    assert all(m["clicks"] == 1 and m["annotator"] == "ann" for name in names for m in masks[name])
    assert all(m["seconds"] < 300 for name in names for m in masks[name])
    p.page.keyboard.press("u")
    p.until("samHub.photo?.id && doc.objects.length")
    assert p.look("samHub.photo.name") == names[-1] and len(p.objects()) == 2
    assert not problems(lab.project)


def test_by_mouse_with_undo_and_skip(lab, visit):
    p = visit()
    name = p.look("samHub.photo.name")
    p.click(*MIDDLES[name])
    p.answered(1)
    saved(p)
    (first,) = lab.masks()[name]
    p.click(MIDDLES[name][0] + 30, MIDDLES[name][1] + 30)
    p.answered(1)
    saved(p)
    (second,) = lab.masks()[name]
    assert second["object"] == first["object"] and second["clicks"] == 2
    p.page.click("#undo")
    saved(p)
    (third,) = lab.masks()[name]
    assert third["counts"] == first["counts"] and third["id"] > second["id"], "undo is a new row"
    p.page.click("#undo")
    saved(p)
    assert lab.masks()[name] == []
    p.page.click("#project-skip")
    p.until(f"samHub.photo?.id && samHub.photo.name !== '{name}'")
    assert lab.project.rows("SELECT count(*) AS n FROM photos WHERE state = 'skipped'")[0]["n"] == 1
    p.page.click("#project-before")
    p.until(f"samHub.photo?.id && samHub.photo.name === '{name}'")


def test_proposals_are_accepted_mended_and_removed(lab, visit):
    import numpy as np

    first = lab.project.one("SELECT * FROM photos ORDER BY place LIMIT 1")
    photo, versions = lab.project.photo(first["id"]), []
    for n in range(4):
        mask = np.zeros(photo.size, bool)
        mask[40 + 60 * n : 90 + 60 * n, 40:200] = True
        rle = mask_to_rle(mask)
        versions.append(MaskVersion(f"p{n}", f"m{n}", "proposed", rle, "semi", 0, "pocket", "", score=0.9))
    lab.project.propose(photo, versions, 0)
    p = visit()
    p.until("doc.objects.length === 4 && doc.selected")
    assert "4 proposed masks" in p.page.inner_text("#project-accept")
    p.shot("project-proposals")
    p.page.focus("#canvas")
    p.page.keyboard.press("y")
    p.page.keyboard.press("Delete")
    p.page.keyboard.press("y")
    saved(p)
    states = {row["object"]: row["state"] for row in lab.project.rows("SELECT object, state FROM objects")}
    assert sorted(states.values()) == ["accepted", "accepted", "proposed", "removed"]
    assert states["m0"] == "accepted" and states["m1"] == "removed"
    p.page.keyboard.press("d")
    p.until(f"samHub.photo?.id && samHub.photo.name !== '{Path(photo.path).name}'")
    counts = lab.project.rows("SELECT sum(masks) AS n, sum(untouched) AS u FROM mask_counts WHERE state = 'accepted'")[
        0
    ]
    assert (counts["n"], counts["u"]) == (3, 3)


def test_a_phone(lab, visit):
    p = visit(390, 844, touch=True)
    for number in range(3):
        name, before = p.look("samHub.photo.name"), p.look("samHub.photo.id")
        p.page.evaluate("() => scrollTo(0, 0)")
        p.page.touchscreen.tap(*p.at(*MIDDLES[name]))
        p.answered(1)
        saved(p)
        if not number:
            p.shot("project-phone")
        p.page.tap("#project-next")
        p.until(
            f"samHub.photo?.id !== '{before}' && (samHub.photo?.id || !document.getElementById('project-done').hidden)"
        )
    assert [len(masks) for masks in lab.masks().values()] == [1, 1, 1]
    assert p.look("document.documentElement.scrollWidth <= 390")


def test_a_server_that_is_away_and_comes_back(lab, visit):
    p = visit(calm=False)
    name = p.look("samHub.photo.name")
    p.click(*MIDDLES[name])
    p.answered(1)
    saved(p)
    lab.stop()
    p.page.focus("#canvas")
    p.page.keyboard.press("F2")
    p.page.keyboard.type("later")
    p.page.keyboard.press("Enter")
    p.until("document.getElementById('project-note').textContent.startsWith('Not saved')")
    p.shot("project-away")
    assert p.look("samHub.project.outbox.size") == 1
    assert lab.masks()[name][0]["name"] == ""
    lab.start()
    p.until("samHub.project.outbox.size === 0")
    assert [m["name"] for m in lab.masks()[name]] == ["later"]
    p.click(MIDDLES[name][0] + 20, MIDDLES[name][1])
    p.answered(1)
    saved(p)
    assert lab.masks()[name][0]["clicks"] == 2


def test_a_full_disk_keeps_the_mask_on_the_screen(lab, visit):
    p = visit(calm=False)
    name = p.look("samHub.photo.name")
    pages = lab.project.connection.execute("PRAGMA page_count").fetchone()[0]
    lab.project.connection.execute(f"PRAGMA max_page_count = {pages}")
    for n in range(12):
        p.page.keyboard.press("n")
        p.click(MIDDLES[name][0] + 9 * n - 50, MIDDLES[name][1] + 5 * n)
        p.answered(n + 1)
        if p.look("samHub.project.outbox.trouble"):
            break
    p.until("document.getElementById('project-note').textContent.includes('free some space')")
    note = "document.getElementById('project-note')"
    assert p.look(f"{note}.scrollWidth <= {note}.clientWidth"), "a long path leaves the panel"
    p.shot("project-full-disk")
    shown = len(p.objects())
    assert p.look("samHub.project.outbox.size") >= 1 and shown == n + 1 > len(lab.masks()[name])
    lab.project.connection.execute("PRAGMA max_page_count = 1000000")
    saved(p)
    assert len(lab.masks()[name]) == shown and not problems(lab.project)
