"""``sam-hub everything --engine ray``: the same files as locally, even when workers are killed."""

import importlib.util
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from sam_hub.annotation.cluster import annotate_on_ray
from sam_hub.annotation.work import AnnotationTask
from sam_hub.cli import app
from sam_hub.errors import SamHubError

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason='needs Ray: pip install "sam-hub[ray]"')
PHOTOS = 12
OPTIONS = (
    "--points-per-side",
    "6",
    "--points-per-batch",
    "4",
    "--pred-iou-thresh",
    "0",
    "--stability-score-thresh",
    "0",
)


def descendants() -> Iterator[tuple[int, str]]:
    """Processes below this one and their command lines."""
    parents, lines = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                lines[int(entry.name)] = (entry / "cmdline").read_text(errors="replace")
            except (OSError, ValueError):
                continue
    for pid in parents:
        at = pid
        while at in parents and at != os.getpid():
            at = parents[at]
        if at == os.getpid() and pid != at:
            yield pid, lines[pid]


def kill_a_worker(masks: Path, killed: list[int], over: threading.Event) -> None:
    """Once two photos are done, kill the process of an actor."""
    while not killed and not over.is_set():
        if len(list(masks.glob("*.json"))) >= 2:
            for pid, line in descendants():
                if line.startswith("ray::") and "Worker" in line and not killed:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
        time.sleep(0.01)


def files(folder: Path) -> dict[str, bytes]:
    found = (p for p in folder.rglob("*") if p.is_file() and p.name != "summary.json")
    return {str(p.relative_to(folder)): p.read_bytes() for p in found}


def test_same_files_though_a_worker_is_killed(tiny_model: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    rng = np.random.default_rng(0)
    for number in range(PHOTOS):
        noise = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((60, 44)).save(f"photos/{number}.png")
    Path("photos/broken.png").write_bytes(Path("photos/0.png").read_bytes()[:60])
    words = ["everything", "photos", "--model", str(tiny_model), *OPTIONS, "--json"]
    runner = CliRunner()
    local = runner.invoke(app, [*words, "--out", "local"])
    assert local.exit_code == 1, local.output
    killed: list[int] = []
    over = threading.Event()
    killer = threading.Thread(target=kill_a_worker, args=(Path("ray/masks"), killed, over))
    killer.start()
    try:
        there = runner.invoke(app, [*words, "--out", "ray", "--engine", "ray", "--workers", "1"])
    finally:
        over.set()
        killer.join()
    assert there.exit_code == 1, there.output
    assert killed, "a worker was killed while photos were left"
    assert files(Path("ray")) == files(Path("local"))
    local, there = (json.loads(answer.stdout) for answer in (local, there))
    assert there["failed"] == local["failed"] and "broken.png" in there["failed"][0]["error"]
    assert [{k: i[k] for k in ("image", "masks")} for i in there["images"]] == [
        {k: i[k] for k in ("image", "masks")} for i in local["images"]
    ]


def test_a_machine_that_is_too_busy_for_ray(tmp_path: Path, monkeypatch) -> None:
    import ray

    starts = []

    def refuse(**arguments):
        starts.append(arguments["address"])
        raise RuntimeError("The current node timed out\nduring startup.")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(SamHubError, match=r"did not start on this machine \(.* timed out during .*--engine local"):
        next(annotate_on_ray(AnnotationTask(tmp_path, "pocket"), []))
    assert starts == ["local"] * 3


def test_a_cluster_that_is_not_there(tmp_path: Path, monkeypatch) -> None:
    import ray

    seen = {}

    def refuse(**arguments):
        seen.update(arguments)
        raise ConnectionError("nobody answers")

    monkeypatch.setattr(ray, "init", refuse)
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        address = f"127.0.0.1:{somebody.getsockname()[1]}"
        with pytest.raises(SamHubError, match=rf"cannot be reached at {address} .*check --ray-address.*token"):
            next(annotate_on_ray(AnnotationTask(tmp_path, "pocket"), [], address))
    assert seen["address"] == address and "object_store_memory" not in seen
    seen.clear()
    for nobody in (address, f"ray://{address}"):  # Ray would try for minutes
        with pytest.raises(SamHubError, match=f"no Ray cluster answers at {nobody} .*check --ray-address"):
            next(annotate_on_ray(AnnotationTask(tmp_path, "pocket"), [], nobody))
    assert not seen
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
