"""How quick the page feels, measured in Chromium: from the pointer's event to the frame that shows the mask.

python benchmarks/demo_latency.py [--rounds 40]

Each time is also given as a multiple of the bare decoder's, which the server measures in the same answers.
"""

import argparse
import io
import shutil
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from demo_server import PHOTOS, serving
from PIL import Image

DECODES = """() => {
  window.decodes = [];
  const plain = window.fetch;
  window.fetch = async (...given) => {
    const answer = await plain(...given);
    if (String(given[0]).endsWith('segment') && answer.ok) {
      answer.clone().text().then((t) => window.decodes.push(JSON.parse(t.split('\\n')[0]).decode_ms));
    }
    return answer;
  };
}"""
"""Listens to what the server says about each decode."""


OBJECTS = 5
"""So many are on the photo before they are deleted and it begins anew."""


def until(page: Any, condition: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not page.evaluate(f"() => Boolean({condition})"):
        if time.monotonic() > end:
            raise TimeoutError(condition)
        page.wait_for_timeout(10)


def seen(page: Any, name: str, count: int) -> None:
    """Wait until so many measures are there, without asking again and again, which would slow what is measured."""
    page.evaluate(
        """([name, count]) => new Promise((done) => {
          const look = () => performance.getEntriesByName(name).length >= count && (watcher.disconnect(), done());
          const watcher = new PerformanceObserver(look);
          watcher.observe({entryTypes: ['measure']});
          look();
        })""",
        [name, count],
    )


def measured(page: Any, name: str) -> list[float]:
    return page.evaluate(f"() => performance.getEntriesByName('{name}').map((m) => m.duration)")


def pointing(page: Any, rounds: int) -> dict[str, list[float]]:
    """Hover and click on the photo that is open: ``hover, click`` and the ``decodes`` of each, in ms."""
    found = {}
    place = page.evaluate("() => document.getElementById('canvas').getBoundingClientRect().toJSON()")
    view = page.evaluate("() => ({...samHub.view, w: samHub.photo.width, h: samHub.photo.height})")
    rng = np.random.default_rng(0)

    def spot() -> tuple[float, float]:
        x, y = rng.uniform(0.05, 0.95, 2) * [view["w"], view["h"]] * view["scale"]
        return place["left"] + view["x"] + x, place["top"] + view["y"] + y

    page.evaluate(DECODES)
    for kind in ("hover", "click"):
        page.evaluate("() => { window.decodes = []; performance.clearMeasures(); }")
        for i in range(rounds):
            x, y = spot()
            if kind == "hover":
                page.mouse.move(x, y)
            else:
                page.mouse.click(x, y)
            seen(page, f"sam:{kind}", i + 1)
            if kind == "click" and i % OBJECTS == OBJECTS - 1:
                for _ in range(OBJECTS):
                    page.keyboard.press("Delete")
            elif kind == "click":
                page.keyboard.press("n")
        found[kind] = measured(page, f"sam:{kind}")
        found[f"{kind} decodes"] = page.evaluate("() => window.decodes")[-rounds:]
    return found


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    given = parser.parse_args()
    with serving() as (url, _), sync_playwright() as p, TemporaryDirectory() as folder:
        browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        paints = []
        for _ in range(5):
            page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
            page.goto(url)
            until(page, "window.samHub?.ready && performance.getEntriesByName('first-contentful-paint').length")
            paints.append(page.evaluate("() => performance.getEntriesByName('first-contentful-paint')[0].startTime"))
        print(f"first paint: p50 {np.median(paints):.0f} ms, most {max(paints):.0f} ms")
        page.set_input_files("#photo-file", PHOTOS[1])
        until(page, "samHub.photo?.id")
        times = pointing(page, given.rounds)
        for kind in ("hover", "click"):
            p50, p95 = np.percentile(times[kind], [50, 95])
            bare = np.median(times[f"{kind} decodes"])
            print(
                f"{kind} to repaint: p50 {p50:.0f} ms, p95 {p95:.0f} ms; decoder {bare:.0f} ms, ratio {p50 / bare:.2f}"
            )
        photo = Path(folder) / "large.jpg"
        with io.BytesIO() as file:
            Image.open(PHOTOS[1]).resize((4000, 3000), Image.Resampling.BICUBIC).save(file, "JPEG", quality=92)
            photo.write_bytes(file.getvalue())
        for _ in range(3):
            page.reload()
            until(page, "window.samHub?.ready")
            start = time.perf_counter()
            page.set_input_files("#photo-file", photo)
            until(page, "samHub.photo?.id")
            print(f"12 megapixels, from choosing the file to ready: {time.perf_counter() - start:.2f} s")
        browser.close()


if __name__ == "__main__":
    main()
