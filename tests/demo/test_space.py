"""`sam-hub demo`: the folder of a Space, and the options of the command."""

import ast
import sys
from importlib.metadata import version

import pytest
from sam_hub.demo.space import write_space
from typer.testing import CliRunner

from sam_hub.cli import app
from sam_hub.errors import OutputError
from sam_hub.zoo import ZOO


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    folder = tmp_path_factory.mktemp("space") / "new"
    done = CliRunner().invoke(app, ["demo", "--space", str(folder)])
    assert done.exit_code == 0, done.output
    return folder


def test_the_folder_holds_the_package_and_what_it_needs(space, root):
    root_files = ("app.py", "README.md", "requirements.txt", ".gitattributes")
    inside = ("__init__.py", "demo/page/index.html", "exporters/__init__.py", "assets/pocket/config.json")
    for name in (*root_files, *(f"sam_hub/{path}" for path in inside)):
        assert (space / name).is_file(), name
    assert not list(space.rglob("__pycache__"))
    modules = {p.relative_to(root / "demo") for p in (root / "demo").rglob("*.py")}
    assert modules == {p.relative_to(space / "sam_hub/demo") for p in (space / "sam_hub/demo").rglob("*.py")}


def test_requirements_are_pinned_and_complete(space):
    lines = (space / "requirements.txt").read_text().splitlines()
    names = {line.partition("==")[0] for line in lines[1:]}
    assert {"torch", "transformers", "gradio[mcp]", "opencv-python-headless", "pycocotools"} <= names
    assert f"gradio[mcp]=={version('gradio')}" in lines and all("==" in line for line in lines[1:])


def test_the_card_says_what_a_space_asks_for(space):
    card = (space / "README.md").read_text().split("---")[1]
    facts = dict(line.split(": ", 1) for line in card.strip().splitlines())
    assert facts["sdk"] == "gradio" and facts["sdk_version"] == version("gradio") and facts["app_file"] == "app.py"
    assert len(facts["short_description"]) <= 60 and ast.literal_eval(facts["models"]) == []


def test_models_of_the_hub_are_named(tmp_path):
    write_space(tmp_path / "s", ["pocket", "sam-vit-b"])
    card = (tmp_path / "s" / "README.md").read_text()
    assert "preload_from_hub: ['facebook/sam-vit-base']" in card
    assert "['pocket', 'sam-vit-b']" in (tmp_path / "s" / "app.py").read_text()


def test_a_folder_with_something_in_it_is_left_alone(space, tmp_path):
    with pytest.raises(OutputError, match="not an empty folder"):
        write_space(space, ["pocket"])
    (tmp_path / "model").mkdir()
    with pytest.raises(OutputError, match="exists only on this machine"):
        write_space(tmp_path / "t", [str(tmp_path / "model")])


def test_the_options_reach_the_server(monkeypatch):
    import sam_hub.demo.app as wiring

    seen = {}

    def build(models: list[str], device: str | None, hosts: list[str], words: str | None) -> tuple[None, None]:
        seen.update(models=models, device=device, hosts=hosts, words=words)
        return None, None

    monkeypatch.setattr(wiring, "build", build)
    monkeypatch.setattr(wiring, "launch", lambda server, **given: seen.update(given))
    line = "demo -m pocket --host 0.0.0.0 --port 7777 --share --auth me:se:cret --mcp --device cpu"
    done = CliRunner().invoke(app, [*line.split(), "--allow-host", "a.example", "--words", "owl"])
    assert done.exit_code == 0, done.output
    assert seen == {"models": ["pocket"], "device": "cpu", "host": "0.0.0.0", "port": 7777, "share": True,
                    "auth": ("me", "se:cret"), "mcp": True, "hosts": ["a.example"], "words": "owl"}  # fmt: skip
    for line, offered in (("demo", 1), ("demo --catalogue", len(ZOO)), ("demo -m sam-vit-b --catalogue", len(ZOO))):
        assert CliRunner().invoke(app, line.split()).exit_code == 0
        assert len(seen["models"]) == offered and seen["models"][0] == ("sam-vit-b" if "-m" in line else "pocket")


@pytest.mark.parametrize(("line", "words"), [("--auth me", "USER:PASSWORD"), ("--port 0", "port")])
def test_wrong_usage(line, words):
    done = CliRunner().invoke(app, ["demo", *line.split()])
    assert done.exit_code == 2 and words in done.output


@pytest.mark.parametrize(("line", "missing"), [("demo", "gradio"), ("demo --mcp", "mcp")])
def test_without_its_packages_it_says_what_to_install(monkeypatch, line, missing):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == missing else object())
    done = CliRunner().invoke(app, line.split())
    assert done.exit_code == 1 and f"needs {missing}: install it with `pip install '.[" in done.output


def test_a_port_that_is_taken(running):
    from sam_hub.demo.app import build, launch

    server, _ = build(["pocket"], "cpu")
    with pytest.raises(OutputError, match="--port"):
        launch(server, port=int(running.url.rpartition(":")[2]), block=False)
    assert sys.modules["gradio"]
