"""A group of options is one parameter of a command, and ordinary options in a shell."""

from dataclasses import dataclass, field
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from sam_hub.cli.option_groups import grouped


@dataclass(frozen=True)
class Size:
    width: Annotated[int, typer.Option("--width", min=1, help="In pixels.")]
    names: Annotated[list[str], typer.Option("--name")] = field(default_factory=list)
    depth: Annotated[int | None, typer.Option("--depth")] = None


app = typer.Typer(rich_markup_mode=None)
seen = []


@app.command()
@grouped
def measure(
    path: Annotated[str, typer.Argument()],
    size: Size,
    fast: Annotated[bool, typer.Option("--fast")] = False,
) -> None:
    """Measure something."""
    seen.append((path, size, fast))


def test_the_command_gets_an_instance():
    done = CliRunner().invoke(app, ["here", "--name", "a", "--width", "3", "--name", "b", "--fast"])
    assert done.exit_code == 0, done.output
    assert seen.pop() == ("here", Size(3, ["a", "b"], None), True)
    CliRunner().invoke(app, ["here", "--width", "3", "--depth", "4"])
    assert seen.pop() == ("here", Size(3, [], 4), False)


def test_help_and_checks_are_those_of_single_options():
    text = CliRunner().invoke(app, ["--help"]).output
    assert "Measure something." in text and "In pixels." in text
    assert text.index("--width") < text.index("--name") < text.index("--depth") < text.index("--fast")


@pytest.mark.parametrize("line", ["here", "here --width 0", "here --width x", "--width 3"])
def test_wrong_usage(line):
    assert CliRunner().invoke(app, line.split()).exit_code == 2 and not seen
