"""How much exported Core ML and ExecuTorch files lose against PyTorch in fp32, on real photos and prompts.

    python benchmarks/on_device.py BUNDLE VAL_SHARD... [--prompts 240] [--out report.json]

The photos, prompts and targets are those of ``exported.py``, which does the same for ONNX. Masks are compared at the
resolution of the model's input, and with the ground truth at that of the photo. Core ML files are evaluated from the
saved packages where there is no macOS.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from exported import TARGETS, prompts_of, sampled
from sam_hub.exporters.coreml_runner import NOT_ON_DEVICE
from sam_hub.exporters.formats import FORMATS
from sam_hub.exporters.gate import mask_ious, selected
from sam_hub.exporters.manifest import Manifest
from sam_hub.exporters.proof import Prompt, answer, encode

from sam_hub.evaluation.metrics import mask_iou
from sam_hub.models.image_processing_sam import SamImageProcessor
from sam_hub.models.modeling_sam import SamModel
from sam_hub.ops.geometry import scale_points
from sam_hub.ops.preparation import Preparation, Prepared

LIMITS = {**TARGETS, "p6": {"mean": 0.97}, "p4": {"mean": 0.97}}


def in_frame(image: Prepared, kind: str, given: dict) -> Prompt:
    """A prompt of ``exported.py``, as a file takes it."""
    xy = [given["point_coords"]] if "point_coords" in given else []
    labels = list(given.get("point_labels", ()))
    if "box" in given:
        xy.append(given["box"].reshape(2, 2))
        labels += [2, 3]
    points = scale_points(np.concatenate(xy), image.original_size, image.frame_size).astype(np.float32)
    return Prompt(kind, points, np.array(labels, np.int64))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("shards", type=Path, nargs="+")
    parser.add_argument("--prompts", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()

    manifest = Manifest.read(arguments.bundle)
    model = SamModel.from_pretrained(manifest.model).eval().fuse()
    processor = SamImageProcessor.from_pretrained(manifest.model)
    prepare = Preparation.from_settings(processor.to_dict())
    artefacts = {a.name: a for a in manifest.artefacts if a.format in ("coreml", "executorch")}
    runners = {n: FORMATS[a.format].open_runner(arguments.bundle, a) for n, a in artefacts.items()}
    alike: dict[str, list[float]] = {name: [] for name in runners}
    truth: dict[str, list[float]] = {name: [] for name in ("PyTorch", *runners)}
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
            best = 1 + int(expected.scores[1:].argmax()) if kind == "click" else 0
            truth["PyTorch"].append(float(mask_iou(drawn(expected.low_res[best], image), mask)))
            for name, runner in runners.items():
                found = runner.decode(theirs[name], prompt)
                at = best - (selected(expected, "single").low_res.shape[0] if runner.masks == "multi" else 0)
                if at < 0:  # this file has no single mask: the best of the three stands for it, as in the model
                    at = int(found.scores.argmax())
                pair = found.low_res[at][None], expected.low_res[best][None]
                alike[name].append(float(mask_ious(*pair, prepare.padded_frame, image.frame_size)[0]))
                truth[name].append(float(mask_iou(drawn(found.low_res[at], image), mask)))
        print(f"\r{len(truth['PyTorch'])} prompts", end="", file=sys.stderr)
    print(file=sys.stderr)

    miou = {name: 100 * float(np.mean(values)) for name, values in truth.items()}
    report = {"model": manifest.model, "prompts": len(truth["PyTorch"]), "miou": miou, "variants": {}}
    print(f"{len(truth['PyTorch'])} prompts; mIoU of PyTorch fp32 to the ground truth {miou['PyTorch']:.2f}")
    print(f"{'file':18}{'MB':>7}{'IoU mean':>10}{'worst':>9}{'mIoU':>8}{'drop':>7}  targets")
    for name, artefact in artefacts.items():
        row = {
            "mb": sum(record.bytes for record in artefact.files) / 1e6,
            "mean": float(np.mean(alike[name])),
            "worst": float(np.min(alike[name])),
            "drop": miou["PyTorch"] - miou[name],
        }
        limits = LIMITS.get(artefact.variant, {})
        missed = [
            f"{what} {limit}"
            for what, limit in limits.items()
            if not (row[what] < limit if what == "drop" else row[what] >= limit)
        ]
        report["variants"][name] = row | {"missed": missed, "on_device": NOT_ON_DEVICE not in artefact.runtime}
        verdict = f"misses {', '.join(missed)}" if missed else "met"
        numbers = f"{row['mb']:7.2f}{row['mean']:10.5f}{row['worst']:9.4f}{miou[name]:8.2f}{row['drop']:7.2f}"
        print(f"{name:18}{numbers}  {verdict}")
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
