"""Nothing outside ``sam_hub/families`` names a family: neither its classes, nor its modules, nor its ``model_type``."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from sam_hub.families import registry

SHARED = ("sam", "pocket")
"""Exempt, because they are also general words here: the family that all others extend, and the bundled model."""


def words_of(family: registry.Family) -> set[str]:
    """What only this family's folder may say in code."""
    parts = [part for field in registry.KINDS.values() for part in getattr(family, field).items()]
    named = [where for _, part in parts for where in (part.config, part.network) if ".families." in where]
    kinds = {kind for kind, part in parts if ".families." in part.config}
    words = {where.rpartition(":")[2] for where in named} | kinds
    own = {f"families.{family.name}"} | (set() if family.name in SHARED else {family.name, *family.originals})
    return words | own | (set() if family.name in SHARED else set(family.catalogue))


def said(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of each name, import and string of a source, docstrings and help texts left out."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name | ast.Attribute):
            yield node.lineno, node.id if isinstance(node, ast.Name) else node.attr
        elif isinstance(node, ast.alias):
            yield node.lineno, node.name
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, f"{node.module}."
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def faults(source: str, words: set[str]) -> list[str]:
    inside = tuple(word for word in words if word.startswith("families."))
    return [
        f"line {line}: {text}"
        for line, text in said(source)
        if text in words or any(f"{word}." in text or text.endswith(word) for word in inside)
    ]


WORDS = set().union(*map(words_of, registry.built_in()))


def test_no_module_outside_names_a_family(root: Path):
    files = [p for folder in ("sam_hub", "exporters", "demo") for p in (root / folder).rglob("*.py")]
    files = [p for p in files if root / "sam_hub" / "families" not in p.parents]
    assert len(files) > 100 and len(WORDS) > 40
    found = {str(p.relative_to(root)): f for p in files if (f := faults(p.read_text("utf-8"), WORDS))}
    assert not found


@pytest.mark.parametrize(
    "source",
    [
        "isinstance(decoder, HqMaskDecoder)",
        "from ..families.sam_hq.decoder import Anything",
        "from ..families import sam_hq",
        "KINDS = {'sam_hub_tiny_vit': 1}",
        "if name == 'mobile-sam': pass",
        "models.configuration_sam.EfficientSamPromptEncoderConfig",
    ],
)
def test_a_name_is_noticed(source):
    assert faults(source, WORDS)


def test_other_words_are_free():
    assert not faults('"""As in sam_hq."""\nfrom ..families import registry\nx = SamVisionConfig("pocket")', WORDS)
