"""NNCF's static int8 for the image encoder in OpenVINO: its time and closeness relative to fp32.

    pip install nncf
    sam-hub export MODEL --out BUNDLE --format openvino --variant fp32
    OMP_NUM_THREADS=1 python benchmarks/nncf_static.py BUNDLE PHOTO... [--rounds 15]

NNCF quantises weights and activations of the encoder, calibrated on the photos, once all of it and once without the
depthwise convolutions; the decoder stays in fp32. All are compared with PyTorch on the bundle's proof and take turns on
its first photo.
"""

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import nncf
import openvino
from sam_hub.exporters.formats.openvino.runner import File, OpenvinoRunner
from sam_hub.exporters.gate import compare
from sam_hub.exporters.manifest import Manifest
from sam_hub.exporters.proof import Proof

from sam_hub.ops.images import read_image
from sam_hub.ops.preparation import Preparation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("photos", type=Path, nargs="+", help="to calibrate on")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    manifest, proof = Manifest.read(arguments.bundle), Proof.load(arguments.bundle)
    artefact = manifest.find("openvino", "fp32")
    preparation = Preparation.from_settings(json.loads((arguments.bundle / "preprocessor_config.json").read_text()))
    pixels = [preparation(read_image(path)).pixel_values for path in arguments.photos]
    record = artefact.file("encoder")
    scopes = {"int8": None, "int8, depthwise in fp32": nncf.IgnoredScope(types=["GroupConvolution"])}
    runners = {"fp32": OpenvinoRunner(arguments.bundle, artefact)}
    with tempfile.TemporaryDirectory() as folder:
        for name, scope in scopes.items():
            quantized = nncf.quantize(
                openvino.Core().read_model(arguments.bundle / record.path),
                nncf.Dataset(pixels),
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(pixels),
                ignored_scope=scope,
            )
            openvino.save_model(quantized, Path(folder, f"{name}.xml"), compress_to_fp16=False)
            runners[name] = OpenvinoRunner(arguments.bundle, artefact)
            runners[name].model.encoder = File(Path(folder), replace(record, path=f"{name}.xml"))
        reports = {name: compare(runner, proof) for name, runner in runners.items()}
        times: dict[str, list[float]] = {name: [] for name in runners}
        for _ in range(arguments.rounds):
            for name, runner in runners.items():
                start = time.perf_counter()
                runner.encode(proof.cases[0].image)
                times[name].append(time.perf_counter() - start)
    print(f"{runners['fp32'].runtime}, nncf {nncf.__version__}, {len(pixels)} photos")
    medians = {name: 1000 * statistics.median(t) for name, t in times.items()}
    for name, report in reports.items():
        print(
            f"{name:24} {medians[name]:6.1f} ms, {medians['fp32'] / medians[name]:.2f} x, "
            f"mask IoU to PyTorch {report.iou_mean:.4f} (worst {report.iou_worst:.4f})"
        )


if __name__ == "__main__":
    main()
