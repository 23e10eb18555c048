"""An error raised in a command becomes one sentence and an exit code."""

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from sam_hub.cli import app as sam_hub_app
from sam_hub.cli.failures import Commands
from sam_hub.cli.options import Debug
from sam_hub.errors import (
    CheckpointError,
    ImageBandsWarning,
    ImageRangeWarning,
    NoMasksWarning,
    OutputError,
    WrongUsage,
)

FAILURES = {
    "named": CheckpointError("weights.pth is cut short;\n  download it again"),
    "output": OutputError("cannot write x.png: No space left on device; free some space"),
    "usage": WrongUsage("--point 1 is not X,Y"),
    "defect": KeyError("weight"),
    "memory": MemoryError(),
    "interrupt": KeyboardInterrupt(),
    "interrupted import": ImportError("initialization failed"),
    "pipe": BrokenPipeError(32, "Broken pipe"),
    "exit": typer.Exit(7),
    "parameter": typer.BadParameter("not that"),
}

FAILURES["interrupted import"].__cause__ = KeyboardInterrupt()  # as pybind11 raises it

app = typer.Typer(cls=Commands, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def fail(kind: str, number: Annotated[int, typer.Option()] = 0, debug: Debug = False) -> None:
    typer.echo("before")
    raise FAILURES[kind]


@app.callback()
def _common() -> None:
    pass


@app.command()
def warn() -> None:
    for category in (ImageBandsWarning, ImageRangeWarning, NoMasksWarning):
        warnings.warn(f"a {category.__name__}", category, stacklevel=2)


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (["segment", ""], "the argument after segment"),
        (["eval", "pocket", ""], "the argument after pocket"),
        (["export", "x", "-o", ""], "-o"),
    ],
)
def test_an_empty_argument_is_not_the_current_folder(arguments: list[str], where: str) -> None:
    """As an unset variable of the shell gives."""
    result = CliRunner().invoke(sam_hub_app, arguments)
    assert result.exit_code == 2 and not result.stdout
    assert result.stderr == f"Error: {where} is empty; give a path or value, or leave it out\n"


def test_warnings_about_what_was_given_are_one_line() -> None:
    told = CliRunner().invoke(app, ["warn"]).stderr
    assert told.splitlines() == [f"Warning: a {name}Warning" for name in ("ImageBands", "ImageRange", "NoMasks")]


@pytest.mark.parametrize(
    ("kind", "code", "sentence"),
    [
        ("named", 1, "Error: weights.pth is cut short; download it again\n"),
        ("output", 1, "Error: cannot write x.png: No space left on device; free some space\n"),
        ("usage", 2, "Error: --point 1 is not X,Y\n"),
        (
            "defect",
            1,
            "Error: unexpected error in sam-hub (KeyError: 'weight'); rerun with --debug for the traceback, "
            "and please report it\n",
        ),
        ("memory", 1, "Error: there is not enough memory; try a smaller model or image\n"),
        ("interrupt", 130, "Stopped; any files already written are complete.\n"),
        ("interrupted import", 130, "Stopped; any files already written are complete.\n"),
        ("pipe", 1, ""),
        ("exit", 7, ""),
    ],
)
def test_a_failure_is_one_line_on_stderr(kind: str, code: int, sentence: str) -> None:
    result = CliRunner().invoke(app, ["fail", kind])
    assert (result.exit_code, result.stdout, result.stderr) == (code, "before\n", sentence)


@pytest.mark.parametrize("kind", ["named", "usage", "defect"])
def test_debug_lets_the_traceback_through(kind: str) -> None:
    result = CliRunner().invoke(app, ["fail", kind, "--debug"])
    assert result.exception is FAILURES[kind]
    assert result.stderr == ""


@pytest.mark.parametrize(
    "arguments", [["fail"], ["fail", "named", "--nubmer", "1"], ["fail", "named", "--number", "x"]]
)
def test_wrong_usage_is_left_to_typer(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr.splitlines()[-1].startswith("Error: ")


def test_bad_parameters_are_wrong_usage() -> None:
    result = CliRunner().invoke(app, ["fail", "parameter"])
    assert result.exit_code == 2 and "not that" in result.stderr


def test_a_traceback_reaches_the_terminal_only_with_debug(tmp_path: Path) -> None:
    def run(*more: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "sam_hub", "zoo", "no-such-model", *more]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    quiet, loud = run(), run("--debug")
    assert quiet.returncode == loud.returncode == 1
    assert quiet.stderr.count("\n") == 1 and "Traceback" in loud.stderr
    assert loud.stderr.splitlines()[-1].endswith(quiet.stderr.removeprefix("Error: ").strip())


def test_a_reader_that_leaves_early_sees_no_complaint(tmp_path: Path) -> None:
    command = (
        f"'{sys.executable}' -c 'import time; time.sleep(2)' | true; '{sys.executable}' -m sam_hub zoo --json | true"
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path)
    assert done.stderr == ""
