"""Runs third-party readers, in this Python or another one."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

TOOLS = Path(__file__).parent / "tools"
VARIABLE = "SAM_HUB_LABEL_TOOLS"
"""Path of a Python with the labelling tools that cannot be installed together with the rest (label-studio-sdk, ...)."""


@pytest.fixture
def by_tool(tmp_path: Path) -> Callable[..., dict[str, np.ndarray]]:
    """Run a script of ``tools`` where its package is: its arguments -> the arrays that it saved."""

    def run(package: str, script: str, *arguments: object) -> dict[str, np.ndarray]:
        python = sys.executable if importlib.util.find_spec(package) else os.environ.get(VARIABLE)
        if not python:
            pytest.skip(f"{package} is not installed, and {VARIABLE} names no Python that has it")
        out = tmp_path / "read.npz"
        command = [python, str(TOOLS / script), str(out), *map(str, arguments)]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "QT_QPA_PLATFORM": "offscreen"}
        )
        if f"No module named '{package}'" in done.stderr:
            pytest.skip(f"{python} has no {package}")
        assert done.returncode == 0, done.stderr
        with np.load(out) as arrays:
            return dict(arrays)

    return run
