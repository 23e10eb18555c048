"""Fixtures and options of the whole suite."""

import importlib.util
import json
import os
import signal
import sysconfig

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: the workers of `pytest -n 2` share two cores

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

from .forks import Forks

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
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """(name, make) -> the folder that ``make(folder)`` wrote: once, also where several workers share a run.

    A worker that comes while another one makes the folder waits for it. Tests change copies only.
    """
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "exported-once"
    shared.mkdir(exist_ok=True)

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = shared / name, shared / f"{name}.done"
        with FileLock(shared / f"{name}.lock"):
            if not done.exists():
                make(folder)
                done.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """Programs and commands in processes that start fast; offline, as no test reaches the Hub."""
    here = sysconfig.get_path("scripts") + os.pathsep + os.environ["PATH"]
    with TemporaryDirectory() as folder:  # a short path: a socket's has at most 100 characters
        found = Forks(Path(folder), {**os.environ, "PATH": here, "HF_HUB_OFFLINE": "1"})
        found.environment["PATH"] = f"{found.bin}{os.pathsep}{here}"
        yield found
        found.close()


@pytest.fixture(scope="session")
def pocket_bundle(once: Callable) -> Path:
    """`pocket` for transformers.js (fp32, q8) and for the original's notebook."""
    from sam_hub.exporters.bundle import export_bundle

    wanted, options = {"onnx": ("fp32", "int8")}, {"layouts": ("transformersjs", "meta"), "masks": "single"}
    return once("pocket", lambda out: export_bundle("pocket", out, wanted, options))


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
