"""``sam-hub everything`` is killed repeatedly over a folder of 40 photos: with --resume, the result is that of an
undisturbed run, byte for byte, and no photo is computed twice.

A process that has imported everything and loaded the model forks a child for each run, so that starting is cheap.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools.coco import COCO

PHOTOS = 40

SCRIPT = """
import json, os, random, signal, sys, time
from pathlib import Path

import rich.progress
from sam_hub.annotation import report, settings, work
from sam_hub.cli import app, loading, progress

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
predictor = loading.load_predictor(sys.argv[1], "cpu", cache_size=0)
loading.load_predictor = lambda *a, **k: predictor
generator = random.Random(int(sys.argv[2]))
options = ["--model", sys.argv[1], "--points-per-side", "2", "--pred-iou-thresh", "0", "--stability-score-thresh", "0"]


def start(out, *more, die_at=None):
    pid = os.fork()
    if pid:
        return pid
    if die_at is not None:  # at some rename, just before it or just after
        rename, count = os.replace, iter(range(10**6))

        def replace(*names):
            at = next(count)
            if at == die_at[0] and not die_at[1]:
                os.kill(os.getpid(), signal.SIGKILL)
            rename(*names)
            if at == die_at[0]:
                os.kill(os.getpid(), signal.SIGKILL)

        os.replace = replace
    for number in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    try:
        app(["everything", "photos", "--out", out, *options, *more], prog_name="sam-hub")
    except SystemExit as e:
        os._exit(e.code or 0)
    except BaseException:
        os._exit(99)


def done():
    return {str(p): (p.stat().st_ino, p.stat().st_mtime_ns) for p in Path("out/masks").rglob("*.json")}


def wait(pid):
    status = os.waitpid(pid, 0)[1]
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


started = time.perf_counter()
codes = [wait(start("whole"))]
each = (time.perf_counter() - started) / len(os.listdir("photos"))
counts, repeated = [], []
for leg in range(14):
    before = done()
    more = ["--resume"] if leg else []
    if leg >= 10:  # the last four die at a rename
        codes.append(wait(start("out", *more, die_at=(generator.randrange(1, 6), leg % 2))))
    else:
        pid = start("out", *more)
        # So many more photos, and then some part of one; Ctrl-C comes when there is something to stop.
        target = len(before) + (generator.randrange(2) or leg == 5)
        while len(done()) < target:
            time.sleep(0.002)
        time.sleep(generator.random() * each)
        if leg == 5:  # one stop is by Ctrl-C
            os.kill(pid, signal.SIGINT)
        else:
            os.kill(pid, signal.SIGKILL)
        codes.append(wait(pid))
    after = done()
    counts.append(len(after))
    repeated += [name for name in before if before[name] != after.get(name)]
before = done()
codes.append(wait(start("out", "--resume")))
after = done()
repeated += [name for name in before if before[name] != after[name]]
print(json.dumps({"codes": codes, "progress": counts, "repeated": repeated}))
"""


def test_ten_kills_and_more(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(PHOTOS):
        noise = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((48, 36)).save(folder / f"{number:02}.png")
    seed = int(np.random.default_rng().integers(10**6))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, tiny_model, str(seed)], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["codes"] == [0, *[-9] * 5, 130, *[-9] * 8, 0], f"seed {seed}: {answer}"
    assert 0 < answer["progress"][-1] < PHOTOS, f"seed {seed}: every run was stopped before its end; {answer}"
    assert not answer["repeated"]
    whole, resumed = (_files(tmp_path / name) for name in ("whole", "out"))
    assert resumed == whole and len(whole) == 2 * PHOTOS + 2
    assert len(COCO(str(tmp_path / "out/coco.json")).dataset["images"]) == PHOTOS


def _files(folder: Path) -> dict[str, bytes]:
    found = (p for p in folder.rglob("*") if p.is_file() and p.name != "summary.json")
    return {str(p.relative_to(folder)): p.read_bytes() for p in found}
