"""How much exported ONNX files lose against PyTorch in fp32, on real photos and prompts.

    python benchmarks/exported.py BUNDLE VAL_SHARD... [--prompts 240] [--out report.json]

For each variant of the bundle: mask IoU to PyTorch fp32 (mean, worst) and to the ground truth (mIoU, in points, and the
difference to PyTorch's), sizes of encoder and decoder. Prompts are drawn from the annotated objects: one click in the
middle of the object, its box, box and click, three clicks, and box with the mask of the click. The mask that counts is
the one that a person gets: of one click the best of three by predicted IoU, else the single one; which of the three is
PyTorch's choice, so that a tie does not count as a loss of the file.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from sam_hub.exporters.manifest import Manifest

from sam_hub.data.sa1b import Sa1bDataset
from sam_hub.evaluation.metrics import mask_iou
from sam_hub.inference.predictor import SamPredictor
from sam_hub.inference.runtime import OnnxPredictor
from sam_hub.models.modeling_sam import SamModel

KINDS = ("click", "box", "box and click", "three clicks", "box and mask")
TARGETS = {
    "fp32": {"mean": 0.9999, "worst": 0.999},
    "fp16": {"mean": 0.998, "worst": 0.98, "drop": 0.5},
    "int8": {"mean": 0.985, "drop": 1.5},
    "q4": {"mean": 0.97},
}


def middle(mask: np.ndarray) -> np.ndarray:
    """The pixel that is farthest from the outline, (2,) x, y."""
    distance = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.unravel_index(distance.argmax(), mask.shape)
    return np.array([x + 0.5, y + 0.5])


def prompts_of(mask: np.ndarray, kind: str, rng: np.random.Generator) -> dict:
    rows, columns = np.nonzero(mask)
    box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float64)
    inside = middle(mask)
    if kind == "click":
        return {"point_coords": inside[None], "point_labels": np.array([1])}
    if kind == "three clicks":
        more = rng.choice(len(rows), 2)
        xy = np.concatenate([inside[None], np.stack([columns[more], rows[more]], 1) + 0.5])
        return {"point_coords": xy, "point_labels": np.ones(3, int)}
    prompt = {"box": box}
    if kind == "box and click":
        prompt |= {"point_coords": inside[None], "point_labels": np.array([1])}
    return prompt


def sampled(shards: list[Path], count: int, seed: int) -> Iterator[tuple[np.ndarray, list[tuple[np.ndarray, str]]]]:
    """Photos with (mask, kind of prompt), spread evenly over the shards, five prompts a photo."""
    rng = np.random.default_rng(seed)
    photos = max(1, count // (len(KINDS) * len(shards)))
    for shard in shards:
        dataset = Sa1bDataset(shard)
        for i in rng.permutation(len(dataset))[:photos]:
            sample = dataset[int(i)]
            large = [j for j, a in enumerate(sample.annotations) if a["area"] >= 100]
            if large:
                yield sample.image, [(sample.mask(large[int(rng.integers(len(large)))]), kind) for kind in KINDS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("shards", type=Path, nargs="+")
    parser.add_argument("--prompts", type=int, default=240)
    parser.add_argument("--variants", nargs="+", help="all of the bundle by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()

    manifest = Manifest.read(arguments.bundle)
    torch_predictor = SamPredictor(SamModel.from_pretrained(manifest.model).eval())
    artefacts = [a for a in manifest.artefacts if a.format == "onnx" and a.layout == "transformersjs"]
    artefacts = [a for a in artefacts if a.variant in (arguments.variants or [a.variant])]
    predictors = {a.variant: OnnxPredictor(arguments.bundle, a.variant) for a in artefacts}
    sizes = {a.variant: sum(f.bytes for f in a.files) / 1e6 for a in artefacts}
    alike: dict[str, list[float]] = {name: [] for name in predictors}
    truth: dict[str, list[float]] = {name: [] for name in ("PyTorch", *predictors)}
    rng = np.random.default_rng(arguments.seed + 1)
    for image, objects in sampled(arguments.shards, arguments.prompts, arguments.seed):
        for predictor in (torch_predictor, *predictors.values()):
            predictor.set_image(image)
        for mask, kind in objects:
            prompt = prompts_of(mask, kind, rng)
            if kind == "box and mask":
                click = prompts_of(mask, "click", rng)
                _, low_res = torch_predictor.predict_low_res(**click)
                prompt["mask_input"] = low_res[:1]
            multimask = kind == "click"
            expected, scores, _ = torch_predictor.predict(**prompt, multimask_output=multimask)
            best = int(scores.argmax())
            truth["PyTorch"].append(float(mask_iou(expected[best], mask)))
            for name, predictor in predictors.items():
                found = predictor.predict(**prompt, multimask_output=multimask)[0][best]
                alike[name].append(float(mask_iou(found, expected[best])))
                truth[name].append(float(mask_iou(found, mask)))
        print(f"\r{len(truth['PyTorch'])} prompts", end="", file=sys.stderr)
    print(file=sys.stderr)

    report = {"model": manifest.model, "prompts": len(truth["PyTorch"]), "miou": {}, "variants": {}}
    report["miou"] = {name: 100 * float(np.mean(values)) for name, values in truth.items()}
    print(f"{'variant':14}{'MB':>7}{'IoU mean':>10}{'worst':>9}{'mIoU':>8}{'drop':>7}  targets")
    for name in predictors:
        row = {
            "mb": sizes[name],
            "mean": float(np.mean(alike[name])),
            "worst": float(np.min(alike[name])),
            "drop": report["miou"]["PyTorch"] - report["miou"][name],
        }
        missed = [
            f"{what} {limit}"
            for what, limit in TARGETS.get(name, {}).items()
            if not (row[what] < limit if what == "drop" else row[what] >= limit)
        ]
        report["variants"][name] = row | {"missed": missed}
        verdict = f"misses {', '.join(missed)}" if missed else ("met" if name in TARGETS else "-")
        print(
            f"{name:14}{row['mb']:7.2f}{row['mean']:10.5f}{row['worst']:9.4f}"
            f"{report['miou'][name]:8.2f}{row['drop']:7.2f}  {verdict}"
        )
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
