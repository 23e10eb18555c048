"""Families are found in the package and by entry points; clashes raise errors."""

import subprocess
import sys
from dataclasses import replace

import pytest

import sam_hub
import sam_hub.zoo
from sam_hub.families import registry
from sam_hub.families.family import Family, Part


def test_a_plug_in_is_found_by_its_entry_point(root):
    """In a separate process with the plug-in on the path; torch is not loaded."""
    program = (
        "import sys, sam_hub; print(sam_hub.list_models()[-1], 'torch' in sys.modules, 'transformers' in sys.modules)"
    )
    for path, last in ((str(root / "tests" / "plugins"), "toy"), ("", registry.built_in()[-1])):
        last = last if isinstance(last, str) else list(last.catalogue)[-1]
        run = subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": path}, capture_output=True, text=True)
        assert run.stdout.split() == [last, "False", "False"], run.stderr


def test_a_broken_plug_in_is_told_and_passed_over(root, tmp_path):
    folder = tmp_path / "broken-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[sam_hub.families]\nbroken = nowhere:FAMILY\n")
    run = subprocess.run(
        [sys.executable, "-c", "import sam_hub; print(len(sam_hub.list_models()))"],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert int(run.stdout) == sum(len(family.catalogue) for family in registry.built_in())
    assert "'broken' could not be loaded (ModuleNotFoundError" in run.stderr


@pytest.fixture
def spare():
    """Takes out of the registry what a test has put there."""
    tables = [registry._families, registry.CATALOGUE, registry.ALIASES, registry.FILES, registry.PAPERS]
    before = [dict(table) for table in tables]
    yield
    for table, content in zip(tables, before, strict=True):
        table.clear()
        table.update(content)


def test_registered_by_a_program(spare):
    part = Part("sam_hub.models.configuration_sam:SamVisionConfig", "sam_hub.models.encoders.vit:VitEncoder")
    pocket = sam_hub.zoo.ZOO["pocket"]
    family = Family("spare", encoders={"spare_vision": part}, catalogue={"spare": pocket}, aliases={"extra": "spare"})
    sam_hub.register_family(family)
    sam_hub.register_family(family)  # the same again changes nothing
    assert registry.part("encoder", "spare_vision") is part
    assert sam_hub.list_models()[-1] == "spare" and sam_hub.zoo.canonical_name("Extra") == "spare"
    with pytest.raises(ValueError, match="'other': spare is already registered by 'spare'"):
        sam_hub.register_family(Family("other", catalogue={"spare": pocket}))
    with pytest.raises(ValueError, match="'other': extra is already registered by 'spare'"):
        sam_hub.register_family(Family("other", aliases={"extra": "pocket"}))
    with pytest.raises(ValueError, match="'other': pocket is already registered by 'pocket'"):
        sam_hub.register_family(Family("other", aliases={"pocket": "spare"}))
    with pytest.raises(ValueError, match="family 'spare' is already registered"):
        sam_hub.register_family(replace(family, encoders={}, catalogue={}, aliases={}))


@pytest.mark.parametrize("wrong", ["toy", None, registry])
def test_what_is_no_family_is_told(wrong):
    with pytest.raises(TypeError, match=f"must be a .*Family; got {type(wrong).__name__}"):
        sam_hub.register_family(wrong)


def test_an_unknown_part_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown encoder 'nothing'; expected one of \[.*'sam_vision_model'"):
        registry.part("encoder", "nothing")
