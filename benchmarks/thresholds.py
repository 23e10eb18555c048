"""Effect of everything mode's thresholds: masks per photo, and the share of annotated objects that is found.

    python benchmarks/thresholds.py ../shared/data/val/[!z]*.tar        # pocket; less than three minutes on two cores
    python benchmarks/thresholds.py data/*.tar --model mobile-sam --offset 1 --limit 8

Takes the same data as `sam-hub train --data`. Each photo is decoded once. Masks kept at a higher predicted-IoU
threshold are a subset of those at a lower one, because NMS starts with the best; so each stability threshold needs one
pass. An object is found if a mask has an IoU of at least 0.5 with it. Photos are only partly annotated, so unmatched
masks are not necessarily wrong, and precision cannot be measured. `THRESHOLDS` in `sam_hub/inference/thresholds.py`
holds the choice.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from sam_hub import SamAutomaticMaskGenerator
from sam_hub.annotation.settings import ENCODERS, THRESHOLDS
from sam_hub.data.discovery import open_dataset
from sam_hub.inference.opening import open_predictor
from sam_hub.inference.upsample import MaskFrame

IOU = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.88)
STABILITY = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
FOUND = 0.5
LARGEST = 0.95
"""As in SA-1B, masks that cover more of the photo than this are dropped as background."""


class Decoded:
    """A predictor that caches the first pass over a photo for the others."""

    def __init__(self, predictor: Any, lowest: float) -> None:
        self.predictor, self.lowest = predictor, lowest
        self.answers: list[tuple] = []

    @property
    def mask_frame(self) -> MaskFrame:
        return self.predictor.mask_frame

    def set_image(self, image: np.ndarray) -> None:
        self.predictor.set_image(image)
        self.next = 0

    def reset_image(self) -> None:
        """Keep the image: the next pass is over the same photo."""

    def click_each(self, points: np.ndarray, select: Callable[[np.ndarray], np.ndarray]) -> tuple:
        if self.next == len(self.answers):
            self.answers.append(self.predictor.click_each(points, lambda iou: iou > self.lowest))
        self.next += 1
        return self.answers[self.next - 1]


def passes(predictor: Any, image: np.ndarray, truth: list, args: argparse.Namespace) -> dict[tuple, tuple]:
    """(stability, predicted IoU) -> number of masks, and the best IoU for each object."""
    decoded = Decoded(predictor, min(IOU))
    found = {}
    for stability in STABILITY:
        records = SamAutomaticMaskGenerator(
            decoded,
            points_per_side=args.points,
            pred_iou_thresh=min(IOU),
            stability_score_thresh=stability,
            stability_score_offset=args.offset,
            max_mask_area_ratio=LARGEST,
            output_mode="coco_rle",
        ).generate(image)
        scores = np.array([record["predicted_iou"] for record in records])
        overlap = np.zeros((0, len(truth)))
        if records:
            overlap = coco_mask.iou([r["segmentation"] for r in records], truth, [0] * len(truth))
        for iou in IOU:
            kept = overlap[scores > iou]
            found[stability, iou] = len(kept), kept.max(axis=0) if len(kept) else np.zeros(len(truth))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--limit", type=int, default=2, help="photos of each data set")
    parser.add_argument("--points", type=int, default=16, help="clicks on each side of the grid")
    parser.add_argument("--offset", type=float, default=0.5, help="of the stability score, in logits")
    args = parser.parse_args()
    predictor = open_predictor(args.model)
    counts: dict[tuple, list[int]] = {}
    overlaps: dict[tuple, list[np.ndarray]] = {}
    for path in args.data:
        dataset = open_dataset(path)
        step = max(1, len(dataset) // args.limit)
        for index in range(0, min(step * args.limit, len(dataset)), step):
            sample = dataset[index]
            masks = [sample.mask(i) for i in range(len(sample.annotations))]
            truth = [coco_mask.encode(np.asfortranarray(mask.view(np.uint8))) for mask in masks if mask.any()]
            if not truth:
                continue
            print(f"{dataset.name}: {sample.name}", file=sys.stderr, flush=True)
            for key, (count, best) in passes(predictor, sample.image, truth, args).items():
                counts.setdefault(key, []).append(count)
                overlaps.setdefault(key, []).append(best)
    if not counts:
        parser.error("there is no annotated object in these photos")
    chosen = THRESHOLDS.get(ENCODERS.get(predictor.encoder_kind, ""), {})
    for (stability, iou), numbers in counts.items():
        best = np.concatenate(overlaps[stability, iou])
        row = {"stability_score_thresh": stability, "pred_iou_thresh": iou, "photos": len(numbers)}
        row |= {"masks": round(float(np.mean(numbers)), 1), "fewest": min(numbers), "most": max(numbers)}
        row |= {"objects": len(best), "found": round(float((best >= FOUND).mean()), 3)}
        row |= {"mean_iou": round(float(best.mean()), 3)}
        if chosen and chosen == {
            "pred_iou_thresh": iou,
            "stability_score_thresh": stability,
            "stability_score_offset": args.offset,
        }:
            row["chosen"] = True
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
