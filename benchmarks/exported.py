"""Accuracy of exported files relative to PyTorch in fp32, on real photos and prompts.

    OMP_NUM_THREADS=1 python benchmarks/exported.py BUNDLE VAL_SHARD... [--prompts 240] [--out report.json]

For each file of the bundle: mask IoU to PyTorch fp32 (mean, worst) at the resolution of the model's input, the mean IoU
with the ground truth (and its drop, in points) at that of the photo, and the size of all its parts. Prompts are sampled
from the annotated objects: one click in the middle of the object, its box, box and click, three clicks, and box with
the mask of the click. The compared mask is the one a user gets: for one click, the best of three by predicted IoU, else
the single one. PyTorch's scores choose among the three, so that ties do not count against the file; ``other`` is the
number of clicks for which the file's own scores choose differently. Without macOS, Core ML packages are run by an
evaluator.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from sam_hub.exporters.formats import FORMATS
from sam_hub.exporters.gate import NOT_ON_DEVICE, mask_ious
from sam_hub.exporters.manifest import Manifest
from sam_hub.exporters.proof import Answer, Prompt, answer, encode

from sam_hub.data.sa1b import Sa1bDataset
from sam_hub.evaluation.metrics import mask_iou
from sam_hub.models.image_processing_sam import SamImageProcessor
from sam_hub.models.modeling_sam import SamModel
from sam_hub.ops.geometry import scale_points
from sam_hub.ops.preparation import Preparation, Prepared

KINDS = ("click", "box", "box and click", "three clicks", "box and mask")
TARGETS = {
    "fp32": {"mean": 0.9999, "worst": 0.999},
    "fp16": {"mean": 0.998, "worst": 0.98, "drop": 0.5},
    "int8": {"mean": 0.985, "drop": 1.5},
    "q4": {"mean": 0.97},
    "q4f16": {"mean": 0.97},
    "mixed": {"mean": 0.985},
    "mixed4": {"mean": 0.97},
    "p6": {"mean": 0.97},
    "p4": {"mean": 0.97},
}
"""Variant -> minimum IoU to PyTorch, and maximum drop of the mean IoU with the ground truth, in points."""


def middle(mask: np.ndarray) -> np.ndarray:
    """The pixel farthest from the outline, (2,) x, y."""
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
    """Photos with (mask, kind of prompt), spread evenly over the shards, five prompts per photo."""
    rng = np.random.default_rng(seed)
    photos = max(1, count // (len(KINDS) * len(shards)))
    for shard in shards:
        dataset = Sa1bDataset(shard)
        for i in rng.permutation(len(dataset))[:photos]:
            sample = dataset[int(i)]
            large = [j for j, a in enumerate(sample.annotations) if a["area"] >= 100]
            if large:
                yield sample.image, [(sample.mask(large[int(rng.integers(len(large)))]), kind) for kind in KINDS]


def in_frame(image: Prepared, kind: str, given: dict) -> Prompt:
    """Convert a prompt in pixels of the photo to a file's input."""
    xy = [given["point_coords"]] if "point_coords" in given else []
    labels = list(given.get("point_labels", ()))
    if "box" in given:
        xy.append(given["box"].reshape(2, 2))
        labels += [2, 3]
    points = scale_points(np.concatenate(xy), image.original_size, image.frame_size).astype(np.float32)
    return Prompt(kind, points, np.array(labels, np.int64))


