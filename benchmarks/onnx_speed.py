"""Speed of ONNX Runtime relative to our PyTorch models, for a photo and its first click, in one run.

    OMP_NUM_THREADS=1 python benchmarks/onnx_speed.py BUNDLE [--rounds 15]

Both take turns in one process, so that other load affects both; the result is the ratio of the medians.
"""

import argparse
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from sam_hub.exporters.manifest import Manifest

from sam_hub.inference.predictor import SamPredictor
from sam_hub.inference.runtime import OnnxPredictor
from sam_hub.models.modeling_sam import SamModel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    name = Manifest.read(arguments.bundle).model
    predictors = {
        "PyTorch": SamPredictor(SamModel.from_pretrained(name).eval(), cache_size=0),
        "PyTorch, fused": SamPredictor(SamModel.from_pretrained(name).fuse(), cache_size=0),
        "ONNX": OnnxPredictor(arguments.bundle, "fp32", threads=torch.get_num_threads(), cache_size=0),
    }
    image = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    click = np.array([[320.0, 240]]), np.array([1])
    times: dict[str, list[tuple[float, float]]] = {key: [] for key in predictors}
    for _ in range(arguments.rounds + 1):
        for key, predictor in predictors.items():
            start = time.perf_counter()
            predictor.set_image(image)
            encoded = time.perf_counter()
            predictor.predict_low_res(*click)
            times[key].append((encoded - start, time.perf_counter() - encoded))
    total = {}
    for key, rounds in times.items():
        encode, clicked = (1000 * median(r[i] for r in rounds[1:]) for i in (0, 1))
        total[key] = 1000 * median(sum(r) for r in rounds[1:])
        print(f"{key:16} photo {encode:7.1f} ms   first click {clicked:7.1f} ms   both {total[key]:7.1f} ms")
    for key in ("PyTorch", "PyTorch, fused"):
        print(f"ONNX is {total[key] / total['ONNX']:.2f} x as fast as {key}")


if __name__ == "__main__":
    main()
