"""The command as a whole: help, version, and what it does not load."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import sam_hub
from sam_hub.cli import app

COMMANDS = ["segment", "zoo", "doctor"]


@pytest.mark.parametrize("arguments", [["--help"], *([c, "--help"] for c in COMMANDS)], ids=" ".join)
def test_help_loads_no_library_that_computes(arguments: list[str]) -> None:
    code = (
        f"import sys; sys.argv = ['sam-hub', *{arguments}]\n"
        "from sam_hub.cli import main\n"
        "try:\n    main()\nexcept SystemExit as e:\n    assert not e.code\n"
        "import json; print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *lines, modules = done.stdout.splitlines()
    assert lines[0].startswith("Usage: sam-hub")
    heavy = {"torch", "transformers", "numpy", "cv2", "PIL", "huggingface_hub", "rich"}
    assert heavy.isdisjoint(json.loads(modules))


def test_every_command_is_listed_and_explains_itself() -> None:
    overview = CliRunner().invoke(app, ["--help"]).stdout
    for command in COMMANDS:
        assert f"\n  {command} " in overview
        lines = CliRunner().invoke(app, [command, "--help"]).stdout.splitlines()
        assert len(lines[2]) > 10, "no description"


def test_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"sam-hub {sam_hub.__version__}\n")


@pytest.mark.parametrize("arguments", [[], ["no-such-command"], ["segment"], ["zoo", "--no-such-option"]])
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2 and result.stdout == ""
