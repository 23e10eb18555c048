"""The page as people use it, in Debian's Chromium; screenshots are kept in out/demo."""

import json
import threading
import zipfile

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from sam_hub.demo import service as service_module
from sam_hub.demo.limits import Refusal
from sam_hub.demo.models import LoadedModel, ModelEntry, entry_of

from sam_hub.ops.tidying import tidy

from .person import mask_of

both = pytest.mark.parametrize("place", ["running", "alone"], indirect=True)
"""With the server, and without one."""


@both
def test_pointing(person, root, tmp_path):
    """Upload, hover, click + and -, choose, undo, box, second object, name, export, import."""
    p = person()
    p.shot("empty")
    p.page.set_input_files("#photo-file", root / "examples" / "coffee.jpg")
    p.until("samHub.photo?.id")
    assert p.page.inner_text("#photo-name") == "coffee.jpg"

    p.page.mouse.move(*p.at(240, 150))
    p.page.mouse.move(*p.at(285, 150))
    p.until("samHub.preview")
    assert p.painted(285, 152) or p.look("samHub.preview.path.length > 10")
    assert p.objects() == []  # looking is free
    p.shot("hover")

    p.click(285, 150)
    (one,) = p.answered(1)
    assert (
        len(one["masks"]) == 3 and one["chosen"] == one["best"] and one["points"] == [{"x": 285, "y": 150, "label": 1}]
    )
    assert p.page.locator(".choices button").count() == 3 and "3 candidate masks" in p.said()

    p.page.keyboard.press("2")
    assert p.objects()[0]["chosen"] == 1
    p.page.locator(".choices button").nth(2).click()
    assert p.objects()[0]["chosen"] == 2
    p.page.keyboard.press("Control+z")
    assert p.objects()[0]["chosen"] == 1

    p.click(110, 200, button="right")
    (two,) = p.answered(1)
    assert [q["label"] for q in two["points"]] == [1, 0]
    p.page.keyboard.down("Shift")
    p.click(480, 300)
    p.page.keyboard.up("Shift")
    (three,) = p.answered(1)
    assert [q["label"] for q in three["points"]] == [1, 0, 0]
    p.page.click("#undo")
    p.page.click("#undo")
    assert p.objects()[0]["points"] == one["points"] and mask_of(p.objects()[0]).shape == (400, 600)
    p.page.click("#redo")
    assert p.objects()[0]["points"] == two["points"] and p.objects()[0]["masks"] == two["masks"]

    p.page.keyboard.press("n")
    p.drag((172, 17), (300, 200), (412, 310))
    _, boxed = p.answered(2)
    np.testing.assert_allclose(boxed["box"], [172, 17, 412, 310], atol=2)
    p.page.keyboard.press("F2")
    p.page.keyboard.type("cup")
    p.page.keyboard.press("Enter")
    assert p.objects()[1]["name"] == "cup"
    p.shot("objects")

    p.page.click("#export")
    p.shot("export")
    for box in p.page.locator("#formats input").all():
        box.set_checked(box.get_attribute("value") == "coco")
    with p.page.expect_download() as download:
        p.page.click("#export-go")
    file = tmp_path / "coco.json"
    download.value.save_as(file)
    records = json.loads(file.read_text())["annotations"]
    for record, o in zip(records, p.objects(), strict=True):
        assert np.array_equal(coco_mask.decode(record["segmentation"]), mask_of(o))

    p.page.set_input_files("#photo-file", root / "examples" / "coffee.jpg")  # begin anew
    p.until("samHub.photo?.id && doc.objects.length === 0")
    p.page.set_input_files("#import-file", file)
    back = p.answered(2)
    assert [o["name"] for o in back] == ["", "cup"]
    assert all(
        np.array_equal(mask_of(o), coco_mask.decode(r["segmentation"])) for o, r in zip(back, records, strict=True)
    )
    p.click(110, 200, button="right")  # an imported object goes on from its box
    assert len(p.answered(2)[1]["masks"]) == 4


