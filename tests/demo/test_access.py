"""Accessibility: axe-core's rules (names, roles, contrast, ...), and screens of any width."""

from pathlib import Path

import pytest

from .person import Person

SCREENS = ((320, 640), (390, 844), (768, 740))


@pytest.fixture(scope="module")
def axe(root: Path) -> str:
    file = root / "node_modules" / "axe-core" / "axe.min.js"
    if not file.is_file():
        pytest.skip("no axe-core: npm install")
    return file.read_text("utf-8")


def violations(p: Person, axe: str) -> list[str]:
    """Violations that axe-core finds in the current page: rule and element."""
    p.page.evaluate(axe)
    found = p.page.evaluate("() => axe.run({resultTypes: ['violations']}).then((r) => r.violations)")
    return [f"{v['id']}: {n['html'][:120]} {n['failureSummary'][:200]}" for v in found for n in v["nodes"]]


@pytest.mark.parametrize("dark", [False, True])
def test_no_rule_is_violated(person, axe, dark):
    p = person(dark=dark)
    assert violations(p, axe) == []
    p.open("cat.jpg")
    p.click(150, 200)
    p.answered(1)
    p.page.keyboard.press("n")
    assert violations(p, axe) == []
    p.page.keyboard.press("s")
    assert violations(p, axe) == []
    p.page.keyboard.press("Escape")
    p.page.keyboard.press("?")
    p.shot(f"help-{'dark' if dark else 'light'}")
    assert violations(p, axe) == []
    p.page.keyboard.press("Escape")
    p.page.keyboard.press("a")
    p.until("samHub.found.masks", 120)
    p.shot(f"everything-{'dark' if dark else 'light'}")
    assert violations(p, axe) == []
    p.page.reload()
    p.until("window.samHub?.ready && document.querySelectorAll('.shelved').length === 1")
    assert violations(p, axe) == []


OVERLAPS = """() => {
  const shown = [...document.querySelectorAll('.top > *, .tools, .zoom, .opacity, .closer, .hint, .brush-size, .busy')]
    .filter((e) => e.offsetWidth && getComputedStyle(e).visibility !== 'hidden' && !e.matches('.gap, .sr'));
  const hits = [];
  for (const [i, a] of shown.entries()) for (const b of shown.slice(i + 1)) {
    if (a.contains(b) || b.contains(a)) continue;
    const [r, s] = [a.getBoundingClientRect(), b.getBoundingClientRect()];
    const w = Math.min(r.right, s.right) - Math.max(r.left, s.left);
    const h = Math.min(r.bottom, s.bottom) - Math.max(r.top, s.top);
    if (w > 1 && h > 1) hits.push(`${a.id || a.className} over ${b.id || b.className}`);
  }
  return hits;
}"""


IN_SIGHT = """(ids) => ids.filter((id) => {
  const e = document.getElementById(id), r = e.getBoundingClientRect();
  const ends = [[r.left + 2, r.top + r.height / 2], [r.right - 2, r.top + r.height / 2]];
  return ends.every(([x, y]) => e.closest(".tools, .below").contains(document.elementFromPoint(x, y)));
})"""


@pytest.mark.parametrize(("width", "height"), SCREENS)
def test_nothing_overlaps(person, width, height):
    """Empty, with an object, with the brush: no parts overlap, and nothing is wider than the screen.

    What acts on a prompt is in sight without scrolling.
    """
    p = person(width, height, touch=width < 500)
    for name, act in {
        "empty": lambda: None,
        "object": lambda: (p.open("cat.jpg"), p.click(150, 200), p.answered(1)),
        "brush": lambda: p.page.click("[data-tool=brush]"),
    }.items():
        act()
        p.shot(f"{width}-{name}")
        assert p.page.evaluate(OVERLAPS) == [], name
        if name != "empty":
            acts = ["closer", "undo", "redo", "clear", "zoom-fit"]
            assert p.page.evaluate(IN_SIGHT, acts) == acts, name
        assert p.look("document.documentElement.scrollWidth") <= width, name
