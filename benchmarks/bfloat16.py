"""`precision="fast"` against full precision: masks of random encoders with `pocket`'s decoder, and time.

    python benchmarks/bfloat16.py [NAME ...]      by default sam-vit-b, mobile-sam and sam2.1-hiera-tiny

Hardware without bfloat16 emulates it: the masks are the same, and no time is shown.
"""

import argparse
from pathlib import Path
from statistics import median
from time import perf_counter
from unittest.mock import patch

import numpy as np
import torch
from everything_parity import random_model

from sam_hub.inference import precision
from sam_hub.inference.predictor import SamPredictor

PHOTO = Path(__file__).parents[1] / "examples" / "cat.jpg"
CLICKS, TURNS = 24, 3


def masks_of(predictor: SamPredictor, clicks: np.ndarray) -> np.ndarray:
    """Three masks for each click: (N, h, w) bool, at the network's resolution."""
    with torch.no_grad():
        points = torch.from_numpy(clicks)[:, None]
        labels = torch.ones(points.shape[:2], dtype=torch.long)
        low, _ = predictor.backend.hold(predictor.encoded)(points, labels, None, None, True)
    return low.flatten(0, 1).numpy() > 0


def compare(name: str) -> None:
    """Print the IoU of both precisions' masks, and their times where the hardware has bfloat16."""
    model = random_model(name)
    real = precision.has_bfloat16(model.device)
    predictors = [SamPredictor(model, cache_size=0, precision=kind) for kind in ("full", "fast")]
    times: list[list[float]] = [[], []]
    with patch.object(precision, "has_bfloat16", lambda device: True):
        for _ in range(TURNS if real else 1):
            for predictor, taken in zip(predictors, times, strict=True):
                start = perf_counter()
                predictor.set_image(PHOTO)
                taken.append(perf_counter() - start)
        clicks = np.random.default_rng(0).random((CLICKS, 2)) * np.array(predictors[0].input_size[::-1])
        full, fast = (masks_of(predictor, clicks.astype(np.float32)) for predictor in predictors)
    either = (full | fast).sum((-1, -2))
    iou = np.where(either, (full & fast).sum((-1, -2)) / np.maximum(either, 1), 1)
    words = f"{name}: mask IoU {iou.mean():.4f}, worst {iou.min():.4f}, of {len(iou)} masks"
    if real:
        words += f"; encoding {median(times[0]):.2f} s, in bfloat16 {median(times[1]):.2f} s"
    print(words, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=["sam-vit-b", "mobile-sam", "sam2.1-hiera-tiny"])
    for name in parser.parse_args().names:
        compare(name)
