"""Writes model cards, the README.md of a shared folder, from known facts only.

A card is front matter and sections. Existing sections belong to the author and are kept; `complete` adds missing ones.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .families.registry import PAPERS
from .installing import PUBLISHED, install_command
from .zoo import ZOO, Variant

NO_REMOTE_CODE = (
    "This architecture is not part of `transformers`, and the repository contains no code for `trust_remote_code`: "
    "install `sam-hub` and import it, which registers its classes with the Auto classes."
)

COMPARED = "Each file was compared with the model on photos at export (`export.json`)"

SCORES = {
    "click_1": "1 click",
    "click_1_oracle": "best of 3",
    "click_3": "3 clicks",
    "click_5": "5 clicks",
    "box": "box",
    "grabcut": "GrabCut",
    "ellipse": "ellipse",
}
"""Columns of the score table: name in the report of `sam-hub eval` -> title."""


@dataclass(frozen=True)
class Subject:
    """The known facts of a card's model.

    repo: source for loading: a repository, or "this folder"
    base: catalogue name, repository or file of the weights, or of those that they were made from
    native: whether ``transformers`` runs the folder without sam-hub, with the same result
    prompts: kinds that the model takes, of `sam_hub.models.configuration_sam.PROMPT_KINDS`
    client: the ``model_type`` that transformers.js needs for the exported files
    reports: as written by ``sam-hub eval --out``
    latency: measured rows {"what", "milliseconds", "machine"}
    bundles: contents of ``export.json`` files; an artefact's ``place``, "browser" or "phone", selects its section
    """

    repo: str
    base: str | None
    native: bool
    parameters: int | None
    image_size: int
    prompts: Sequence[str]
    one_mask: bool = False
    client: str = "sam"
    reports: Sequence[Mapping[str, Any]] = ()
    latency: Sequence[Mapping[str, Any]] = ()
    bundles: Sequence[Mapping[str, Any]] = ()

    @property
    def variant(self) -> Variant | None:
        """The catalogue entry of the base."""
        return ZOO.get(self.base or "")


def model_card(subject: Subject) -> str:
    """The complete card, in Markdown."""
    title = subject.repo.split("/")[-1] if subject.repo != "this folder" else subject.base or "Segment Anything"
    parts = [_front_matter(subject), f"# {title}", _introduction(subject)]
    parts += [f"## {name}\n\n{text}" for name, text in _sections(subject).items() if text]
    return "\n\n".join(parts) + "\n"


def complete(card: str, subject: Subject) -> str:
    """Add missing front matter and sections to a card, without changing existing text."""
    generated = model_card(subject)
    if not card.startswith("---\n"):
        card = f"{_front_matter(subject)}\n\n{card.lstrip()}"
    there = {_key(heading) for heading in re.findall(r"^## (.+)$", card, re.MULTILINE)}
    missing = [
        section.strip()
        for section in re.split(r"^(?=## )", generated, flags=re.MULTILINE)[1:]
        if _key(section[3:].partition("\n")[0]) not in there
    ]
    return "\n\n".join([card.rstrip(), *missing]) + "\n"


def added_sections(card: str, subject: Subject) -> list[str]:
    """The headings that `complete` adds."""
    before = re.findall(r"^## (.+)$", card, re.MULTILINE)
    return [name for name in re.findall(r"^## (.+)$", complete(card, subject), re.MULTILINE) if name not in before]


def _key(heading: str) -> str:
    return heading.strip().lower()


def _front_matter(subject: Subject) -> str:
    variant = subject.variant
    lines = []
    if variant and variant.license == "see source":
        lines += ["license: other", "license_name: see-source"]
    elif variant and (variant.gated or not variant.commercial_use):
        lines += ["license: other", f"license_name: {variant.license}"]
    elif variant:
        lines.append(f"license: {variant.license}")
    lines.append(f"library_name: {'transformers' if subject.native else 'sam-hub'}")
    lines.append("pipeline_tag: mask-generation")
    base = variant.repo if variant else subject.base if subject.base and subject.base.count("/") == 1 else ""
    if base and base != subject.repo:
        lines.append(f"base_model: {base}")
    tags = ["segment-anything", "sam", "sam-hub", "image-segmentation"]
    tags += sorted({artefact["format"] for bundle in subject.bundles for artefact in bundle["artefacts"]})
    lines.append(f"tags: [{', '.join(tags)}]")
    return "\n".join(["---", *lines, "---"])


def _introduction(subject: Subject) -> str:
    variant = subject.variant
    text = "A promptable segmentation model of the Segment Anything family: clicks and boxes in, masks out."
    if variant:
        source = " / ".join(filter(None, (variant.repo, variant.file))) or variant.url
        origin = f", published as `{source}`" if source else ""
        text += f" Made from `{subject.base}`{origin}: {variant.good_for}."
    elif subject.base:
        text += f" Made from `{subject.base}`."
    count = f"{subject.parameters / 1e6:.1f} M parameters, " if subject.parameters else ""
    return f"{text} {count}input {subject.image_size} x {subject.image_size} pixels."


def _sections(subject: Subject) -> dict[str, str]:
    return {
        "Use in Python": _in_python(subject),
        "Use with transformers": _with_transformers(subject),
        "Use in a browser": _in_a_browser(subject),
        "Use on a phone": _on_a_phone(subject),
        "Scores": _scores(subject),
        "Latency": _latency(subject),
        "Limits": _limits(subject),
        "Licence": _licence(subject),
        "Source": _source(subject),
    }


def _prompt(subject: Subject) -> str:
    """A prompt that the model takes."""
    return (
        "point_coords=np.array([[320, 240]]), point_labels=np.array([1])"
        if "points" in subject.prompts
        else ("box=np.array([40, 20, 360, 300])")
    )


def _in_python(subject: Subject) -> str:
    return f"""\
