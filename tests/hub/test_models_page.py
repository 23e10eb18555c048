"""docs/models.md is what the catalogue says."""

import importlib.util
import re

from sam_hub.zoo import ZOO


def test_the_page_is_in_step(root):
    spec = importlib.util.spec_from_file_location("generate_models", root / "docs" / "generate_models.py")
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    text = (root / "docs" / "models.md").read_text("utf-8")
    assert text == generator.page(), "run: python docs/generate_models.py"
    names = re.findall(r"^\| `([\w.-]+)` \|", text, re.MULTILINE)
    assert names == list(ZOO)
    for variant in ZOO.values():
        assert variant.repo in text and variant.file in text and variant.url in text
    native = re.findall(r"^\| `([\w.-]+)` .*\| yes \|$", text, re.MULTILINE)
    assert set(native) == {name for name, variant in ZOO.items() if variant.family == "sam"}
