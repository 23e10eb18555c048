"""``sam-hub zoo`` against the catalogue."""

import json

import pytest
from typer.testing import CliRunner, Result

from sam_hub import zoo
from sam_hub.cli import app


def _zoo(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["zoo", *arguments])


def test_the_table_has_a_line_for_each_model() -> None:
    result = _zoo()
    assert result.exit_code == 0
    header, *lines = result.stdout.splitlines()
    assert header.split()[0] == "NAME"
    assert [line.split()[0] for line in lines] == list(zoo.ZOO)
    for line, variant in zip(lines, zoo.ZOO.values(), strict=True):
        assert variant.license in line and variant.good_for in line and f"{variant.params / 1e6:.1f} M" in line
        assert ("non-commercial" in line) == (not variant.commercial_use)


def test_one_model_in_full_by_any_of_its_names() -> None:
    page = _zoo("sam-vit-b").stdout
    assert page == _zoo("SAM_ViT_base").stdout
    assert page.splitlines()[0] == "sam-vit-b"
    assert "93,735,472" in page and "facebook/sam-vit-base" in page


def test_json_has_the_same_facts() -> None:
    everything = json.loads(_zoo("--json").stdout)
    assert [m["name"] for m in everything] == list(zoo.ZOO)
    assert json.loads(_zoo("sam-vit-h", "--json").stdout) == next(m for m in everything if m["name"] == "sam-vit-h")
    assert all(m["state"] in ("included", "downloaded", "on the Hub", "elsewhere") for m in everything)


def test_an_unknown_name_offers_the_nearest() -> None:
    result = _zoo("sam-vit-bb")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "'sam-vit-bb'" in result.stderr and "did you mean sam-vit-b" in result.stderr


def test_a_name_like_no_other_points_to_the_list() -> None:
    result = _zoo("0000000")
    assert result.exit_code == 1 and "`sam-hub zoo` lists the names" in result.stderr


def test_an_unknown_family_names_those_that_there_are() -> None:
    result = _zoo("--family", "nope")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "'nope'" in result.stderr
    named = result.stderr.strip().partition("there are ")[2].split(", ")
    assert {"sam2", "sam-hq", "mobile-sam"} <= set(named)
    found = [{line.split()[0] for line in _zoo("--family", name).stdout.splitlines()[1:]} for name in named]
    assert all(found) and set().union(*found) == set(zoo.ZOO)


def test_downloaded_models_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def cached(repo: str, file: str, revision: str | None = None) -> str | None:
        return "/cache/model.safetensors" if (repo, file) == ("facebook/sam-vit-base", "model.safetensors") else None

    monkeypatch.setattr("sam_hub.hub.state.try_to_load_from_cache", cached)
    states = {m["name"]: m["state"] for m in json.loads(_zoo("--json").stdout)}
    assert states["sam-vit-b"] == "downloaded" and states["sam-vit-l"] == "on the Hub"