```bash
{install_command()}{"" if PUBLISHED else "  # in a checkout of sam-hub"}
```

```python
import numpy as np
from sam_hub import SamModel, SamPredictor

predictor = SamPredictor(SamModel.from_pretrained("{subject.repo}"))
predictor.set_image("photo.jpg")
masks, scores, low_res = predictor.predict({_prompt(subject)})
```

In a shell: `sam-hub segment photo.jpg --model {_shell(subject.repo)} --box 40,20,360,300`."""


def _shell(repo: str) -> str:
    return repo if " " not in repo else "FOLDER"


def _with_transformers(subject: Subject) -> str:
    automatic = "points" in subject.prompts
    pipe = f"""
generator = pipeline("mask-generation", model="{subject.repo}")
masks = generator("photo.jpg")["masks"]
"""
    if subject.native:
        return f"""\
`transformers` reads this repository by itself:

```python
from transformers import AutoModelForMaskGeneration, AutoProcessor

model = AutoModelForMaskGeneration.from_pretrained("{subject.repo}")
processor = AutoProcessor.from_pretrained("{subject.repo}")
```

Its pipeline `mask-generation` needs torchvision, unless `sam_hub` is imported first."""
    return f"""\
{NO_REMOTE_CODE}

```python
import sam_hub  # tells transformers about the architecture
from transformers import AutoModelForMaskGeneration, AutoProcessor{", pipeline" if automatic else ""}

model = AutoModelForMaskGeneration.from_pretrained("{subject.repo}")
processor = AutoProcessor.from_pretrained("{subject.repo}")
{pipe if automatic else ""}```"""


def _artefacts(subject: Subject, place: str) -> list[Mapping[str, Any]]:
    return [a for bundle in subject.bundles for a in bundle["artefacts"] if a.get("place", "phone") == place]


def _table_of(artefacts: Sequence[Mapping[str, Any]]) -> str:
    rows = ["| format | variant | layout | files | MB |", "|---|---|---|---|---:|"]
    for a in artefacts:
        files = ", ".join(f"`{record['path']}`" for record in a["files"])
        size = sum(record.get("bytes") or 0 for record in a["files"]) / 1e6
        rows.append(f"| {a['format']} | {a['variant']} | {a.get('layout') or ''} | {files} | {size:.1f} |")
    return "\n".join(rows)


def _in_a_browser(subject: Subject) -> str:
    found = _artefacts(subject, "browser")
    if not found:
        return (
            "There are no files for browsers yet; `sam-hub export` writes them and `sam-hub push` uploads them. "
            "transformers.js reads `preprocessor_config.json` unchanged."
        )
    text = f"{COMPARED}:\n\n{_table_of(found)}"
    if any("transformers" in (a.get("layout") or "") for a in found):
        kind = f"{subject.client.capitalize()}Model"
        text += f"""

