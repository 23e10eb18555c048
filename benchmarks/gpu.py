"""Everything mode on a GPU: photos per second of this build and of segment-anything-fast's settings, in one run.

    python benchmarks/gpu.py                              # SAM ViT-H's shape, 32 x 32 clicks: five minutes on a GPU
    python benchmarks/gpu.py --device cpu --model mobile-sam --input-size 128 --points 4 --no-compile --rounds 1

ours            encoder in float32, clicks by the fast decoder in float32
ours-bf16       encoder in bfloat16 and compiled, the fast decoder in float32
original        the original's generator in float32
fast            the original's generator as segment-anything-fast runs it: bfloat16, compiled, 1,024 clicks at once

The encoder has random weights, which are as fast as trained ones; prompt encoder and decoder are `pocket`'s. Contenders
take turns on each photo; the first round warms up and compiles. Prints a JSON row for each, with the share of the
original's masks that it matches at an IoU of 0.99, and peak memory on the GPU.
"""

import argparse
import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import original
import torch
from everything import Rle, matched, read
from everything_parity import RANDOM_THRESHOLDS, random_model
from torch import Tensor, nn

from sam_hub import SamAutomaticMaskGenerator, SamModel, SamPredictor
from sam_hub.models.encoders import EncoderOutput

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
FAST_BATCH = 1024
Run = Callable[[np.ndarray], list[Rle]]


class NarrowEncoder(nn.Module):
    """An encoder in bfloat16 with results in float32."""

    def __init__(self, encoder: nn.Module, compiles: bool) -> None:
        super().__init__()
        self.config, self.encoder = encoder.config, encoder.to(torch.bfloat16)
        self.run = torch.compile(self.encoder, mode="max-autotune") if compiles else self.encoder

    def forward(self, pixel_values: Tensor) -> EncoderOutput:
        found = self.run(pixel_values.to(torch.bfloat16))
        return EncoderOutput(found.embedding.float(), {name: x.float() for name, x in found.features.items()})


def ours(model: SamModel, points: int) -> Run:
    generator = SamAutomaticMaskGenerator(
        SamPredictor(model, cache_size=0), points, output_mode="coco_rle", **RANDOM_THRESHOLDS
    )
    return lambda image: [record["segmentation"] for record in generator.generate(image)]


def theirs(model: SamModel, points: int, narrow: bool, compiles: bool) -> Run:
    network = original.original_sam(model).to(model.device)
    if narrow and compiles:
        network.image_encoder = torch.compile(network.image_encoder, mode="max-autotune")
    generator = original.load().SamAutomaticMaskGenerator(
        network, points, FAST_BATCH if narrow else 64, output_mode="coco_rle", **RANDOM_THRESHOLDS
    )
    device, predict = model.device.type, generator.predictor.predict_torch

    def with_wide_scores(*given: Any, **named: Any) -> tuple[Tensor, ...]:
        masks, iou, low_res = predict(*given, **named)
        return masks, iou.float(), low_res  # NumPy has no bfloat16

    generator.predictor.predict_torch = with_wide_scores

    def run(image: np.ndarray) -> list[Rle]:
        with torch.autocast(device, torch.bfloat16) if narrow else nullcontext():
            return [record["segmentation"] for record in generator.generate(image)]

    return run


def contenders(args: argparse.Namespace) -> dict[str, Run]:
    def model() -> SamModel:
        return random_model(args.model, args.input_size).to(args.device)

    narrow = model()
    narrow.vision_encoder = NarrowEncoder(narrow.vision_encoder, args.compile)
    return {
        "ours": ours(model(), args.points),
        "ours-bf16": ours(narrow, args.points),
        "original": theirs(model(), args.points, False, False),
        "fast": theirs(model(), args.points, True, args.compile),
    }


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="sam-vit-h", help="whose shape to take")
    parser.add_argument("--input-size", type=int, help="side of the input, the model's own by default")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--points", type=int, default=32, help="clicks on each side of the grid")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--photos", type=Path, nargs="+", default=sorted(EXAMPLES.glob("*.jpg"))[:1])
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    args = parser.parse_args()
    on_gpu = args.device.startswith("cuda")
    if on_gpu and not torch.cuda.is_available():
        parser.error("there is no CUDA device here; try --device cpu with the small settings above")
    images = [read(path, None) for path in args.photos]
    runs = contenders(args)
    times: dict[str, list[float]] = {name: [] for name in runs}
    masks, peaks = {name: [run(image) for image in images] for name, run in runs.items()}, dict.fromkeys(runs, 0)
    for _ in range(args.rounds):
        for image in images:
            for name, run in runs.items():
                if on_gpu:
                    torch.cuda.reset_peak_memory_stats()
                start = time.perf_counter()
                run(image)  # its result is on the CPU, so the GPU has finished
                times[name].append(time.perf_counter() - start)
                if on_gpu:
                    peaks[name] = max(peaks[name], torch.cuda.max_memory_allocated())
    where = torch.cuda.get_device_name() if on_gpu else args.device
    print(json.dumps({"device": where, "torch": torch.__version__, "model": args.model, "clicks": args.points**2}))
    for name, taken in times.items():
        shares = [matched(a, b)[0] for a, b in zip(masks[name], masks["original"], strict=True)]
        row = {"contender": name, "photos_a_second": round(1 / median(taken), 3), "peak_mb": round(peaks[name] / 2**20)}
        row |= {"masks": [len(found) for found in masks[name]], "matched": [round(share, 4) for share in shares]}
        print(json.dumps({**row, "times_fast": round(median(times["fast"]) / median(taken), 2)}), flush=True)


if __name__ == "__main__":
    main()
