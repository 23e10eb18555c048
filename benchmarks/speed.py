"""Speed of this build against an earlier one and against other implementations, in one run.

    python benchmarks/speed.py                         # every part, in at most ten minutes on two idle cores
    python benchmarks/speed.py start click             # some of them
    python benchmarks/speed.py --before 0d4779c --turns 5

start       `sam-hub segment PHOTO --point ...` with `pocket`, whole process
folder      the same for eight photos
click       one click after set_image, the decoder alone; peer: the decoder of transformers.SamModel, which reads no
            finer features
everything  256 clicks on a photo, encoding included; peer: the original's generator
files       256 clicks on a photo with `pocket`'s ONNX files, exported by this build and run by both
encoder     SAM ViT-B at 1024 pixels with random weights, float32; peer: transformers.SamModel

Builds take turns, each in its own process, so that other load affects all; medians are reported. Seconds are CPU time
with one thread, which depends less on other load than wall-clock time. ``--before`` is a commit, checked out to a
temporary folder. Rows go to standard output as JSON, the final table to standard error.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PHOTO, CLICK = ROOT / "examples" / "cat.jpg", "200,150"
CONTENDERS = {
    "start": ("ours", "before"),
    "folder": ("ours", "before"),
    "click": ("ours", "before", "peer"),
    "everything": ("ours", "before", "peer"),
    "files": ("ours", "before"),
    "encoder": ("ours", "peer"),
}

BEGIN = """
import importlib.machinery as m, sys
sys.meta_path[:] = [m.BuiltinImporter, m.FrozenImporter, m.PathFinder]  # no editable install comes first
sys.path.insert(0, {tree!r})
sys.path.append({benchmarks!r})
"""
COMMAND = """
sys.argv = {argv!r}
from sam_hub.cli import main
main()
"""
MEASURED = """
import json, time
import numpy as np
import torch
torch.set_num_threads(1)
torch.manual_seed(0)
PHOTO = {photo!r}

def memory(field):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(field))

