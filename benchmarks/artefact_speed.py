"""Speed of all files of a bundle relative to its first, in one run: encoding a photo, and the first click on it.

    sam-hub export pocket --out both --format onnx --format openvino --variant fp32
    OMP_NUM_THREADS=2 python benchmarks/artefact_speed.py both [--rounds 30] [--out speed.json]

Each variant runs in its own process, and the processes take turns, so that other load affects all of them and no
runtime's waiting threads slow down another's. The results are medians and ratios of medians.
"""

import argparse
import json
import multiprocessing
import time
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

from sam_hub.exporters.formats import FORMATS
from sam_hub.exporters.manifest import Manifest
from sam_hub.exporters.proof import Proof

PAUSE_SECONDS = 0.05
"""Between turns: onnxruntime's threads spin for a while after a run."""


def work(bundle: Path, number: int, turns: Connection) -> None:
    """Run an artefact whenever a message arrives; sends its runtime, then seconds of encoding and of a click."""
    artefact = Manifest.read(bundle).artefacts[number]
    runner = FORMATS[artefact.format].open_runner(bundle, artefact)
    case = Proof.load(bundle).cases[0]
    turns.send(runner.runtime)
    while turns.recv():
        start = time.perf_counter()
        embedded = runner.encode(case.image)
        encoded = time.perf_counter()
        runner.decode(embedded, case.prompts[0])
        turns.send((encoded - start, time.perf_counter() - encoded))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    turns: dict[str, Connection] = {}
    for number, artefact in enumerate(Manifest.read(arguments.bundle).artefacts):
        ours, theirs = spawn.Pipe()
        spawn.Process(target=work, args=(arguments.bundle, number, theirs), daemon=True).start()
        turns[f"{artefact.name}, {ours.recv()}"] = ours
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in turns}
    for _ in range(arguments.rounds + 2):
        for name, worker in turns.items():
            time.sleep(PAUSE_SECONDS)
            worker.send(True)
            times[name].append(worker.recv())
    for worker in turns.values():
        worker.send(False)
    medians = {name: [1000 * median(r[i] for r in found[2:]) for i in (0, 1)] for name, found in times.items()}
    first = next(iter(medians.values()))
    for name, (encode, click) in medians.items():
        ratios = [before / now for before, now in zip(first, (encode, click), strict=True)]
        print(f"{name:62} photo {encode:7.1f} ms, {ratios[0]:.2f} x   click {click:6.1f} ms, {ratios[1]:.2f} x")
    if arguments.out:
        arguments.out.write_text(json.dumps(medians, indent=2) + "\n")


if __name__ == "__main__":
    main()
