"""``sam-hub doctor``: healthy here, and every kind of problem reported."""

import json
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sam_hub.cli import app
from sam_hub.diagnostics import doctor
from sam_hub.diagnostics.doctor import Check
from sam_hub.hub.originals import converted_home

OK = Check("core", "ok", "torch 2", {"versions": {"torch": "2"}})
ABSENT = Check("extra demo", "absent", "the web page: not installed", {}, "`pip install .`", optional=True)
BROKEN = Check("extra ray", "problem", "ray does not load", {}, "reinstall it", optional=True)
PROBLEM = Check("model", "problem", "`pocket` is gone", {}, "reinstall sam-hub")


@pytest.fixture(scope="module")
def here() -> dict[str, Check]:
    """The real diagnosis of this machine."""
    return {c.name: c for c in doctor.diagnose()}


def test_the_tables_are_those_of_pyproject(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]

    def names(requirements: list[str]) -> set[str]:
        return {re.match(r"[\w.-]+", r)[0] for r in requirements} - {"sam-hub"}  # an extra may hold another

    assert set(doctor.CORE) == names(project["dependencies"])
    extras = {k: v for k, v in project["optional-dependencies"].items() if k not in ("all", "dev", "docs")}
    others = {f.name for f in doctor.FORMATS.values() if f.distribution != doctor.OURS}  # installed by themselves
    assert {k: set(v) for k, v in doctor.EXTRAS.items() if k not in others} == {k: names(v) for k, v in extras.items()}
    assert set(doctor.PURPOSE) == set(doctor.EXTRAS)


def test_what_works_here(here: dict[str, Check]) -> None:
    assert here["core"].status == "ok"
    assert here["core"].facts["versions"]["torch"] == version("torch")
    cpu = here["devices"].facts["devices"][0]
    assert cpu["name"] == "cpu" and cpu["cores"] >= 1 and cpu["threads"] >= 1
    assert set(doctor.EXTRAS) <= {name.removeprefix("extra ").removeprefix("format ") for name in here}
    assert "`pip install litert-torch`" in (here["format litert"].advice or "") or here["format litert"].status == "ok"
    assert all(c.advice for c in here.values() if c.status != "ok")


def test_a_missing_part_is_absent_and_a_broken_one_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"absent": {"no-such-package": "nothing"}, "broken": {"numpy": "numpy.no_such_module"}}
    monkeypatch.setattr(doctor, "EXTRAS", parts)
    monkeypatch.setattr(doctor, "PURPOSE", dict.fromkeys(parts, "a test"))
    absent, broken = doctor._check_extra("absent"), doctor._check_extra("broken")
    assert absent.status == "absent" and "no-such-package" in absent.detail
    assert absent.advice == "`pip install '.[absent]'` in a checkout of sam-hub"
    assert broken.status == "problem" and "No module named 'numpy.no_such_module'" in broken.detail
    assert doctor.healthy([OK, absent, broken])


def test_a_library_that_crashes_is_reported() -> None:
    fine, reason = doctor._run("import os; os.kill(os.getpid(), 11)")
    assert not fine and reason == "it crashed with signal 11"


def test_libraries_are_loaded_together_and_those_that_fail_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever has not loaded when one crashes or hangs is tried alone."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "odd_fine.py").write_text("print('noise without an end', end='')")
    (tmp_path / "odd_raises.py").write_text("raise RuntimeError('no GPU')")
    (tmp_path / "odd_crashes.py").write_text("import os; os.kill(os.getpid(), 11)")
    (tmp_path / "odd_hangs.py").write_text("import time; time.sleep(60)")
    (tmp_path / "odd_last.py").write_text("")
    monkeypatch.setattr(doctor, "_versions", lambda parts: (parts, [n for n in parts if n == "odd_absent"]))
    names = ["odd_fine", "odd_raises", "odd_crashes", "odd_last"]
    loaded, devices = doctor._loaded_together([{name: name} for name in ("odd_absent", *names)])
    assert loaded == {"odd_fine"} and devices == ""
    tried: list[str] = []
    alone = doctor._run
    monkeypatch.setattr(doctor, "_run", lambda code: tried.append(code.split()[-1]) or alone(code))
    broken = doctor._import_failures({name: name for name in names}, loaded)
    assert broken == {"odd_raises": "RuntimeError: no GPU", "odd_crashes": "it crashed with signal 11"}
    assert tried == names[1:]
    monkeypatch.setattr(doctor, "PATIENCE", 5)
    together = doctor._loaded_together([{name: name} for name in ("odd_fine", "odd_hangs", "odd_last")])
    assert together == ({"odd_fine"}, "")