@both
def test_tidy_and_looking_closer(person):
    """Tidying is on by default for models that ask for it; masks from prompts are computed again, and it can be undone.

    A closer look belongs to one object: later clicks keep it, undo brings the mask before it back without computing.
    """
    p = person()
    p.open("cat.jpg")
    assert p.page.is_checked("#tidy")
    p.click(150, 200)
    (before,) = p.answered(1)
    p.page.keyboard.press("2")
    p.page.click("#tidy")
    (plain,) = p.answered(1)
    assert not p.page.is_checked("#tidy") and plain["chosen"] == 1 and plain["points"] == before["points"]
    for tidied, mask in zip(before["masks"], plain["masks"], strict=True):
        pixels = coco_mask.decode(mask["rle"]).astype(bool)
        expected = tidy(pixels, 0.02, np.array([[150, 200]]))
        found = coco_mask.decode(tidied["rle"]).astype(bool)
        assert (expected & found).sum() / (expected | found).sum() > 0.99
    assert [m["rle"] for m in plain["masks"]] != [m["rle"] for m in before["masks"]]
    p.shot("untidy")
    p.page.keyboard.press("Control+z")
    assert p.page.is_checked("#tidy") and p.answered(1)[0]["masks"] == before["masks"]
    p.page.keyboard.press("t")
    p.until("doc.tidy === false")
    p.page.reload()
    p.until("window.samHub?.ready")
    p.open("coffee.jpg")
    assert not p.page.is_checked("#tidy")  # it is remembered
    p.page.keyboard.press("z")
    p.page.wait_for_selector(".toast:has-text('First click on an object')")

    p.click(375, 285)
    (plain,) = p.answered(1)
    p.shot("spoon")
    assert p.page.get_attribute("#closer", "aria-pressed") == "false"
    p.page.keyboard.press("z")
    (closer,) = p.answered(1)
    x0, y0, x1, y1 = p.look("doc.objects[0].answer.window")
    assert x0 < 330 and y0 < 210 and x1 > 410 and y1 > 330 and x1 - x0 < 480
    assert p.page.get_attribute("#closer", "aria-pressed") == "true"
    assert len(closer["masks"]) == 3 and closer["masks"][0]["rle"] not in [m["rle"] for m in plain["masks"]]
    assert 0.5 < (mask_of(closer) & mask_of(plain)).sum() / (mask_of(closer) | mask_of(plain)).sum() < 1
    p.shot("spoon-closer")
    p.page.keyboard.press("Control+z")
    assert p.objects()[0] == plain and p.page.get_attribute("#closer", "aria-pressed") == "false"
    p.page.keyboard.press("Control+Shift+z")
    assert p.objects()[0] == closer
    p.click(240, 60, button="right")
    (again,) = p.answered(1)
    assert len(again["masks"]) == 4 and p.look("doc.objects[0].zoom && Boolean(doc.objects[0].answer.window)")
    p.page.keyboard.press("n")
    p.click(240, 150)
    _, cup = p.answered(2)
    assert len(cup["masks"]) == 3 and p.look("!doc.objects[1].zoom && doc.objects[1].answer.window === undefined")
    p.page.click("#closer")
    p.page.wait_for_selector(".toast:has-text('already fills the photo')")
    p.answered(2)


@both
def test_painting_and_moving(person):
    p = person()
    p.open("cat.jpg")
    p.page.keyboard.press("m")
    p.drag((80, 80), (200, 80), (200, 220), (90, 220))
    (o,) = p.answered(1)
    assert o["strokes"] == 1 and mask_of(o).any()
    p.shot("brush")
    before = p.look("samHub.view.scale")
    p.page.mouse.move(*p.at(200, 150))
    p.page.mouse.wheel(0, -400)
    p.until(f"samHub.view.scale > {before} * 1.5")
    x = p.look("samHub.view.x")
    p.page.keyboard.press("v")
    p.until("samHub.tool === 'pan'")
    p.drag((200, 150), (220, 150))
    p.until(f"samHub.view.x > {x}")
    p.page.keyboard.press("0")
    p.until(f"Math.abs(samHub.view.scale - {before}) < 1e-6")
    p.page.keyboard.press("}")
    p.until("Math.abs(samHub.opacity - 0.5) < 1e-6")
    p.page.keyboard.press("h")
    p.until("!doc.objects[0].visible")
    assert not p.painted(150, 150)
    p.page.keyboard.press("Delete")
    assert p.objects() == []


