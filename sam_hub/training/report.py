"""Report of a fine-tuning run: a table of the scores before and after, and the model card."""

from typing import Any

from .. import __version__
from ..zoo import Variant

SHOWN = {
    "click_1": "1 click",
    "click_1_oracle": "1 click, best of three",
    "click_3": "3 clicks",
    "click_5": "5 clicks",
    "box": "box",
}

CARD = """\
---
license: {licence}
library_name: sam-hub
pipeline_tag: mask-generation
tags: [segment-anything, sam, sam-hub, interactive-segmentation]
---

# {title}

{how} `{base}` on {train} images ({objects} objects) of `{data}` by `{command}` of sam-hub {version}.

```python
from sam_hub import SamModel, SamPredictor

predictor = SamPredictor(SamModel.from_pretrained("this folder"))
predictor.set_image("photo.jpg")
masks, scores, low_res = predictor.predict(box=(40, 20, 360, 480), multimask_output=False)
```

## Scores

Mean IoU on {images} images ({val_objects} objects) that were held out of training{chosen}.

{table}

![loss](loss.png)

## Training

{details}

The base model's own licence{of_base} and the terms of the images go on to hold for this one. Elsewhere than on images
like these it may be worse than its base.
"""


def comparison(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Title, value before and value after, for every measured score."""
    return [(title, before[key], after[key]) for key, title in SHOWN.items() if before.get(key) is not None]


def comparison_table(before: dict[str, Any], after: dict[str, Any]) -> str:
    """`comparison` as Markdown."""
    rows = [f"| {title} | {a:.3f} | {b:.3f} |" for title, a, b in comparison(before, after)]
    return "\n".join(["| prompt | before | after |", "|---|---:|---:|", *rows])


def model_card(
    title: str,
    base: str,
    variant: Variant | None,
    data: str,
    counts: dict[str, int],
    before: dict[str, Any],
    after: dict[str, Any],
    details: list[str],
    command: str = "sam-hub train",
    how: str = "Fine-tuned from",
    chosen: bool = True,
) -> str:
    """The card of a result, ready for `sam-hub push`.

    counts: "train" images and "objects"; before, after: of `Validator`; details: sentences on the run
    chosen: whether these images also selected the best checkpoint, which makes the score slightly optimistic
    """
    return CARD.format(
        licence=variant.license if variant and variant.commercial_use else "other",
        title=title,
        how=how,
        base=base,
        data=data,
        train=counts["train"],
        objects=counts["objects"],
        command=command,
        version=__version__,
        images=after["images"],
        val_objects=after["objects"],
        chosen="; the best of the run's checkpoints was picked by them, which flatters it a little" if chosen else "",
        table=comparison_table(before, after),
        details="\n".join(f"- {line}" for line in details),
        of_base=f" ({variant.license})" if variant else "",
    )
