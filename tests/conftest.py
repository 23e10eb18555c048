"""Fixtures and options of the whole suite."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: the workers of `pytest -n 2` share two cores

from pathlib import Path

import pytest

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


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Outputs of the reference implementations; its README tells how to compare."""
    return ROOT / "tests" / "golden"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real photos and masks beside the checkout (``train/*.tar``, ``val/*.tar``); skips without it."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real photos: {folder} is absent")
    return folder
