"""Writes the table of models in README.md from what the families declare: ``python docs/generate_readme.py``."""

from pathlib import Path

from sam_hub.families.registry import built_in
from sam_hub.zoo import Variant

README = Path(__file__).resolve().parents[1] / "README.md"
START, END = "<!-- models: written by docs/generate_readme.py -->\n", "<!-- /models -->\n"
HEADER = "| name | parameters, M | good for | COCO mask AP | licence |\n|---|---:|---|---|---|\n"


def table() -> str:
    """One row for each model of the package; plug-ins are left out."""
    return HEADER + "".join(_row(*row) for family in built_in() for row in family.catalogue.items())


def written(text: str) -> str:
    """The README with today's table."""
    head, rest = text.split(START)
    return head + START + table() + END + rest.split(END)[1]


def _row(name: str, variant: Variant) -> str:
    figures = [_figure(text) for key, text in variant.published.items() if key.startswith("COCO mask AP")]
    cells = (f"`{name}`", f"{variant.params / 1e6:.1f}", variant.good_for, ", ".join(figures), variant.license)
    return f"| {' | '.join(cells)} |\n"


def _figure(text: str) -> str:
    """45.0, ... (SAM-HQ's README) -> 45.0 (SAM-HQ)"""
    value, source = text.split()[0].rstrip(","), text.partition("(")[2].rstrip(")")
    return f"{value} ({source.removesuffix(chr(39) + 's README')})"


if __name__ == "__main__":
    README.write_text(written(README.read_text("utf-8")), encoding="utf-8")
