"""A simulated user of the page, in Debian's Chromium."""

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

sync_api = pytest.importorskip("playwright.sync_api", reason="the browser is driven with playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
if not CHROMIUM:
    pytest.skip("no chromium: apt-get install chromium", allow_module_level=True)


PATIENCE = 180
"""Seconds to wait for immediate effects, so that a busy machine causes no failure."""


class Person:
    """A user of the page; coordinates are pixels of the photo."""

    def __init__(self, page: sync_api.Page, url: str, shots: Path) -> None:
        self.page, self.shots, self.troubles = page, shots, []
        page.set_default_timeout(PATIENCE * 1000)
        page.on("pageerror", lambda e: self.troubles.append(str(e)))
        page.on("console", lambda m: m.type == "error" and self.troubles.append(m.text))
        page.on("request", lambda r: r.url.startswith((url, "blob:", "data:")) or self.troubles.append(r.url))
        page.goto(url)
        self.until("window.samHub?.ready")

    def until(self, condition: str, seconds: float = PATIENCE) -> None:
        """Wait for a condition in the page; its content policy forbids playwright's own method."""
        end = time.monotonic() + seconds
        while not self.look(f"Boolean({condition})"):
            assert time.monotonic() < end, f"never: {condition}"
            self.page.wait_for_timeout(30)

    def look(self, expression: str) -> object:
        return self.page.evaluate(f"() => {{ const doc = window.samHub?.history.present; return {expression}; }}")

    def open(self, name: str) -> None:
        self.page.click(f"[data-example='example-{name}']")
        self.until("samHub.photo?.id")

    def kept(self, count: int) -> None:
        """Wait until this many photos, with the state of the open one, are stored for a reload."""
        self.until(
            f"document.querySelectorAll('[data-kept=true]').length === {count} && "
            "document.querySelectorAll('[data-kept=false]').length === 0"
        )

    def at(self, x: float, y: float) -> tuple[float, float]:
        place = "document.getElementById('canvas').getBoundingClientRect()"
        left, top, scale, dx, dy = self.look(
            f"[{place}.left, {place}.top, samHub.view.scale, samHub.view.x, samHub.view.y]"
        )
        return left + dx + x * scale, top + dy + y * scale

    def click(self, x: float, y: float, **options: object) -> None:
        self.page.mouse.click(*self.at(x, y), **options)

    def drag(self, *corners: tuple[float, float]) -> None:
        first, *others = (self.at(*c) for c in corners)
        self.page.mouse.move(*first)
        self.page.mouse.down()
        for other in others:
            self.page.mouse.move(*other, steps=4)
        self.page.mouse.up()

    def answered(self, count: int) -> list[dict]:
        """The objects, after waiting until this many have their answer."""
        self.until(
            f"doc.objects.filter(o => o.answer).length === {count} && doc.objects.every(o => o.answer || !o.rev)"
        )
        return self.objects()

    def objects(self) -> list[dict]:
        return self.look(
            "doc.objects.map(o => ({id: o.id, name: o.name, points: o.points, box: o.box, chosen: o.chosen, "
            "strokes: o.strokes.length, best: o.answer?.best, masks: o.answer?.masks, visible: o.visible}))"
        )

    def painted(self, x: float, y: float) -> bool:
        """Whether anything is drawn over a pixel of the photo, in a frame after the last action."""
        return self.look(
            "new Promise(done => requestAnimationFrame(() => done("
            f"document.getElementById('overlay').getContext('2d').getImageData(...[{x}, {y}].map((v, i) => "
            "Math.round((v * samHub.view.scale + [samHub.view.x, samHub.view.y][i]) * Math.min(devicePixelRatio, 2))), "
            "1, 1).data[3] > 0)))"
        )

    def shot(self, name: str) -> None:
        self.page.wait_for_timeout(150)
        self.page.screenshot(path=self.shots / f"{name}.png")

    def said(self) -> str:
        return self.page.inner_text("#live")


def mask_of(o: dict) -> np.ndarray:
    """(H, W) bool, the mask of an object that is chosen."""
    return coco_mask.decode(o["masks"][o["chosen"]]["rle"]).astype(bool)
