"""The golden automatic-mask helpers: what the original's ``utils/amg.py`` gives."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file


@pytest.fixture(scope="session")
def amg_spec(golden_dir: Path) -> dict:
    return json.loads((golden_dir / "amg_utils.json").read_text())


@pytest.fixture(scope="session")
def amg(golden_dir: Path) -> dict[str, np.ndarray]:
    return load_file(golden_dir / "amg_utils.safetensors")