def test_clicks_while_something_is_on_its_way_are_kept(person, monkeypatch):
    """The photo, or a closer look at another object."""
    p = person()
    held = []
    p.page.route("**/sam/encode*", lambda route: held.append(route))
    p.page.click("[data-example='example-cat.jpg']")
    p.until("samHub.photo")
    p.page.wait_for_timeout(300)
    assert not p.page.locator("#busy").is_hidden()
    p.click(150, 200)
    p.page.keyboard.press("n")
    p.click(40, 280)
    assert [len(o["points"]) for o in p.objects()] == [1, 1] and p.look("doc.objects.every(o => !o.answer)")
    p.shot("waiting")
    held[0].continue_()
    assert [len(o["masks"]) for o in p.answered(2)] == [3, 3]
    assert p.page.locator("#busy").is_hidden()

    go_on, look_again = threading.Event(), service_module.look_again
    monkeypatch.setattr(service_module, "look_again", lambda *given: go_on.wait(60) and look_again(*given))
    p.page.keyboard.press("n")
    p.click(15, 75)
    before = p.answered(3)[2]
    p.page.keyboard.press("z")
    p.page.wait_for_selector("#busy-text:has-text('Looking closer')")
    p.page.keyboard.press("n")
    p.click(420, 280)
    p.until("doc.objects[3].answer && !doc.objects[2].answer")
    p.shot("looking-closer")
    p.page.click("#busy-stop")
    assert p.answered(4)[2] == before and not p.look("doc.objects[2].zoom")
    p.page.keyboard.press("[")
    p.page.keyboard.press("z")
    p.page.wait_for_selector("#busy-text:has-text('Looking closer')")
    p.page.keyboard.press("Control+z")
    p.until("document.getElementById('busy').hidden")
    go_on.set()
    p.page.keyboard.press("z")
    p.until("doc.objects[2].answer?.window")
    assert p.answered(4)[2]["points"] == before["points"]


