"""Put a trained `pocket` into the package: half precision, configuration, processor, model card with its scores.

``python -m sam_hub.training.embed CHECKPOINT --scores scores.json --out sam_hub/assets/pocket``; the scores are the
output of ``sam-hub eval --out`` for the same weights. Several checkpoints are averaged, each with the same weight
("Model soups", Wortsman et al. 2022): runs that began at the same weights lie in one valley of the loss.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers.utils import SAFE_WEIGHTS_NAME

from ..errors import SamHubError
from ..models.configuration_sam import SamConfig
from ..models.modeling_sam import SamModel
from ..models.processing_sam import SamProcessor
from ..zoo import ZOO
from .trainer import EMA_FILE, draw_loss_curve

CARD = """\
---
license: apache-2.0
library_name: sam-hub
pipeline_tag: mask-generation
tags: [segment-anything, sam, sam-hub, interactive-segmentation, on-device]
---

# pocket

A small Segment Anything model bundled with the Python package `sam-hub`: it works offline, without a download.
Encoder: EfficientNet-Lite0 and a three-level neck; prompt encoder: SAM's; mask decoder: SAM's, which
also reads the encoder's features at strides 8 and 4 while masks are upscaled, as SAM 2's does.
{params:.1f} M parameters, stored in half precision, input {size} x {size}.

**For better masks, use `facebook/sam-vit-huge` or another large model of the family** (`sam-hub zoo` lists them):
those were trained on a billion masks, this one on thirty-seven thousand.

```python
from sam_hub import SamModel, SamPredictor

predictor = SamPredictor(SamModel.from_pretrained("pocket"))
predictor.set_image("photo.jpg")
masks, scores, low_res = predictor.predict(box=(40, 20, 360, 480), multimask_output=False)
```

## Training

Encoder weights from ImageNet (EfficientNet-Lite0, Apache-2.0); everything else from scratch, with the interactive
recipe of "Segment Anything" (appendix A) with fewer rounds, in `sam_hub/training`: {history}.

| data | photos / objects | origin and terms |
|---|---|---|
| coco | 712 / 712 | COCO val 2017; annotations CC-BY 4.0, photos under their Flickr licences |
| coco128 | 112 / 817 | COCO train 2017, as above |
| coco-multi | 244 / 2,203 | COCO 2017 subsets (COCO-MINI, COCO_Tiny, tiny_coco), as above |
| pantry | 178 / 1,357 | uj-staple-pantry, CC BY-SA 4.0 and CC BY 4.0 |
| animals | 97 / 262 | Applying-Mask-RCNN-in-endangered-animals-detection; annotations CC BY 4.0, repository MIT |
| mushrooms | 14 / 1,411 | SegMush, CC BY 4.0 |
| fashion | 900 / 11,250 | Clothing Co-Parsing, Apache-2.0 |
| cats | 500 / 2,055 | feral-cat-segmentation-dataset, MIT |
| nuclei | 500 / 15,817 | DSB 2018, CC0 |
| roads | 300 / 840 | Cracks-and-Potholes-in-Road-Images, MIT |

## Scores

Held-out photos of the same sources, and five sources not used in training (`zeroshot-*`: Penn-Fudan pedestrians,
Car-Parts-Segmentation, CamVid streets, tools in a bin (NCSU-ARLab-ICRA2025-RMGC), building facades; evaluation only).
{protocol}

{table}

GrabCut and the ellipse inscribed in the box are baselines that need no training and get the same box. {behind}

![loss](loss.png)

## Limits

- A single click is often ambiguous for it; a box, or a few more clicks, help more than with a large SAM.
- A box much larger than the object gives ragged masks; draw it tightly.
- A click on a part of an object, such as a car door, usually gives the whole object, and the predicted IoU does not
  show it; correct it with more clicks, or draw a box.
