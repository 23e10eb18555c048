"""The page without a server in Chromium: its masks, offline use, and error cases."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam_hub.hub.places import ASSETS
from sam_hub.inference.runtime import OnnxPredictor
from sam_hub.inference.zoom import closer_window

from .conftest import serve
from .person import Person, mask_of

pytestmark = pytest.mark.parametrize("place", ["alone"], indirect=True)


@pytest.fixture(scope="module")
def predictor(static_folder: Path, tmp_path_factory) -> OnnxPredictor:
    """The files of the page in Python."""
    folder = tmp_path_factory.mktemp("model")
    shutil.copytree(static_folder / "models" / "pocket", folder / "onnx")
    from sam_hub.models.image_processing_sam import SamImageProcessor

    SamImageProcessor.from_pretrained("pocket").save_pretrained(folder)
    shutil.copy(ASSETS / "pocket" / "config.json", folder)
    return OnnxPredictor(folder)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_masks_are_those_of_python(person, predictor, root, tmp_path, subtests):
    """On a photo of the input's size, a smaller one and a larger one: one click, two clicks and a box, tidied, and
    a closer look at a smaller box.

    The model is confident for these prompts: where logits are near zero, two builds of onnxruntime differ.
    """
    coffee = Image.open(root / "examples" / "coffee.jpg")
    p = person()
    tidy = predictor.capabilities.tidy
    assert tidy > 0
    for width, least in ((512, 0.99), (600, 0.97), (1600, 0.97)):
        with subtests.test(width=width):
            photo = tmp_path / f"{width}.png"
            coffee.resize((width, round(coffee.height * width / coffee.width)), Image.Resampling.BICUBIC).save(photo)
            scale = width / 600
            p.page.set_input_files("#photo-file", photo)
            p.until(f"samHub.photo?.id && samHub.photo.name === '{photo.name}' && doc.objects.length === 0", 120)
            predictor.set_image(photo)
            on, off = np.array([285, 150]) * scale, np.array([110, 200]) * scale
            p.click(*on)
            (one,) = p.answered(1)
            expected, scores, low = predictor.predict(on[None], np.array([1]), tidy=tidy)
            assert [m["score"] for m in one["masks"]] == pytest.approx(scores.tolist(), abs=0.02)
            assert iou(mask_of(one), expected[one["chosen"]]) >= least
            p.click(*off, button="right")
            (two,) = p.answered(1)
            clicks, labels = np.stack([on, off]), np.array([1, 0])
            mask_input = low[one["chosen"]][None]
            expected, _, _ = predictor.predict(clicks, labels, None, mask_input, multimask_output=False, tidy=tidy)
            assert len(two["masks"]) == 4 and iou(mask_of(two), expected[0]) >= least
            p.page.keyboard.press("n")
            box = np.array([172, 17, 412, 310]) * scale
            p.drag(box[:2], box[2:])
            _, boxed = p.answered(2)
            expected, _, _ = predictor.predict(box=np.array(boxed["box"]), multimask_output=False, tidy=tidy)
            assert iou(mask_of(boxed), expected[0]) >= least
            p.page.keyboard.press("n")
            spoon = np.array([325, 205, 408, 330]) * scale
            p.drag(spoon[:2], spoon[2:])
            p.answered(3)
            p.page.keyboard.press("z")
            closer = p.answered(3)[2]
            asked = dict(box=np.array(closer["box"]), multimask_output=False, tidy=tidy)
            (expected,), (score,), _ = predictor.predict(**asked, zoom=True)
            window = closer_window(expected, box=asked["box"])
            assert p.look("doc.objects[2].answer.window") == list(window)
            assert closer["masks"][0]["score"] == pytest.approx(score, abs=0.02)
            assert iou(mask_of(closer), expected) >= least > iou(predictor.predict(**asked)[0][0], expected)


def test_no_network_after_the_first_visit(person):
    """Nor after the page is closed: the page, the runtime and the model are kept."""
    p = person()
    p.open("cat.jpg")
    p.until("navigator.serviceWorker.controller", 120)
    p.page.context.set_offline(True)
    p.page.reload()
    p.until("window.samHub?.ready")
    p.open("coffee.jpg")
    p.click(285, 150)
    assert len(p.answered(1)[0]["masks"]) == 3
    assert p.look("crossOriginIsolated") and "threads" in p.page.inner_text("#facts")  # the service worker isolates
    p.shot("offline")


def test_files_that_are_not_whole(person, browser, static_folder, tmp_path):
    """A truncated, a damaged and a missing model file: an error message each, and the page keeps working."""
    folder = tmp_path / "page"
    shutil.copytree(static_folder, folder)
    file = next((folder / "models").rglob("vision_encoder*"))
    whole = file.read_bytes()
    for url in serve(folder):
        p = Person(browser.new_context(service_workers="block").new_page(), url, tmp_path)
        for content, words in (
            (whole[:99], "is incomplete (99 of"),
            (whole[:-9] + bytes(9), "is damaged"),
            (None, "missing"),
        ):
            file.unlink(missing_ok=True)
            if content is not None:
                file.write_bytes(content)
            p.page.click("[data-example='example-cat.jpg']")
            p.page.wait_for_selector(f".toast.error:has-text('{words}')")
            assert p.look("samHub.photo") is None
        file.write_bytes(whole)
        p.open("cat.jpg")
        p.page.context.close()


def test_a_photo_of_48_megapixels(person, tmp_path):
    """And one with too many pixels."""
    for name, size in (("large", (8000, 6000)), ("larger", (8000, 6400))):
        picture = np.zeros((size[1] // 8, size[0] // 8, 3), np.uint8)
        picture[200:500, 300:700] = (210, 60, 40)
        Image.fromarray(picture).resize(size, Image.Resampling.NEAREST).save(tmp_path / f"{name}.jpg", quality=60)
    p = person()
    p.page.set_input_files("#photo-file", tmp_path / "larger.jpg")
    p.page.wait_for_selector(".toast.error:has-text('51 million pixels, more than the 50 million')", timeout=120_000)
    p.page.set_input_files("#photo-file", tmp_path / "large.jpg")
    p.until("samHub.photo?.id", 240)
    p.click(4000, 2800)
    (o,) = p.answered(1)
    assert mask_of(o).shape == (6000, 8000)
    square = np.zeros((6000, 8000), bool)
    square[1600:4000, 2400:5600] = True
    assert max(iou(square, mask_of({**o, "chosen": i})) for i in range(3)) > 0.9


def test_a_file_that_is_no_photo_and_one_that_browsers_do_not_read(person, root, tmp_path):
    p = person()
    (tmp_path / "x.jpg").write_bytes(b"nothing")
    Image.open(root / "examples" / "cat.jpg").save(tmp_path / "cat.tif")
    for name in ("x.jpg", "cat.tif"):
        p.page.set_input_files("#photo-file", tmp_path / name)
        p.page.wait_for_selector(".toast.error:has-text('not a photo that this browser can read')")
        p.page.evaluate("document.getElementById('toasts').replaceChildren()")
    assert p.look("samHub.photo") is None