@both
def test_everything(person, tmp_path):
    p = person(dark=True)
    p.open("astronaut.jpg")
    p.page.keyboard.press("a")
    p.until("document.getElementById('find-bar').value > 0", 120)
    p.shot("searching")
    p.until("samHub.found.masks", 120)
    found = p.look(
        "samHub.found.masks.map(m => ({key: m.key, area: m.area, score: m.score, point: m.point, path: m.path}))"
    )
    if not found:
        pytest.skip("pocket's weights find nothing here")
    assert p.page.locator(".found button").count() == p.look("samHub.found.shown.length")

    p.page.locator(".found button").first.hover()
    assert p.look("samHub.found.lit.score === Math.max(...samHub.found.shown.map(m => m.score))")
    p.shot("everything")
    p.page.locator("#score").fill("100")
    assert p.look("samHub.found.shown.every(m => m.score >= 1)")
    p.page.locator("#score").fill("0")
    p.page.locator("#area").fill("100")
    assert p.look("samHub.found.shown.every(m => m.area >= 0.49 * 512 * 512)")
    p.page.locator("#area").fill("0")
    assert p.look("samHub.found.shown.length") == len(found)

    p.page.locator(".found button").first.click()
    assert len(p.objects()) == 1
    p.page.locator(".found button").first.click()
    assert len(p.objects()) == 0
    x, y = found[-1]["point"]
    p.page.mouse.move(*p.at(x, y))
    on_a_mask = p.look("samHub.found.lit")  # a click found it, but need not lie in it
    p.click(x, y)
    assert len(p.objects()) == (1 if on_a_mask else 0)
    p.page.click("#take-all")
    assert len(p.objects()) == len(found)
    p.shot("everything-taken")
    p.page.keyboard.press("s")
    for box in p.page.locator("#formats input").all():
        box.set_checked(True)
    with p.page.expect_download() as download:
        p.page.click("#export-go")
    download.value.save_as(tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert len([n for n in archive.namelist() if n.startswith("masks/")]) == len(found)


@both
def test_the_keyboard_alone(person, tmp_path):
    """From an example photo to a file, without a pointer."""
    p = person()
    for _ in range(30):
        p.page.keyboard.press("Tab")
        if p.look("document.activeElement.dataset.example === 'example-cat.jpg'"):
            break
    p.page.keyboard.press("Enter")
    p.until("samHub.photo?.id && document.activeElement.id === 'canvas'")
    p.page.keyboard.press("ArrowLeft")
    p.until("samHub.preview")
    p.page.keyboard.press("Enter")
    (one,) = p.answered(1)
    p.page.keyboard.press("ArrowRight")
    p.page.keyboard.press("Control+ArrowDown")
    p.page.keyboard.press("Shift+Enter")
    (two,) = p.answered(1)
    assert [q["label"] for q in two["points"]] == [1, 0]
    p.page.keyboard.press("Control+z")
    assert p.objects()[0]["masks"] == one["masks"]
    p.page.keyboard.press("1")
    assert p.objects()[0]["chosen"] == 0

    p.page.keyboard.press("n")
    p.page.keyboard.press("b")
    p.page.keyboard.press("Enter")
    for key in ["ArrowRight"] * 6 + ["ArrowDown"] * 6:
        p.page.keyboard.press(key)
    p.shot("keyboard-box")
    p.page.keyboard.press("Enter")
    assert p.answered(2)[1]["box"]
    p.page.keyboard.press("n")
    p.page.keyboard.press("m")
    for key in ["Enter"] + ["ArrowLeft"] * 5 + ["Enter"]:
        p.page.keyboard.press(key)
    assert p.answered(3)[2]["strokes"] == 1
    p.page.keyboard.press("[")
    assert p.look("doc.selected") == 2
    p.page.keyboard.press("Escape")
    assert not p.objects()[1]["box"]
    p.page.keyboard.press("?")
    p.shot("help")
    p.page.keyboard.press("Escape")
    p.page.keyboard.press("s")
    with p.page.expect_download() as download:
        for _ in range(20):
            p.page.keyboard.press("Tab")
            if p.look("document.activeElement.id === 'export-go'"):
                break
        p.page.keyboard.press("Enter")
    assert download.value.suggested_filename == "cat.zip"


@both
def test_a_phone(person):
    p = person(390, 844, touch=True)
    p.shot("phone-empty")
    assert p.look("document.documentElement.scrollWidth") <= 390
    p.page.tap("[data-example='example-cat.jpg']")
    p.until("samHub.photo?.id")
    p.page.touchscreen.tap(*p.at(150, 200))
    (o,) = p.answered(1)
    assert o["points"][0]["label"] == 1
    p.page.tap("[data-tool=remove]")
    p.page.touchscreen.tap(*p.at(420, 280))
    assert [q["label"] for q in p.answered(1)[0]["points"]] == [1, 0]
    p.page.tap("#undo")
    assert len(p.objects()[0]["points"]) == 1
    p.shot("phone")
    assert p.look("document.documentElement.scrollWidth") <= 390
    small = p.look(
        "[...document.querySelectorAll('button')].filter(b => b.offsetWidth && "
        "Math.min(b.offsetWidth, b.offsetHeight) < 30).map(b => b.id)"
    )
    assert small == []


@both
def test_dark_and_light(person):
    p = person(dark=True)
    p.open("cat.jpg")
    p.click(150, 200)
    p.answered(1)
    p.shot("dark")
    shade = "getComputedStyle(document.body).backgroundColor"
    dark = p.look(shade)
    p.page.click("#theme")
    assert p.look(shade) != dark and "Light" in p.said()
    p.page.reload()
    p.until("window.samHub?.ready")
    assert p.look(shade) != dark  # remembered


def test_every_control_has_a_name(person):
    """The names that screen readers announce."""
    p = person()
    p.open("cat.jpg")
    p.click(150, 200)
    p.answered(1)
    nameless = p.page.evaluate(
        """() => [...document.querySelectorAll('button, input:not([type=file]), select, [role=application]')]
            .filter((e) => ![e.ariaLabel, e.textContent, e.querySelector('img')?.alt, e.labels?.[0]?.textContent]
                .some((name) => name?.trim()))
            .map((e) => e.outerHTML)"""
    )
    assert nameless == []


def test_a_wrong_file_is_a_toast(person, tmp_path):
    p = person()
    (tmp_path / "x.jpg").write_bytes(b"nothing")
    p.page.set_input_files("#photo-file", tmp_path / "x.jpg")
    p.page.wait_for_selector(".toast.error")
    assert "not a photo" in p.page.inner_text(".toast") and p.look("samHub.photo") is None
    p.open("cat.jpg")
    (tmp_path / "x.json").write_text("{}")
    p.page.set_input_files("#import-file", tmp_path / "x.json")
    p.page.wait_for_selector(".toast.error:has-text('annotations')")  # the first may still be there
    p.troubles = [t for t in p.troubles if "400" not in t]  # the browser's own note of the refused file


def test_a_photo_that_the_browser_cannot_read(person, root, tmp_path):
    Image.open(root / "examples" / "cat.jpg").save(tmp_path / "cat.tif")
    p = person()
    p.page.set_input_files("#photo-file", tmp_path / "cat.tif")
    p.until("samHub.photo?.bitmap")
    p.click(150, 200)
    assert mask_of(p.answered(1)[0]).shape == (300, 451)


def test_a_photo_that_the_server_has_forgotten_is_sent_again(person, running):
    p = person()
    p.open("cat.jpg")
    p.click(150, 200)
    before = p.answered(1)[0]
    running.service.photos.drop(p.look("samHub.photo.id"))
    p.page.keyboard.press("n")
    p.click(150, 200)
    after = p.answered(2)[1]
    assert after["masks"] == before["masks"]
    p.troubles = [t for t in p.troubles if "410" not in t]


def test_a_model_is_downloaded_before_ones_eyes(person, running, tmp_path, monkeypatch):
    """The Hub's client writes ``*.incomplete`` files; the download is simulated by a growing one."""
    models, arrived = running.service.models, threading.Event()
    pocket = models.load_now("pocket")
    part = tmp_path / "blobs" / "abc.incomplete"

    def download(wanted: ModelEntry, device: str | None) -> LoadedModel:
        part.parent.mkdir()
        part.write_bytes(bytes(5 << 20))
        arrived.wait(30)
        part.unlink()
        return LoadedModel(wanted.name, pocket.device, pocket.new_predictor)

    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path))
    monkeypatch.setattr("sam_hub.demo.models._load", download)
    monkeypatch.setattr(models, "_loaded", models._loaded.copy())
    monkeypatch.setitem(models.entries, "far-away", ModelEntry("far-away", "nowhere", "tests", params=(10 << 20) // 4))
    p = person()
    p.open("cat.jpg")
    p.page.select_option("#model", "far-away")
    p.page.wait_for_selector("#busy-text:has-text('Downloading far-away: 5 MB')")
    assert p.look("document.getElementById('busy-bar').value") == 0.5
    p.shot("download")
    p.click(150, 200)
    arrived.set()
    p.until("samHub.photo.model === 'far-away'")
    p.answered(1)
    assert not p.page.is_visible("#busy")


def test_a_model_is_downloaded_only_where_one_agrees(person, running, monkeypatch):
    """The page first shows its facts and size; the download can be cancelled; meanwhile the old model answers."""
    models, arrived = running.service.models, threading.Event()
    pocket = models.load_now("pocket")

    def download(wanted: ModelEntry, device: str | None) -> LoadedModel:
        arrived.wait(60)
        return LoadedModel(wanted.name, pocket.device, pocket.new_predictor)

    monkeypatch.setattr("sam_hub.demo.models._load", download)
    monkeypatch.setattr("sam_hub.demo.models.weights_state", lambda name: "on the Hub")
    monkeypatch.setattr("sam_hub.demo.models._probe", lambda reachable: reachable.set())
    monkeypatch.setattr(models, "_loaded", models._loaded.copy())
    monkeypatch.setitem(models.entries, "mobile-sam", entry_of("mobile-sam"))
    p = person()
    p.open("cat.jpg")
    p.page.select_option("#model", "mobile-sam")
    assert "39 MB" in p.page.inner_text("#model-facts") and "apache-2.0" in p.page.inner_text("#model-facts")
    p.shot("model-question")
    p.page.click("#model-dialog [value=cancel]")
    p.until("document.getElementById('model').value === 'pocket'")
    p.page.select_option("#model", "mobile-sam")
    p.page.click("#model-dialog [value=go]")
    p.page.wait_for_selector("#busy-stop")
    p.click(150, 200)
    p.answered(1)  # by the model that is there
    p.shot("model-on-its-way")
    p.page.click("#busy-stop")
    p.until("document.getElementById('model').value === 'pocket' && document.getElementById('busy').hidden")
    assert p.look("samHub.photo.model") == "pocket"
    arrived.set()


def test_another_model_while_a_photo_is_encoded(person, running, monkeypatch):
    """The masks come from the model selected in the menu."""
    models = running.service.models
    pocket = models.load_now("pocket")
    other = LoadedModel("other", pocket.device, pocket.new_predictor)
    monkeypatch.setattr(models, "_loaded", models._loaded | {"other": other})
    monkeypatch.setitem(models.entries, "other", ModelEntry("other", "nowhere"))
    p, held = person(), []
    p.page.route("**/sam/encode?model=pocket", lambda route: held.append(route))
    p.page.click("[data-example='example-cat.jpg']")
    p.until("samHub.photo")
    p.click(150, 200)
    p.page.select_option("#model", "other")
    p.until("samHub.photo.id")
    p.answered(1)
    assert p.look("samHub.photo.model") == p.page.input_value("#model") == "other"
    assert len(p.objects()[0]["points"]) == 1  # what was asked meanwhile is answered


def test_a_model_that_cannot_be_downloaded_is_a_toast(person, running, monkeypatch):
    def download(wanted: ModelEntry, device: str | None) -> LoadedModel:
        raise Refusal(f"the model {wanted.name} could not be loaded (no network); choose another model", 503)

    monkeypatch.setattr("sam_hub.demo.models._load", download)
    monkeypatch.setitem(running.service.models.entries, "far-away", ModelEntry("far-away", "nowhere"))
    p = person()
    p.open("cat.jpg")
    p.page.select_option("#model", "far-away")
    p.page.wait_for_selector(".toast.error:has-text('no network')")
    assert p.page.input_value("#model") == "pocket"
    p.click(150, 200)  # the photo is still there, with the model it had
    p.answered(1)


@both
def test_nothing_is_lost(person, root):
    """After reloading, opening another photo and switching, objects, names and undo are restored."""
    p = person()
    p.open("coffee.jpg")
    p.click(285, 150)
    (before,) = p.answered(1)
    p.page.keyboard.press("F2")
    p.page.keyboard.type("cup")
    p.page.keyboard.press("Enter")
    p.until("doc.objects[0].name === 'cup'")
    p.kept(1)
    p.page.reload()
    p.until("window.samHub?.ready && document.querySelectorAll('.shelved').length === 1")
    p.shot("go-on")
    assert p.page.inner_text("#go-on") == "Continue with coffee.jpg, 1 object"
    p.page.click("#go-on")
    p.until("samHub.photo?.id && doc.objects.length === 1")
    (after,) = p.answered(1)
    assert after["name"] == "cup" and np.array_equal(mask_of(after), mask_of(before))
    p.click(110, 200, button="right")
    assert len(p.answered(1)[0]["points"]) == 2

    p.page.set_input_files("#photo-file", root / "examples" / "cat.jpg")
    p.until("samHub.photo?.name === 'cat.jpg' && samHub.photo.id && doc.objects.length === 0")
    p.click(150, 200)
    p.answered(1)
    p.kept(2)
    p.shot("strip")
    p.page.click(".shelved >> nth=0")
    p.until("samHub.photo.name === 'coffee.jpg' && samHub.photo.id")
    assert len(p.answered(1)[0]["points"]) == 2
    p.page.keyboard.press("Control+z")
    p.until("doc.objects[0].points.length === 1")  # each photo has its own undo
    p.page.click(".away >> nth=0")
    p.until("samHub.photo.name === 'cat.jpg' && samHub.photo.id")
    p.until("document.getElementById('strip').hidden")
    assert len(p.answered(1)) == 1
    p.kept(1)
    p.page.reload()
    p.until("window.samHub?.ready && document.querySelectorAll('.shelved').length === 1")
    assert "cat.jpg" in p.page.inner_text("#go-on")


def test_importing_twice_and_undoing_it(person, tmp_path):
    p = person()
    p.open("cat.jpg")
    square = {"segmentation": [[50, 50, 90, 50, 90, 90, 50, 90]]}
    (tmp_path / "x.json").write_text(json.dumps({"annotations": [square]}))
    for words in ("1 object imported", "1 object was there already"):
        p.page.set_input_files("#import-file", tmp_path / "x.json")
        p.page.wait_for_selector(f".toast:has-text('{words}')")
        assert len(p.answered(1)) == 1
    p.page.keyboard.press("Control+z")
    assert p.objects() == []
    p.page.keyboard.press("Control+Shift+z")
    assert len(p.objects()) == 1


def test_marks_are_moved_and_removed(person):
    """Clicks and corners of the box; a click on another object selects it."""
    p = person()
    p.open("cat.jpg")
    p.click(150, 200)
    p.answered(1)
    p.drag((150, 200), (160, 190), (170, 210))
    (o,) = p.answered(1)
    assert o["box"] is None and [(q["x"], q["y"]) for q in o["points"]] == [pytest.approx((170, 210), abs=1)]
    p.click(420, 280, button="right")
    assert len(p.answered(1)[0]["points"]) == 2
    p.click(420, 280, button="right")
    assert len(p.answered(1)[0]["points"]) == 1
    p.page.keyboard.press("Control+z")
    assert len(p.objects()[0]["points"]) == 2

    p.page.keyboard.press("n")
    p.page.keyboard.press("b")
    p.drag((300, 10), (400, 100))
    p.answered(2)
    p.drag((400, 100), (420, 130), (440, 140))
    np.testing.assert_allclose(p.answered(2)[1]["box"], [300, 10, 440, 140], atol=2)
    p.shot("marks")
    p.page.keyboard.press("p")
    x, y = p.look("doc.objects[0].points.map((q) => [q.x, q.y])[0]")
    if p.look(f"samHub.hit([doc.objects[0].answer.masks[doc.objects[0].chosen]], {x}, {y}) !== null"):
        p.click(x, y)
        assert p.look("doc.selected") == 1 and len(p.objects()[1]["points"]) == 0


def test_pictures_of_what_is_shown(person, tmp_path):
    p = person()
    p.open("cat.jpg")
    p.click(150, 200)
    (o,) = p.answered(1)
    mask = mask_of(o)
    for kind in ("overlay", "blur", "white"):
        p.page.keyboard.press("s")
        with p.page.expect_download() as download:
            p.page.click(f"[data-picture={kind}]")
        download.value.save_as(p.shots / f"picture-{kind}.png")
        picture = np.asarray(Image.open(p.shots / f"picture-{kind}.png").convert("RGB"))
        assert picture.shape == (300, 451, 3)
        inner = cv2.erode(mask.astype(np.uint8), np.ones((7, 7))) > 0
        outer = cv2.dilate(mask.astype(np.uint8), np.ones((7, 7))) == 0
        if kind == "white":
            assert (picture[outer] == 255).all() and not (picture[inner] == 255).all()
    p.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    p.page.keyboard.press("s")
    p.page.click("[data-picture=copy]")
    p.page.wait_for_selector(".toast:has-text('clipboard')")
    size = p.look(
        "navigator.clipboard.read().then((all) => all[0].getType('image/png')).then(createImageBitmap)"
        ".then((b) => [b.width, b.height])"
    )
    assert size == o["masks"][o["chosen"]]["bbox"][2:]


def test_words_find_objects(person, running, monkeypatch):
    """With a detector on the server; what it finds is added to the objects, named by the phrase."""
    asked = []

    def finder(image: np.ndarray, text: str) -> tuple[np.ndarray, np.ndarray]:
        asked.append((image.shape, text))
        return np.array([[60.0, 20, 440, 290], [10, 5, 60, 60]]), np.array([0.8, 0.4])

    p = person()
    assert not p.page.is_visible("#words")
    monkeypatch.setattr(running.service, "finder", finder)
    p = person()
    p.open("cat.jpg")
    p.page.fill("#words-text", " a  cat ")
    p.page.keyboard.press("Enter")
    p.page.wait_for_selector(".toast:has-text('found')")
    assert asked == [((300, 451, 3), "a cat")]
    first = p.objects()[0]
    assert first["name"] == "a cat" and first["box"] == [60, 20, 440, 290] and mask_of(first).any()
    p.shot("words")
