"""Model cards: the README.md of a folder that is shared."""

from pathlib import Path

from .zoo import Variant

CONVERTED = """\
---
{licence}library_name: sam-hub
pipeline_tag: mask-generation
tags: [segment-anything, sam, sam-hub]
---

# {title}

Converted by sam-hub from `{source}`; the weights are its authors', unchanged.{good_for}

```python
from sam_hub import SamModel, SamPredictor

predictor = SamPredictor(SamModel.from_pretrained("this folder"))
```
"""


def conversion_card(source: str, variant: Variant | None) -> str:
    """The card of a converted checkpoint: what it is, whose it is, how to load it."""
    title = Path(source).stem
    if variant is None:
        return CONVERTED.format(licence="", title=title, source=title, good_for=" Mind their licence.")
    return CONVERTED.format(
        licence=f"license: {variant.license}\n" if variant.commercial_use else "license: other\n",
        title=title,
        source="/".join(filter(None, (variant.repo, variant.file))) or title,
        good_for=f" Licence: {variant.license}. Good for: {variant.good_for}.",
    )