```js
import {{ {kind}, AutoProcessor, RawImage }} from "@huggingface/transformers";

const model = await {kind}.from_pretrained("{subject.repo}");
const processor = await AutoProcessor.from_pretrained("{subject.repo}");
const image = await RawImage.read("photo.jpg");
const inputs = await processor(image, {{ input_points: [[[320, 240]]] }});
const outputs = await model(inputs);
```"""
    return text


def _on_a_phone(subject: Subject) -> str:
    found = _artefacts(subject, "phone")
    if not found:
        return "There are no files for phones yet; `sam-hub export` writes them and `sam-hub push` uploads them."
    return f"{COMPARED}:\n\n{_table_of(found)}"


def _scores(subject: Subject) -> str:
    variant = subject.variant
    texts = []
    for report in subject.reports:
        if "rows" in report:
            texts.append(_zero_shot(report))
            continue
        shown = [name for name in SCORES if any(row.get(name) is not None for row in report["shards"])]
        lines = [
            f"| photos | objects | {' | '.join(SCORES[name] for name in shown)} |",
            f"|---|---:|{'---:|' * len(shown)}",
        ]
        mean = {"name": "mean", "objects": "", **report["mean"]} if report.get("mean") else None
        for row in [*report["shards"], *filter(None, [mean])]:
            cells = ["" if row.get(name) is None else f"{row[name]:.3f}" for name in shown]
            lines.append(f"| {row['name']} | {row['objects']} | {' | '.join(cells)} |")
        texts.append(f"Mean IoU, measured with `sam-hub eval` {report['sam_hub']}:\n\n" + "\n".join(lines))
    if variant and variant.published:
        rows = "\n".join(f"- {name}: {value}" for name, value in variant.published.items())
        texts.append(f"Published by the authors of the original weights, not measured here:\n\n{rows}")
    return "\n\n".join(texts) or "Not measured for this upload; `sam-hub eval` measures them on annotated photos."


def _zero_shot(report: Mapping[str, Any]) -> str:
    """A table of `sam-hub eval --task`, with the columns that were measured."""
    titles, rows = report["titles"], report["rows"]
    shown = [name for name in titles if any(row.get(name) is not None for row in rows)]
    lines = ["| " + " | ".join(titles[name] for name in shown) + " |", "|---|" + "---:|" * (len(shown) - 1)]
    for row in rows:
        cells = [f"{row[n]:.3f}" if isinstance(row.get(n), float) else str(row.get(n, "")) for n in shown]
        lines.append("| " + " | ".join(cells) + " |")
    how = f"measured with `sam-hub eval --task {report['task']}` {report['sam_hub']} on {report['images']} images"
    return f"{report['title']}, {how}:\n\n" + "\n".join(lines)


def _latency(subject: Subject) -> str:
    if not subject.latency:
        return ""
    lines = ["| what | median, ms | machine |", "|---|---:|---|"]
    lines += [f"| {row['what']} | {row['milliseconds']:.1f} | {row['machine']} |" for row in subject.latency]
    return "\n".join(lines)


def _limits(subject: Subject) -> str:
    kinds = {"points": "clicks", "background points": "background clicks", "boxes": "boxes", "masks": "rough masks"}
    able = [word for kind, word in kinds.items() if kind in subject.prompts]
    unable = [word for kind, word in kinds.items() if kind not in subject.prompts]
    lines = [f"Understands {', '.join(able)}" + (f"; refuses {', '.join(unable)}." if unable else ".")]
    if subject.one_mask:
        lines.append("Gives one mask per prompt, even for an ambiguous one.")
    lines.append("Finds objects and does not name them; text prompts are not supported.")
    variant = subject.variant
    if variant and not variant.commercial_use:
        lines.append(f"Not for commercial use ({variant.license}).")
    return "\n".join(f"- {line}" for line in lines)


def _licence(subject: Subject) -> str:
    variant = subject.variant
    if variant is None:
        return "Not stated. Check the licence of the original weights."
    if variant.license == "see source":
        return f"See the authors' page: {variant.url or variant.repo}."
    return f"{variant.license}, the licence of the original weights" + (
        "." if variant.commercial_use else ": commercial use is not allowed."
    )


def _source(subject: Subject) -> str:
    variant = subject.variant
    papers = [] if variant is None else [PAPERS[key] for key in PAPERS if (subject.base or "").startswith(key)][-1:]
    if variant and not papers and variant.family in PAPERS:
        papers = [PAPERS[variant.family]]
    if PAPERS["sam"] not in papers:
        papers.append(PAPERS["sam"])
    return "\n".join(f"- {paper}" for paper in papers)
