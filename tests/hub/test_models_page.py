"""docs/models.md agrees with the declarations of the families."""

import importlib.util
import re

import pytest


@pytest.fixture
def generator(root):
    spec = importlib.util.spec_from_file_location("generate_models", root / "docs" / "generate_models.py")
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    return generator


NATIVE = ("sam", "sam2", "edgetam", "sam3")
"""Layouts of models that ``transformers`` computes alike from our folders."""


def test_the_page_is_in_step(root, generator):
    text = (root / "docs" / "models.md").read_text("utf-8")
    assert text == generator.page(), "run: python docs/generate_models.py"
    names = re.findall(r"^\| `([\w.-]+)` \|", text, re.MULTILINE)
    assert names == list(generator.MODELS)
    for variant in generator.MODELS.values():
        assert variant.repo in text and variant.file in text and variant.url in text
    native = re.findall(r"^\| `([\w.-]+)` .*\| yes \|$", text, re.MULTILINE)
    assert set(native) == {name for name, variant in generator.MODELS.items() if variant.family in NATIVE}