def test_devices_are_asked_for_where_torch_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the process of the other libraries; if that gives none, in one of its own, with the same answer."""
    loaded, devices = doctor._loaded_together([{"torch": "torch"}])
    assert loaded == {"torch"}
    alone = doctor._check_devices()
    monkeypatch.setattr(doctor, "_run", lambda code: pytest.fail("torch was loaded again"))
    assert doctor._check_devices(devices) == alone and alone.status == "ok"
    monkeypatch.setattr(doctor, "_run", lambda code: (False, "no torch"))
    assert doctor._check_devices().status == "problem"


def test_a_broken_core_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "CORE", {"numpy": "numpy", "no-such-package": "nothing"})
    check = doctor._check_core()
    assert check.status == "problem" and check.advice == "pip install --force-reinstall no-such-package"
    assert not doctor.healthy([OK, check])


def test_the_embedded_model_is_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sam_hub.hub.ASSETS", tmp_path)
    assert doctor._check_embedded_model().status == "problem"
    (tmp_path / "pocket").mkdir()
    (tmp_path / "pocket" / "config.json").write_text("{}")
    (tmp_path / "pocket" / "model.safetensors").write_bytes(bytes(3_000_000))
    check = doctor._check_embedded_model()
    assert check.status == "ok" and "3.0 MB" in check.detail


def test_the_token_is_never_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    checks = {c.name: c for c in doctor._check_hub()}
    assert checks["token"].status == "ok" and checks["token"].facts == {"found": True}
    assert "hf_secret" not in repr(checks)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert {c.name: c for c in doctor._check_hub()}["token"].status == "absent"


def test_cache_and_endpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "new" / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://localhost:1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    checks = {c.name: c for c in doctor._check_hub()}
    assert checks["cache"].status == "ok" and str(tmp_path) in checks["cache"].detail
    assert "http://localhost:1" in checks["endpoint"].detail and "HF_HUB_OFFLINE" in checks["endpoint"].detail
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    assert {c.name: c for c in doctor._check_hub()}["cache"].status == "problem"


def test_downloads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path / "assets"))
    check = {c.name: c for c in doctor._check_hub()}["models"]
    assert (check.status, check.facts) == ("absent", {"downloaded": []}) and "sam-hub pull" in check.advice
    folder = converted_home("edge-sam")
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    snapshot = tmp_path / "hub" / "models--facebook--sam-vit-base"
    (snapshot / "refs").mkdir(parents=True)
    (snapshot / "refs" / "main").write_text("c" * 40)
    (snapshot / "snapshots" / ("c" * 40)).mkdir(parents=True)
    (snapshot / "snapshots" / ("c" * 40) / "model.safetensors").write_text("x")
    check = {c.name: c for c in doctor._check_hub()}["models"]
    assert (check.status, check.facts) == ("ok", {"downloaded": ["sam-vit-b", "edge-sam"]})
    assert doctor.healthy([check])


@pytest.mark.parametrize(("checks", "code"), [([OK, ABSENT, BROKEN], 0), ([OK, PROBLEM], 1)])
def test_exit_code_and_output(monkeypatch: pytest.MonkeyPatch, checks: list[Check], code: int) -> None:
    monkeypatch.setattr(doctor, "diagnose", lambda: checks)
    plain = CliRunner().invoke(app, ["doctor"])
    assert plain.exit_code == code
    for check in checks:
        assert check.detail in plain.stdout and check.advice in plain.stdout
    machine = CliRunner().invoke(app, ["doctor", "--json"])
    answer = json.loads(machine.stdout)
    assert machine.exit_code == code and answer["healthy"] is (code == 0)
    assert [c["status"] for c in answer["checks"]] == [c.status for c in checks]
