"""Runs every zero-shot table and the statistics, and writes docs/zero-shot.md and its plots from the results.

    python benchmarks/zero_shot.py --out RUNS [--model pocket] [--photos 3]

Needs ../shared. Rerun the same command to resume; with other weights, use another --out. Only numbers come from the
runs; the text is in benchmarks/zero-shot.md.
"""

import argparse
import json
import subprocess
import sys
import tarfile
from pathlib import Path

from sam_hub.ops.files import write_atomically
from sam_hub.results import coco_document

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
SHARDS = ("coco", "animals", "nuclei", "zeroshot-driving", "zeroshot-tools")


def coco_file(tar: Path, folder: Path) -> Path:
    """Convert a shard to a COCO JSON next to its photos."""
    if (folder / "instances.json").is_file():
        return folder / "instances.json"
    folder.mkdir(parents=True, exist_ok=True)
    documents = []
    with tarfile.open(tar) as opened:
        opened.extractall(folder, filter="data")
    for path in sorted(folder.glob("*.json")):
        documents.append(json.loads(path.read_text()))
        documents[-1]["image"].setdefault("file_name", f"{path.stem}.jpg")
        path.unlink()
    write_atomically(folder / "instances.json", json.dumps(coco_document(documents)).encode())
    return folder / "instances.json"


def table(model: str, data: list[Path], task: str, out: Path, *options: object) -> dict:
    """A table's report, from an earlier run if there is one."""
    folder = out / task
    if not (folder / "table.json").is_file():
        words = [sys.executable, "-m", "sam_hub", "eval", model, *data, "--task", task, "--out", folder, *options]
        words += ["--resume"] * (folder / "run.json").is_file()
        subprocess.run([str(word) for word in words], check=True, stdout=subprocess.DEVNULL)
    return json.loads((folder / "table.json").read_text())


def statistics(data: list[Path], out: Path) -> dict:
    if not (out / "stats" / "stats.json").is_file():
        words = [sys.executable, "-m", "sam_hub", "stats", *map(str, data), "--out", str(out / "stats")]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return json.loads((out / "stats" / "stats.json").read_text())


def body(out: Path, task: str) -> str:
    """The rows of a table, without its title."""
    return "\n".join(line for line in (out / task / "table.md").read_text().splitlines() if line.startswith("|"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--photos", type=int, default=3, help="of each data set, for points")
    parser.add_argument("--heavy", type=int, default=2, help="photos for edges and for proposals")
    given = parser.parse_args()
    out, photos, val = given.out, given.photos, SHARED / "data" / "val"
    coco = coco_file(val / "coco128.tar", out / "coco128")
    shards = [val / f"{name}.tar" for name in SHARDS]
    stats = statistics([val / f"{name}.tar" for name in ("coco-multi", "nuclei", "fashion")], out)
    reports = {
        "instances": table(given.model, [coco], "instances", out),
        "points": table(given.model, shards, "points", out, "--limit", photos, "--max-objects", 6),
        "edges": table(given.model, [SHARED / "bsds"], "edges", out, "--limit", given.heavy),
        "proposals": table(given.model, [coco], "proposals", out, "--limit", given.heavy),
    }
    words = (ROOT / "benchmarks" / "zero-shot.md").read_text("utf-8")
    facts = {
        "model": given.model,
        "weights": reports["points"]["settings"]["weights"],
        "version": reports["points"]["sam_hub"],
        "photos": photos,
        **{task: body(out, task) for task in reports},
        **{f"{task}_images": report["images"] for task, report in reports.items()},
        "stats": "\n".join(
            f"| {one['name']} | {one['images']} | {one['masks']} | {one['masks_per_image_mean']:.1f} |"
            for one in stats["data"]
        ),
    }
    for name, value in facts.items():
        words = words.replace(f"{{{{{name}}}}}", str(value))
    pictures = ROOT / "docs" / "zero-shot"
    pictures.mkdir(exist_ok=True)
    for name, file in (
        ("edges", "edges/table.png"),
        ("points", "points/table.png"),
        ("mask_size", "stats/mask_size.png"),
    ):
        write_atomically(pictures / f"{name}.png", (out / file).read_bytes())
    write_atomically(ROOT / "docs" / "zero-shot.md", words.encode())


if __name__ == "__main__":
    main()
