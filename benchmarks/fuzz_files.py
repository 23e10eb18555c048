"""Mutated files of every kind that sam-hub reads: each must give an error message or a result.

    python benchmarks/fuzz_files.py --cases 10000 --out fuzz.json
    python benchmarks/fuzz_files.py --kinds coco labelme --seed 7

Cases run in child processes, a few hundred in each, which may use 2 GB more than a fresh one. A fault is a child that
dies, a case that computes for more than 30 seconds, or an exception that is not of `sam_hub.errors`. Rerun the same
command to resume. A case depends only on its number and the seed: ``--kinds coco --first 123 --cases 1`` repeats one.
"""

import argparse
import json
import os
import resource
import select
import signal
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import fuzz_data
import fuzz_models
import numpy as np
from fuzz_data import Kind
from fuzz_mutations import Mutating

from sam_hub.errors import SamHubError
from sam_hub.ops.files import write_atomically

MEMORY, SECONDS = 2 * 2**30, 30
BATCH = 500
"""Cases per child, after which the report is written."""

KINDS: dict[str, type[Kind]] = {
    "config": fuzz_models.Config,
    "preprocessor": fuzz_models.Preprocessor,
    "safetensors": fuzz_models.Safetensors,
    "bundle": fuzz_models.Bundle,
    "coco": fuzz_data.Coco,
    "labelme": fuzz_data.Labelme,
    "sa1b": fuzz_data.Sa1bTar,
    "yolo": fuzz_data.Yolo,
    "labelstudio": fuzz_data.LabelStudio,
    "cvat": fuzz_data.Cvat,
    "image": fuzz_data.Pictures,
    "tiff": fuzz_data.Tiffs,
    "plan": fuzz_models.Plan,
    "tile": fuzz_models.Tile,
    "project": fuzz_models.EngineProject,
    "checkpoint": fuzz_models.Checkpoint,
}


def run_cases(kind: Kind, numbers: range, seed: int, tell: Callable[[str], None]) -> None:
    """Runs in a child: prints a line before and after each case."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, resource.RLIM_INFINITY))
    for number in numbers:
        tell(f"{number}\tstarted")
        try:
            kind.run(np.random.default_rng([seed, number]))
            outcome = "result"
        except SamHubError:
            outcome = "sentence"
        except BaseException as e:
            frames = traceback.extract_tb(e.__traceback__)
            ours = [f for f in frames if "/sam_hub/" in f.filename or "/exporters/" in f.filename] or frames
            place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
            outcome = f"{type(e).__name__} at {place}: {' '.join(str(e).split())[:120]}"
        tell(f"{number}\t{outcome}")


def fuzz(kind: Kind, first: int, cases: int, seed: int) -> tuple[Counter, dict[int, str]]:
    """Run cases; returns counts of their outcomes, and the faults."""
    ends: Counter = Counter()
    faults: dict[int, str] = {}
    number = first
    while number < first + cases:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            silent = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silent, 1)
            os.dup2(silent, 2)
            try:
                run_cases(kind, range(number, first + cases), seed, partial(_tell, write))
            finally:
                os._exit(0)
        os.close(write)
        number = _follow(read, child, number, ends, faults)
    return ends, faults


def _tell(pipe: int, line: str) -> None:
    os.write(pipe, f"{line}\n".encode())


def _computed(process: int) -> float:
    """CPU seconds of a process."""
    with open(f"/proc/{process}/stat") as f:
        user, system = f.read().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _follow(read: int, child: int, number: int, ends: Counter, faults: dict[int, str]) -> int:
    """Read a child's lines until it ends; returns the next case."""
    held, running = b"", None
    hung, began = False, _computed(child)
    while True:
        ready, _, _ = select.select([read], [], [], 1)
        if not ready:
            hung = _computed(child) - began > SECONDS
            if not hung:
                continue
        data = os.read(read, 65536) if ready else b""
        began = _computed(child)
        held += data
        *lines, held = held.split(b"\n")
        for line in lines:
            text, _, outcome = line.decode(errors="replace").partition("\t")
            if outcome == "started":
                running = int(text)
                continue
            running, number = None, int(text) + 1
            ends[outcome if outcome in ("result", "sentence") else "fault"] += 1
            if outcome not in ("result", "sentence"):
                faults[int(text)] = outcome
        if data:
            continue
        if hung:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        os.close(read)
        if running is not None:
            ends["fault"] += 1
            faults[running] = "hung" if hung else f"died of signal {os.WTERMSIG(status)}"
            number = running + 1
        return number


def fuzz_kind(name: str, cases: range, seed: int, report: dict[str, Any], save: Callable[[], None]) -> None:
    """Run the cases of a kind that are not in the report yet, batch by batch.

    report: of this kind: next, seed, result, sentence, fault, seconds, computed, faults; updated in place
    """
    if report.setdefault("seed", seed) != seed or not cases.start <= report.setdefault("next", cases.start):
        raise SystemExit(f"the report is of other cases of {name} (seed {report['seed']}); name another --out")
    with tempfile.TemporaryDirectory() as place:
        if report["next"] >= cases.stop:
            return
        kind = KINDS[name](Path(place))
        with Mutating.off():
            kind.run(np.random.default_rng(0))  # reads valid files, so that children inherit all imports
        while report["next"] < cases.stop:
            count = min(BATCH, cases.stop - report["next"])
            start, computed = perf_counter(), _children()
            ends, faults = fuzz(kind, report["next"], count, seed)
            for end in ("result", "sentence", "fault"):
                report[end] = report.get(end, 0) + ends[end]
            report["seconds"] = round(report.get("seconds", 0) + perf_counter() - start, 2)
            report["computed"] = round(report.get("computed", 0) + _children() - computed, 2)
            report.setdefault("faults", {}).update({str(number): what for number, what in faults.items()})
            report["next"] += count
            save()
            done = report["result"] + report["sentence"] + report["fault"]
            print(
                f"{name:13} {done:6} cases: {report['result']} results, {report['sentence']} sentences, "
                f"{report['fault']} faults; {done / report['seconds']:.1f} a second, "
                f"{done / max(report['computed'], 0.01):.1f} a second of computing",
                flush=True,
            )


def _children() -> float:
    """CPU seconds of all ended children."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="Report as JSON, written batch by batch; its cases are not run again.")
    args = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    import torch
    import transformers

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    report: dict[str, Any] = {}
    if args.out and args.out.exists():
        report = json.loads(args.out.read_text())

    def save() -> None:
        if args.out:
            write_atomically(args.out, json.dumps(report, indent=1).encode())

    for name in args.kinds:
        cases = range(args.first, args.first + args.cases)
        fuzz_kind(name, cases, args.seed, report.setdefault(name, {}), save)
        for number, what in list(report[name].get("faults", {}).items())[:20]:
            print(f"    {number}: {what}", flush=True)
    raise SystemExit(any(report[name].get("faults") for name in args.kinds))


if __name__ == "__main__":
    main()
