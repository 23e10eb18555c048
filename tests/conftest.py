"""Fixtures and options of the whole suite."""

import importlib.util
import json
import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: the workers of `pytest -n 2` share two cores

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")

ROOT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--network", action="store_true", help="also run what needs the Hugging Face Hub itself")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--network"):
        return
    skip = pytest.mark.skip(reason="needs the Hugging Face Hub: run with --network")
    for item in items:
        if "network" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture
def not_for_ever() -> Iterator[None]:
    """A test that hangs, for example on a pipe, fails after a minute instead of blocking the suite."""

    def wake(*_: object) -> None:
        raise AssertionError("it waits for ever")

    before = signal.signal(signal.SIGALRM, wake)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Outputs of the reference implementations; its README tells how to compare."""
    return ROOT / "tests" / "golden"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real photos and masks next to the checkout (``train/*.tar``, ``val/*.tar``); skips without it."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real photos: {folder} is absent")
    return folder


@pytest.fixture(scope="session")
def original() -> ModuleType:
    """``benchmarks/original.py``; skips if PyPI's segment-anything is not installed."""
    if importlib.util.find_spec("segment_anything") is None:
        pytest.skip("compares with the original: pip install segment-anything==1.0")
    spec = importlib.util.spec_from_file_location("original", ROOT / "benchmarks" / "original.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def golden_file(golden_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Name of a golden -> its checkpoint as the authors publish it, with weights from the formula."""
    import torch

    spec = importlib.util.spec_from_file_location("fill", golden_dir / "fill.py")
    fill = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fill)

    def write(name: str) -> Path:
        golden = json.loads((golden_dir / f"{name}.json").read_text())
        weights = fill.fill_state_dict(golden["keys"], golden["salt"])
        path = tmp_path_factory.mktemp("original") / f"{name}.pth"
        torch.save({key: torch.from_numpy(value) for key, value in weights.items()}, path)
        return path

    return write
