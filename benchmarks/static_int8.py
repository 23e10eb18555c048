"""Time of the image encoder's `int8-static` file relative to its fp32 file, and the operators that it is spent on.

    sam-hub export MODEL --out BUNDLE --variant fp32 --variant int8-static
    python benchmarks/static_int8.py BUNDLE [--threads 2] [--rounds 15]

The two files take turns on one photo. Operators are timed by onnxruntime's profiler in runs of
their own. An int8 convolution needs one instruction for each four products on CPUs with VNNI (AVX512 or AVX), and three
on those that only have AVX2; the first line says which this machine has.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime
from sam_hub.exporters.manifest import Manifest
from sam_hub.exporters.proof import Proof

VARIANTS = ("fp32", "int8-static")


def opened(path: Path, threads: int, profile: str = "") -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, profile
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def operators(path: Path, threads: int, feed: dict[str, np.ndarray], runs: int = 5) -> Counter[str]:
    """Milliseconds of a run by operator."""
    with tempfile.TemporaryDirectory() as folder:
        session = opened(path, threads, f"{folder}/profile")
        for _ in range(runs + 1):
            session.run(None, feed)
        events = json.loads(Path(session.end_profiling()).read_text())
    kernels = [e for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")]
    kernels = kernels[len(kernels) // (runs + 1) :]  # without the first run
    found: Counter[str] = Counter()
    for event in kernels:
        found[event["args"]["op_name"]] += event["dur"] / 1000 / runs
    return found


def instructions() -> str:
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return "unknown"
    return ", ".join(name for name in ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8") if name in flags)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    manifest = Manifest.read(arguments.bundle)
    found = {v: manifest.find("onnx", v) for v in VARIANTS}
    paths = {v: arguments.bundle / artefact.file("encoder").path for v, artefact in found.items()}
    feed = {"pixel_values": Proof.load(arguments.bundle).cases[0].image.pixel_values}
    print(f"onnxruntime {onnxruntime.__version__}, {arguments.threads} threads, instructions: {instructions()}")
    sessions = {v: opened(path, arguments.threads) for v, path in paths.items()}
    times: dict[str, list[float]] = {v: [] for v in VARIANTS}
    for i in range(arguments.rounds + 2):
        print(f"\rround {i}", end="", file=sys.stderr)
        for variant, session in sessions.items():
            start = time.perf_counter()
            session.run(None, feed)
            times[variant] += [time.perf_counter() - start] * (i > 1)
    print(file=sys.stderr)
    medians = {v: 1000 * statistics.median(t) for v, t in times.items()}
    for variant, artefact in found.items():
        gate = artefact.gate
        print(
            f"{variant:12} {medians[variant]:7.1f} ms, mask IoU {gate['iou_mean']:.4f} (worst {gate['iou_worst']:.4f})"
        )
    print(f"fp32 / int8-static: {medians['fp32'] / medians['int8-static']:.2f}")
    for variant, path in paths.items():
        parts = operators(path, arguments.threads, feed)
        total = sum(parts.values())
        print(f"{variant}: " + ", ".join(f"{name} {ms:.1f} ms ({ms / total:.0%})" for name, ms in parts.most_common(7)))


if __name__ == "__main__":
    main()
