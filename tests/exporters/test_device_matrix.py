"""The table of families, formats and layouts in docs/devices.md; the cheap cells are checked.

``benchmarks/device_matrix.py`` runs all cells and writes the table.
"""

import sys
from pathlib import Path

import pytest
from sam_hub.exporters.formats.onnx.tools import TOOLS, check_fit
from sam_hub.exporters.slots import SlotDecoder

from sam_hub.errors import ExportError
from sam_hub.families import registry
from sam_hub.ops.preparation import Preparation

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import device_matrix

FAMILIES = registry.built_in()
WITHOUT_SLOTS = {"sam_hq", "efficient_sam"}
"""Families with their own decoders, which formats with fixed prompt slots refuse."""

FOR_TOOLS = {"sam", "micro_sam", "mobile_sam", "repvit", "efficientvit_sam"}
"""Families that have SAM's own sizes, prompts and single embedding."""


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
def test_formats_of_fixed_slots_take_a_family_or_refuse_it_by_name(family):
    model = device_matrix.tiny_model(family)
    if family.name in WITHOUT_SLOTS:
        with pytest.raises(ExportError, match=r"made for models with SAM's own decoder, not .*; export this model to"):
            SlotDecoder(model)
    else:
        SlotDecoder(model)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
def test_layouts_of_annotation_tools_take_a_family_or_refuse_it_by_name(family):
    model = device_matrix.tiny_model(family, 0, device_matrix.TOOL_SIDE, device_matrix.TOOL_WIDTH)
    preparation = Preparation.from_settings(device_matrix.tiny_processor(family, model).to_dict())
    for layout in TOOLS:
        if family.name in FOR_TOOLS:
            check_fit(model, preparation, layout)
        else:
            with pytest.raises(
                ExportError, match=f"--layout {layout}: .*, which this model does not fit; take one that"
            ):
                check_fit(model, preparation, layout)


def test_a_cell_says_which_runtime_proved_it_or_who_refuses(tmp_path):
    medsam = next(family for family in FAMILIES if family.name == "medsam")
    found = device_matrix.export_one(medsam, "onnx", "meta", tmp_path / "a")
    assert list(found.values()) == ["proven"] and next(iter(found)).startswith("onnxruntime 1.")
    refused = device_matrix.export_one(medsam, "onnx", "cvat", tmp_path / "b")
    assert refused[""].startswith("refused: --layout cvat: CVAT")


def test_the_table_has_every_family_and_every_format():
    text = device_matrix.DOCS.read_text("utf-8")
    shown = text.split(device_matrix.START)[1].split(device_matrix.END)[0]
    empty = device_matrix.table({})
    heads = [[line.split("|")[1].strip() for line in t.splitlines() if line.startswith("|")] for t in (shown, empty)]
    assert heads[0] == heads[1] and len(heads[0]) == 2 + len(FAMILIES)
    assert shown.splitlines()[0] == empty.splitlines()[0]
    assert device_matrix.FAULT not in shown and "differs" not in shown


def test_the_table_tells_proven_from_refused_and_untried():
    family = FAMILIES[0].name
    onnx = device_matrix.key(family, "onnx", "meta")
    text = device_matrix.table({onnx: {"a 1": "proven"}, f"{family} coreml": {"": "refused: it has no ears"}})
    row = next(line for line in text.splitlines() if line.startswith(f"| {family} |"))
    assert "| proven |" in row and "| refused [1] |" in row and "untried" in row
    assert "1. refused: it has no ears" in text and "ONNX, meta: a 1" in text
    mixed = device_matrix.table({onnx: {"a 1": "proven", "b 2": "differs by 0.3 in x.onnx"}})
    assert "proven on a 1, b 2 [1]" in mixed and "1. differs by 0.3" in mixed
