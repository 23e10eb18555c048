"""Compares runtimes: other interpreters run each ONNX file of a bundle on the bundle's proof.

    python -m venv old && old/bin/pip install onnxruntime==1.17.3 "numpy<2"
    python -m venv vino && vino/bin/pip install openvino==2025.4.1
    python benchmarks/runtimes.py BUNDLE --python old/bin/python --python vino/bin/python [--out runtimes.json]

An interpreter needs numpy and one of onnxruntime, openvino and OpenCV. The table shows the largest difference of an
output from this onnxruntime's, relative to its largest value, over photos and prompts of the proof, or a runtime's
error message. ``--record`` writes both into ``export.json``: a file is proven on a runtime that stays within its
variant's bound, and failed on any other. OpenVINO is set to float32, because it defaults to bfloat16 on CPUs that have
it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from sam_hub.exporters.formats import FORMATS
from sam_hub.exporters.manifest import Artefact, Manifest
from sam_hub.exporters.proof import Proof

from sam_hub.inference.runtime import OnnxModel

RUN = """
import json, sys
from pathlib import Path
import numpy as np

def onnxruntime_(path):
    import onnxruntime
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda feed, names: session.run(names, feed)

def openvino_(path):
    import openvino
    model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    inputs = {name for port in model.inputs for name in port.get_names()}
    def run(feed, names):
        found = model({name: value for name, value in feed.items() if name in inputs})
        return [found[model.output(name)] for name in names]
    return run

def cv2_(path):
    import cv2
    def run(feed, names):
        net = cv2.dnn.readNetFromONNX(path)
        for name, value in feed.items():
            net.setInput(value, name)
        return net.forward(list(names))
    return run

for name, opener in (("openvino", openvino_), ("onnxruntime", onnxruntime_), ("cv2", cv2_)):
    try:
        version = __import__(name).__version__
        break
    except ImportError:
        continue
else:
    sys.exit("this interpreter has none of openvino, onnxruntime and cv2")
found = {}
for file, cases in json.loads(sys.stdin.read()).items():
    try:
        run, worst = opener(file), 0.0
        for case in cases:
            with np.load(case) as arrays:
                feed = {k[3:]: arrays[k] for k in arrays if k.startswith("in.")}
                expected = {k[4:]: arrays[k] for k in arrays if k.startswith("out.")}
            for value, right in zip(run(feed, list(expected)), expected.values()):
                difference = np.abs(np.reshape(value, right.shape) - right).max() / np.abs(right).max()
                worst = float(np.maximum(worst, difference))  # keeps NaN, as max does not
        found[file] = worst
    except Exception as e:
        found[file] = " ".join(str(e).split())[:160]
print(json.dumps([name + " " + version.split("-")[0], found]))
"""


def write_cases(bundle: Path, artefact: Artefact, proof: Proof, folder: Path) -> dict[str, list[str]]:
    """Inputs and expected outputs of both files of an artefact, as ``.npz``: file -> cases."""
    files = {role: bundle / artefact.file(role).path for role in ("encoder", "decoder")}
    model = OnnxModel(*files.values())
    scale = artefact.file("encoder").facts.get("points_scale", 1.0)
    names = [o.name for o in model.decoder.get_outputs()]
    cases: dict[str, list[str]] = {str(path): [] for path in files.values()}

    def keep(role: str, feed: dict, found: list, outputs: list[str]) -> None:
        path = folder / f"{len(list(folder.iterdir()))}.npz"
        arrays = {f"in.{k}": v for k, v in feed.items()} | {f"out.{k}": v for k, v in zip(outputs, found, strict=True)}
        np.savez(path, **arrays)
        cases[str(files[role])].append(str(path))

    for case in proof.cases:
        fed = case.image.resized if model.takes_grey_levels else case.image.pixel_values
        embedded = model.encode(case.image)
        keep("encoder", {model.encoder_input.name: fed}, list(embedded.values()), list(embedded))
        for prompt in case.prompts:
            feed = {n: v for n, v in embedded.items() if n in model.inputs}
            feed["input_points"] = (prompt.points / scale).astype(np.float32)[None, None]
            feed["input_labels"] = prompt.labels[None, None]
            if "mask_input" in model.inputs:
                side = proof.padded_frame[0] // 4
                blank = np.zeros((1, 1, side, side), np.float32)
                feed["mask_input"] = blank if prompt.mask_input is None else prompt.mask_input
                feed["has_mask_input"] = np.array([prompt.mask_input is not None], np.float32)
            if "input_boxes" in model.required:
                feed["input_boxes"] = np.zeros((1, 0, 4), np.float32)
            keep("decoder", feed, model.decoder.run(names, feed), names)
    return cases


def record(manifest: Manifest, bundle: Path, runtime: str, found: dict[str, float | str]) -> None:
    """Record a runtime's results in a manifest."""
    for artefact in manifest.artefacts:
        bound = FORMATS[artefact.format].tolerances[artefact.variant].difference
        for file in artefact.files:
            value = found.get(str(bundle / file.path))
            if isinstance(value, str):
                file.saw(runtime, value or "does not load")
            elif value is not None:  # NaN is not within
                file.saw(runtime, "" if value <= bound else f"outputs differ by {value:.2g} of their largest value")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--python", action="append", type=Path, default=[], help="an interpreter; repeatable")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--record", action="store_true", help="write the results into export.json")
    arguments = parser.parse_args()
    manifest, proof = Manifest.read(arguments.bundle), Proof.load(arguments.bundle)
    report: dict[str, dict[str, float | str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        cases: dict[str, list[str]] = {}
        for artefact in manifest.artefacts:
            if artefact.layout == "transformersjs":
                cases |= write_cases(arguments.bundle, artefact, proof, Path(folder))
        for python in arguments.python:
            done = subprocess.run([python, "-c", RUN], input=json.dumps(cases), capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{python}: {done.stderr.strip().splitlines()[-1]}")
            runtime, found = json.loads(done.stdout.splitlines()[-1])
            report[runtime] = {Path(file).name: value for file, value in found.items()}
            record(manifest, arguments.bundle, runtime, found)
    if arguments.record:
        manifest.write(arguments.bundle)
    for runtime, found in report.items():
        for file, value in found.items():
            print(f"{runtime:24}{file:48}{value if isinstance(value, str) else f'{value:.1e}'}")
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