- It was trained on everyday photos, food, clothing, animals, road surfaces and stained nuclei. Expect less elsewhere.
- Thin parts (fingers, spokes, whiskers) are lost: its low-res masks are {low} x {low}.
- Everything mode gives far fewer and coarser masks than SAM ViT-H.
"""

COLUMNS = {
    "click_1": "1 click",
    "click_1_oracle": "oracle of 3",
    "click_3": "3 clicks",
    "click_5": "5 clicks",
    "box": "box",
    "grabcut": "GrabCut",
    "ellipse": "ellipse",
}


def scores_table(report: dict[str, Any]) -> str:
    """The scores of ``sam-hub eval --out`` as a Markdown table of mean IoU."""
    shown = [name for name in COLUMNS if any(row[name] is not None for row in report["shards"])]
    rows = [["shard", "objects", *(COLUMNS[name] for name in shown)], ["---"] + ["---:"] * (len(shown) + 1)]
    for row in report["shards"]:
        rows.append([row["name"], str(row["objects"]), *(f"{row[name]:.3f}" for name in shown)])
    if report["mean"]:
        rows.append(["mean without zeroshot", "", *(f"{report['mean'][name]:.3f}" for name in shown)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def pocket_card(report: dict[str, Any], history: str) -> str:
    """The model card of `pocket`, from its measured scores and one sentence on how it was trained."""
    protocol = report["protocol"]
    bound = f"at most {protocol['limit']} photos per shard and " if protocol["limit"] else ""
    text = (
        f"Mean IoU at the photo's size, {bound}at most {protocol['max_objects']} objects per photo "
        f"(seed {protocol['seed']})."
    )
    behind = [row["name"] for row in report["shards"] if row["box"] < max(row["ellipse"], row["grabcut"])]
    size = ZOO["pocket"].image_size
    return CARD.format(
        params=ZOO["pocket"].params / 1e6,
        size=size,
        low=size // 4,
        history=history,
        protocol=text,
        table=scores_table(report),
        behind=f"One of them still beats its box mask on: {', '.join(behind)}."
        if behind
        else "Its box mask beats both on every shard.",
    )


def join_histories(runs: list[Path]) -> list[dict[str, Any]]:
    """The logged rows of consecutive runs, with continuous step numbers."""
    rows: list[dict[str, Any]] = []
    for run in runs:
        done = rows[-1]["step"] if rows else 0
        for line in (run / "history.jsonl").read_text().splitlines():
            row = json.loads(line)
            rows.append({**row, "step": row["step"] + done})
    return rows


def mean_weights(folders: Sequence[Path]) -> dict[str, torch.Tensor]:
    """The mean of several models' weights, float32; counters (integers) are the first one's.

    folders: checkpoints of `train_pocket`, whose moving average is taken, or saved models
    raises: SamHubError if their weights differ in name or shape
    """
    sources = [f / EMA_FILE if (f / EMA_FILE).exists() else f / SAFE_WEIGHTS_NAME for f in folders]
    first, *others = found = [load_file(source) for source in sources]
    for folder, weights in zip(folders[1:], others, strict=True):
        if {name: v.shape for name, v in weights.items()} != {name: v.shape for name, v in first.items()}:
            raise SamHubError(f"the weights in {folder} differ in name or shape from those in {folders[0]}")
    return {
        name: torch.stack([weights[name].float() for weights in found]).mean(0) if v.is_floating_point() else v
        for name, v in first.items()
    }


def embed(checkpoints: Sequence[Path], out: Path, report: dict[str, Any], history: str, runs: list[Path]) -> None:
    """Write the mean of the checkpoints' weights as the folder of `pocket`.

    checkpoints: see `mean_weights`; out: ``sam_hub/assets/pocket``
    runs: output folders of the stages, in order, for the loss curve
    """
    model = SamModel(SamConfig(**ZOO["pocket"].config))
    model.load_state_dict(mean_weights(checkpoints))
    model.to(torch.float16).save_pretrained(out)
    SamProcessor.for_config(model.config).save_pretrained(out)
    (out / "README.md").write_text(pocket_card(report, history))
    draw_loss_curve(join_histories(runs), out / "loss.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoints", type=Path, nargs="+", metavar="CHECKPOINT")
    parser.add_argument("--scores", type=Path, required=True, help="output of `sam-hub eval --out`")
    parser.add_argument("--history", required=True, help="one sentence for the card: steps, sizes, hours, machine")
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="output folders of the stages, in order")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    embed(args.checkpoints, args.out, json.loads(args.scores.read_text()), args.history, args.runs)


if __name__ == "__main__":
    main()