def best_of_three(found: Answer) -> int:
    """Index of a click's best mask; the three follow the single one if a file has that."""
    first = len(found.scores) - 3
    return first + int(found.scores[first:].argmax())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("shards", type=Path, nargs="+")
    parser.add_argument("--prompts", type=int, default=240)
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=list(FORMATS))
    parser.add_argument("--variants", nargs="+", help="all of the bundle by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()

    manifest = Manifest.read(arguments.bundle)
    model = SamModel.from_pretrained(manifest.model).eval().fuse()
    processor = SamImageProcessor.from_pretrained(manifest.model)
    prepare = Preparation.from_settings(processor.to_dict())
    there = [a for a in manifest.artefacts if a.format in arguments.formats and a.layout != "meta"]
    artefacts = {a.name.partition(" (")[0]: a for a in there if a.variant in (arguments.variants or [a.variant])}
    runners = {n: FORMATS[a.format].open_runner(arguments.bundle, a) for n, a in artefacts.items()}
    alike: dict[str, list[float]] = {name: [] for name in runners}
    truth: dict[str, list[float]] = {name: [] for name in ("PyTorch", *runners)}
    other = dict.fromkeys(runners, 0)
    rng = np.random.default_rng(arguments.seed + 1)

    def drawn(low_res: np.ndarray, image: Prepared) -> np.ndarray:
        """One mask, (H, W) bool, of the photo."""
        masks = torch.from_numpy(low_res[None, None, None])
        return processor.post_process_masks(masks, [image.original_size], [image.frame_size])[0][0, 0].numpy()

    for pixels, objects in sampled(arguments.shards, arguments.prompts, arguments.seed):
        image = prepare(pixels)
        embedded = encode(model, image)
        theirs = {name: runner.encode(image) for name, runner in runners.items()}
        for mask, kind in objects:
            prompt = in_frame(image, kind, prompts_of(mask, kind, rng))
            if kind == "box and mask":
                rough = answer(model, embedded, in_frame(image, "click", prompts_of(mask, "click", rng)))
                prompt = Prompt(kind, prompt.points, prompt.labels, rough.low_res[None, 1:2])
            expected = answer(model, embedded, prompt)
            best = best_of_three(expected) if kind == "click" or len(expected.scores) == 3 else 0
            truth["PyTorch"].append(float(mask_iou(drawn(expected.low_res[best], image), mask)))
            for name, runner in runners.items():
                found = runner.decode(theirs[name], prompt)
                pair = found.low_res[best][None], expected.low_res[best][None]
                alike[name].append(float(mask_ious(*pair, prepare.padded_frame, image.frame_size)[0]))
                truth[name].append(float(mask_iou(drawn(found.low_res[best], image), mask)))
                other[name] += kind == "click" and best_of_three(found) != best
        print(f"\r{len(truth['PyTorch'])} prompts", end="", file=sys.stderr)
    print(file=sys.stderr)

    miou = {name: 100 * float(np.mean(values)) for name, values in truth.items()}
    report = {"model": manifest.model, "prompts": len(truth["PyTorch"]), "miou": miou, "variants": {}}
    print(f"{len(truth['PyTorch'])} prompts; mIoU of PyTorch fp32 to the ground truth {miou['PyTorch']:.2f}")
    print(f"{'file':18}{'MB':>7}{'IoU mean':>10}{'worst':>9}{'mIoU':>8}{'drop':>7}{'other':>7}  targets")
    for name, artefact in artefacts.items():
        row = {
            "mb": sum(record.bytes for record in artefact.files) / 1e6,
            "mean": float(np.mean(alike[name])),
            "worst": float(np.min(alike[name])),
            "drop": miou["PyTorch"] - miou[name],
            "other": int(other[name]),
        }
        limits = TARGETS.get(artefact.variant, {})
        missed = [
            f"{what} {limit}"
            for what, limit in limits.items()
            if not (row[what] < limit if what == "drop" else row[what] >= limit)
        ]
        report["variants"][name] = row | {"missed": missed, "on_device": NOT_ON_DEVICE not in artefact.runtime}
        verdict = f"misses {', '.join(missed)}" if missed else ("met" if limits else "-")
        numbers = f"{row['mb']:7.2f}{row['mean']:10.5f}{row['worst']:9.4f}{miou[name]:8.2f}{row['drop']:7.2f}"
        print(f"{name:18}{numbers}{row['other']:7}  {verdict}")
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
