"""Damaged plans of `everything --resume`."""

import json
from pathlib import Path

import pytest

from sam_hub.annotation.plan import read_plan
from sam_hub.errors import OutputError


@pytest.mark.parametrize("name", ["name", "file_name", "source"])
@pytest.mark.parametrize("value", [[], {}, None, 5])
def test_a_plan_whose_names_are_no_text_is_refused(tmp_path: Path, name: str, value: object):
    photo = {"name": "a", "file_name": "a.png", "source": "/a.png", "bytes": 1, "modified": 1, name: value}
    (tmp_path / "everything.json").write_text(json.dumps({"settings": {}, "images": [photo]}))
    with pytest.raises(OutputError, match="not the plan"):
        read_plan(tmp_path)


def test_a_deep_plan_is_refused(tmp_path: Path):
    (tmp_path / "everything.json").write_text("[" * 100_000)
    with pytest.raises(OutputError, match="not the plan"):
        read_plan(tmp_path)
