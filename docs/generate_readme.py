"""Writes the table of models in README.md from what the families declare: ``python docs/generate_readme.py``."""

from itertools import groupby
from pathlib import Path

from sam_hub.families.registry import built_in
from sam_hub.zoo import Variant

README = Path(__file__).resolve().parents[1] / "README.md"
START, END = "<!-- models: written by docs/generate_readme.py -->\n", "<!-- /models -->\n"
HEADER = "| names | parameters, M | input | COCO mask AP | licence |\n|---|---:|---:|---|---|\n"


def table() -> str:
    """One row for the sizes of a model, of all models in the package; plug-ins are left out."""
    models = [row for family in built_in() for row in family.catalogue.items()]
    return HEADER + "".join(_row(list(rows)) for _, rows in groupby(models, _kind))


def written(text: str) -> str:
    """The README with an up-to-date table."""
    head, rest = text.split(START)
    return head + START + table() + END + rest.split(END)[1]


def _kind(row: tuple[str, Variant]) -> tuple[str, str, str]:
    """What the sizes of a model have in common: family, the first word of their names, licence."""
    name, variant = row
    return variant.family, name.partition("-")[0], variant.license


def _row(models: list[tuple[str, Variant]]) -> str:
    names = ", ".join(f"`{name}`" for name, _ in models)
    variants = [variant for _, variant in models]
    sizes = ", ".join(f"{v.params / 1e6:.0f}" for v in variants)
    inputs = ", ".join(sorted({str(v.image_size) for v in variants}, key=int))
    figures = [_figure(t) for v in variants for key, t in v.published.items() if key.startswith("COCO mask AP")]
    values, sources = ", ".join(value for value, _ in figures), dict.fromkeys(source for _, source in figures)
    measured = f"{values} ({', '.join(sources)})" if figures else ""
    return f"| {names} | {sizes} | {inputs} | {measured} | {variants[0].license} |\n"


def _figure(text: str) -> tuple[str, str]:
    """45.0, ... (SAM-HQ's README) -> 45.0, SAM-HQ"""
    value, source = text.split()[0].rstrip(","), text.partition("(")[2].rstrip(")")
    return value, source.removesuffix(chr(39) + "s README")


if __name__ == "__main__":
    README.write_text(written(README.read_text("utf-8")), encoding="utf-8")
