"""The wheel: it holds exactly the package's files, and works outside the checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement

COPIED = ("pyproject.toml", "README.md", "LICENSE", "sam_hub", "exporters", "demo")


@pytest.fixture(scope="module")
def project(root) -> dict:
    return tomllib.loads((root / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def folders(project) -> dict[str, str]:
    """Package -> folder in the checkout, of the packages that do not lie inside another."""
    return project["tool"]["setuptools"]["package-dir"]


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory) -> Path:
    """The wheel of `make dist`, else one that is built from a copy: a build leaves folders behind."""
    if os.environ.get("DIST"):
        (built,) = (root / os.environ["DIST"]).glob("*.whl")
        return built
    source, dist = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in COPIED:
        if (root / name).is_dir():
            shutil.copytree(root / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(root / name, source)
    call(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", dist, source)
    (built,) = dist.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def clean_place(wheel, tmp_path_factory) -> Path:
    """Scripts of a fresh environment with the wheel and this environment's libraries, but without the checkout."""
    env = tmp_path_factory.mktemp("env")
    call(sys.executable, "-m", "venv", "--without-pip", env)
    scripts = env / Path(sysconfig.get_path("scripts")).name
    call(sys.executable, "-m", "pip", "--python", scripts / "python", "install", "-q", "--no-deps", "--no-index", wheel)
    site = call(scripts / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    # A line in a .pth file puts a folder on the path without reading the .pth files in it: no editable install.
    lent = [sysconfig.get_path("purelib"), *(path for path in sys.path if path.endswith("site-packages"))]
    Path(site, "lent.pth").write_text("\n".join(dict.fromkeys(lent)))
    return scripts


def call(*command: object, cwd: Path | None = None) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def files_of(folder: Path) -> set[str]:
    paths = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix() for path in paths}


def test_package_list_equals_the_folders_on_disk(root, project, folders):
    on_disk = {
        ".".join((package, *path.parent.relative_to(root / folder).parts))
        for package, folder in folders.items()
        for path in (root / folder).rglob("*.py")
    }
    assert set(project["tool"]["setuptools"]["packages"]) == on_disk


def test_every_package_has_an_init(root, folders):
    homes = {path.parent for folder in folders.values() for path in (root / folder).rglob("*.py")}
    assert not [str(home) for home in homes if not (home / "__init__.py").exists()]


def test_wheel_holds_what_is_on_disk_and_claims_one_name(root, folders, wheel):
    expected = {
        f"{package.replace('.', '/')}/{name}" for package, folder in folders.items() for name in files_of(root / folder)
    }
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert inside == expected


def test_wheel_carries_the_embedded_model(wheel):
    with zipfile.ZipFile(wheel) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
    pocket = "sam_hub/assets/pocket/"
    assert {pocket + "config.json", pocket + "model.safetensors", pocket + "README.md"} <= sizes.keys()
    assert 10e6 < sizes[pocket + "model.safetensors"] <= 20 * 2**20


def test_installed_package_comes_from_the_wheel(clean_place, tmp_path):
    code = "import sam_hub, sam_hub.exporters as e, sam_hub.demo as d; print(sam_hub.__file__, e.__file__, d.__file__)"
    for path in call(clean_place / "python", "-c", code, cwd=tmp_path).split():
        assert path.startswith(str(clean_place.parent)), path
    version = "import importlib.metadata as m, sam_hub; assert m.version('sam-hub') == sam_hub.__version__"
    call(clean_place / "python", "-c", version, cwd=tmp_path)


def test_installed_command_segments_from_another_folder(root, clean_place, tmp_path):
    assert "segment" in call(clean_place / "sam-hub", "--help", cwd=tmp_path)
    shutil.copy(root / "examples" / "coffee.jpg", tmp_path)
    call(clean_place / "sam-hub", "segment", "coffee.jpg", "--box", "172,17,412,310", "--out", "out", cwd=tmp_path)
    assert [path for path in (tmp_path / "out").rglob("*.png") if path.stat().st_size > 0]


def test_every_requirement_is_pinned_inside_its_range(root, project):
    lines = [line.split("#")[0].strip() for line in (root / "constraints.txt").read_text().splitlines()]
    pins = dict(line.lower().replace("_", "-").split("==") for line in lines if line)
    extras = project["project"]["optional-dependencies"]
    wanted = [Requirement(line) for line in chain(project["project"]["dependencies"], *extras.values())]
    wanted = [requirement for requirement in wanted if requirement.name != "sam-hub"]
    assert len(wanted) > 15
    for requirement in wanted:
        assert requirement.specifier.contains(pins[requirement.name.lower()]), requirement


def test_all_is_every_extra_for_users(project):
    extras = project["project"]["optional-dependencies"]
    formats = {"onnx", "coreml", "executorch", "mnn", "ncnn", "openvino"}
    for_users = formats | {"heic", "demo", "mcp", "train", "ray", "science", "geo", "eval"}
    assert set(extras) == for_users | {"all", "docs", "dev"}
    assert Requirement(extras["all"][0]).extras == for_users


def test_the_oldest_python_that_is_promised_is_the_one_that_is_tested(root, project):
    """`make` takes it, and what the packages of this environment were tested with."""
    oldest = project["project"]["requires-python"].removeprefix(">=")
    assert f"command -v python{oldest}" in (root / "Makefile").read_text()
    assert sys.version_info >= tuple(map(int, oldest.split(".")))
    assert project["tool"]["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"
