"""The photos, annotations and published results of BSDS500, if present."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def bsds(root: Path) -> Path:
    folder = root.parent / "shared" / "bsds"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    return folder