@torch.inference_mode()
def report(run, turns):
    run()
    before = memory("VmRSS")
    open("/proc/self/clear_refs", "w").write("5")  # the peak starts anew
    seconds = []
    for _ in range(turns):
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)
    print(json.dumps({"seconds": sorted(seconds)[turns // 2], "peak_mb": (memory("VmHWM") - before) / 2**20}))
"""
CODE = {
    ("click", "ours"): """
from sam_hub import SamModel
from sam_hub.inference import decoding
model = SamModel.from_pretrained("pocket").eval()
maps = {"stride_8": torch.randn(1, 40, 64, 64), "stride_4": torch.randn(1, 24, 128, 128)}
held = decoding.ImageDecoder(model, decoding.EncoderOutput(torch.randn(1, 256, 32, 32), maps))
point, label = torch.rand(1, 1, 2) * 512, torch.ones(1, 1, dtype=torch.long)
report(lambda: held(point, label, None, None, True), 31)
""",
    ("click", "peer"): """
import transformers
sizes = {"image_size": 512, "num_hidden_layers": 1}
model = transformers.SamModel(transformers.SamConfig(vision_config=sizes, prompt_encoder_config={"image_size": 512}))
model.eval()
embedding = torch.randn(1, 256, 32, 32)
point, label = torch.rand(1, 1, 1, 2) * 512, torch.ones(1, 1, 1, dtype=torch.long)
report(lambda: model(image_embeddings=embedding, input_points=point, input_labels=label), 31)
""",
    ("everything", "ours"): """
from pathlib import Path
from everything import contender, load_model, read, thresholds
run = contender("sam_hub", load_model("pocket"), 16, thresholds("pocket"))
image = read(Path(PHOTO), None)
report(lambda: run(image), 1)
""",
    ("everything", "peer"): """
from pathlib import Path
from everything import contender, load_model, read, thresholds
run = contender("original", load_model("pocket"), 16, thresholds("pocket"))
image = read(Path(PHOTO), None)
report(lambda: run(image), 1)
""",
    ("files", "ours"): """
import os
import numpy as np
from PIL import Image
from sam_hub.inference.amg import SamAutomaticMaskGenerator
from sam_hub.inference.runtime import OnnxPredictor
image = np.array(Image.open(PHOTO).convert("RGB"))
predictor = OnnxPredictor(os.environ["BUNDLE"], threads=1, cache_size=0)
generator = SamAutomaticMaskGenerator(predictor, points_per_side=16, pred_iou_thresh=0.5, stability_score_thresh=0.7)
report(lambda: generator.generate(image), 1)
""",
    ("encoder", "ours"): """
from sam_hub import SamConfig, SamModel
from sam_hub.zoo import ZOO
model = SamModel(SamConfig(**ZOO["sam-vit-b"].config)).eval()
pixels = torch.randn(1, 3, 1024, 1024)
report(lambda: model.get_image_embeddings(pixels), 1)
""",
    ("encoder", "peer"): """
import transformers
model = transformers.SamModel(transformers.SamConfig()).eval()
pixels = torch.randn(1, 3, 1024, 1024)
report(lambda: model.get_image_embeddings(pixels), 1)
""",
}
TURNS = {"everything": 1, "encoder": 1}
"""Turns of the slow parts; the others have ``--turns``."""


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """The package at a commit, in a temporary folder."""
    with tempfile.TemporaryDirectory() as place:
        packed = subprocess.run(["git", "-C", ROOT, "archive", commit], capture_output=True, check=True).stdout
        subprocess.run(["tar", "-x", "-C", place], input=packed, check=True)
        for folder in ("exporters", "demo"):  # as they are installed
            Path(place, "sam_hub", folder).symlink_to(Path(place, folder))
        yield Path(place)


@contextmanager
def as_installed() -> Iterator[Path]:
    """This build, laid out as `checked_out` does."""
    with tempfile.TemporaryDirectory() as place:
        shutil.copytree(ROOT / "sam_hub", Path(place, "sam_hub"), ignore=shutil.ignore_patterns("__pycache__"))
        for folder in ("exporters", "demo"):
            Path(place, "sam_hub", folder).symlink_to(ROOT / folder)
        yield Path(place)


def run(code: str, tree: Path) -> tuple[str, float, float]:
    """Standard output of a process, its CPU seconds, and its peak memory in MB."""
    code = BEGIN.format(tree=str(tree), benchmarks=str(ROOT / "benchmarks")) + code
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    answer = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise RuntimeError(f"a measurement failed; run it by hand:\n{code}")
    return answer, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def measure(part: str, tree: Path, who: str) -> dict[str, float]:
    """One turn: CPU seconds and peak memory in MB, of a whole process or in addition to what was in use before."""
    if part in ("start", "folder"):
        photos = [str(PHOTO)]
        with tempfile.TemporaryDirectory() as out:
            if part == "folder":
                photos = [str(Path(out, f"photo-{i}.png")) for i in range(8)]
                for i, path in enumerate(photos):  # all different, because equal photos are encoded once
                    photo = Image.open(PHOTO)
                    photo.crop((0, 0, photo.width - i, photo.height)).save(path)
            argv = ["sam-hub", "segment", *photos, "--point", CLICK, "--out", out]
            _, seconds, peak = run(COMMAND.format(argv=argv), tree)
        return {"seconds": seconds, "peak_mb": peak}
    code = CODE[part, "peer" if who == "peer" else "ours"]
    begin = MEASURED.replace("{photo!r}", repr(str(PHOTO)))
    return json.loads(run(begin + code, tree)[0].splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(CONTENDERS)}; all by default")
    parser.add_argument("--before", default="0d4779c", metavar="COMMIT", help="the build to compare with")
    parser.add_argument("--turns", type=int, default=3, help="runs of each build, in turn; medians are reported")
    args = parser.parse_args()
    if unknown := set(args.parts) - set(CONTENDERS):
        parser.error(f"there is no part {unknown.pop()}; choose of {', '.join(CONTENDERS)}")
    rows = []
    with checked_out(args.before) as before, as_installed() as now, tempfile.TemporaryDirectory() as folder:
        os.environ["BUNDLE"] = str(Path(folder, "pocket"))
        for part in args.parts or CONTENDERS:
            if part == "files":
                argv = ["sam-hub", "export", "pocket", "--out", os.environ["BUNDLE"], "--variant", "fp32"]
                run(COMMAND.format(argv=argv), now)
            rows.append(compare(part, before, now, TURNS.get(part, args.turns)))
            print(json.dumps(rows[-1]), flush=True)
    show(rows)


def compare(part: str, before: Path, now: Path, turns: int) -> dict[str, Any]:
    """Medians of a part: seconds and peak memory of each build, and their ratio to this build's."""
    who = {name: before if name == "before" else now for name in CONTENDERS[part]}
    taken = {name: [] for name in who}
    for _ in range(turns):
        for name, tree in who.items():
            taken[name].append(measure(part, tree, name))
    row: dict[str, Any] = {"part": part, "turns": turns}
    for name, found in taken.items():
        for field, digits in (("seconds", 4), ("peak_mb", 0)):
            row[f"{name}_{field}"] = round(median(turn[field] for turn in found), digits)
    for name in who:
        if name != "ours":
            row[f"{name}_times_ours"] = round(row[f"{name}_seconds"] / row["ours_seconds"], 2)
    return row


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    print(f"\n{'':12}{'ours':>12}{'before':>12}{'peer':>12}{'before/ours':>14}{'peer/ours':>12}", file=sys.stderr)
    for row in rows:
        cells = [
            f"{row[f'{who}_seconds']:.3f} s" if f"{who}_seconds" in row else "" for who in ("ours", "before", "peer")
        ]
        ratios = [str(row.get(f"{who}_times_ours", "")) for who in ("before", "peer")]
        print(f"{row['part']:12}{''.join(f'{c:>12}' for c in cells)}{ratios[0]:>14}{ratios[1]:>12}", file=sys.stderr)
        peaks = [
            f"{row[f'{who}_peak_mb']:.0f} MB" if f"{who}_peak_mb" in row else "" for who in ("ours", "before", "peer")
        ]
        print(f"{'':12}{''.join(f'{c:>12}' for c in peaks)}", file=sys.stderr)


if __name__ == "__main__":
    main()
