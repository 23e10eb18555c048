"""Draws docs/demo.jpg, the page with a photo and masks of `pocket`: ``python docs/generate_demo.py``.

It needs a Chromium and playwright; nothing is retouched.
"""

import shutil
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
from demo_server import serving  # noqa: E402

PHOTO = "astronaut"
# name -> corners of a box, and clicks (x, y, mouse button), in pixels of the photo
OBJECTS = {
    "astronaut": (((20, 10), (365, 511)), [(220, 130, "left"), (200, 400, "left"), (330, 330, "left")]),
    "helmet": (((278, 343), (503, 511)), []),
}


def main() -> None:
    from playwright.sync_api import sync_playwright

    with serving() as (url, _), sync_playwright() as p, TemporaryDirectory() as folder:
        browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()

        def until(condition: str) -> None:
            end = time.monotonic() + 120
            while not page.evaluate(f"() => Boolean({condition})"):
                if time.monotonic() > end:
                    raise SystemExit(f"the page never came to: {condition}")
                page.wait_for_timeout(50)

        def settled(count: int) -> None:
            until(f"samHub.history.present.objects.filter(o => o.answer).length === {count}")
            page.wait_for_timeout(1500)

        def at(x: float, y: float) -> tuple[float, float]:
            left, top, scale, dx, dy = page.evaluate(
                "() => { const r = document.getElementById('canvas').getBoundingClientRect(); "
                "return [r.left, r.top, samHub.view.scale, samHub.view.x, samHub.view.y]; }"
            )
            return left + dx + x * scale, top + dy + y * scale

        page.goto(url)
        until("window.samHub?.ready")
        page.set_input_files("#photo-file", ROOT / "examples" / f"{PHOTO}.jpg")
        until("samHub.photo?.id")
        for number, (name, (box, clicks)) in enumerate(OBJECTS.items()):
            if number:
                page.keyboard.press("n")
            page.keyboard.press("b")
            page.mouse.move(*at(*box[0]))
            page.mouse.down()
            page.mouse.move(*at(*box[1]), steps=5)
            page.mouse.up()
            settled(number + 1)
            page.keyboard.press("p")
            for x, y, button in clicks:
                page.mouse.click(*at(x, y), button=button)
                settled(number + 1)
            print(name)
        page.mouse.move(640, 780)
        page.wait_for_timeout(500)
        shot = Path(folder) / "demo.png"
        page.screenshot(path=shot)
        Image.open(shot).convert("RGB").save(ROOT / "docs" / "demo.jpg", quality=90)
        browser.close()


if __name__ == "__main__":
    main()
