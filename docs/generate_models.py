"""Writes docs/models.md from what the families of the package declare: ``python docs/generate_models.py``.

A test compares the two.
"""

from pathlib import Path

from sam_hub.families.registry import built_in
from sam_hub.models.configuration_sam import SamConfig
from sam_hub.zoo import Variant

PAGE = Path(__file__).parent / "models.md"

FAMILIES = built_in()
MODELS = {name: variant for family in FAMILIES for name, variant in family.catalogue.items()}

INTRODUCTION = """\
# Models, and where their weights come from

<!-- Generated from sam_hub/families by docs/generate_models.py: do not edit. -->

The catalogue: what `SamModel.from_pretrained(NAME)`, `--model NAME` and `sam-hub pull NAME` download.

- **folder**: a repository in the layout of `transformers`, loaded from the Hub's cache without conversion.
- **original**: a checkpoint as published by its authors. It is downloaded on first use, checked against the sha256 of
  the catalogue and of the Hub where there is one, and converted once; the converted folder is kept in the assets of the
  Hub's cache, and the checkpoint is deleted. Code in a pickle is never run.
- **included**: inside the package.

The last column says whether `transformers` alone runs the model; the others load with its Auto classes after
`import sam_hub`. The revision is `main` unless one is given. Licences are the authors'."""

HEADER = """\
| name | parameters, M | good for | kind | source | file | sha256 | licence | `transformers` |
|---|---:|---|---|---|---|---|---|---|"""


def page() -> str:
    """The whole page."""
    rows = [_row(name, variant) for name, variant in MODELS.items()]
    aliases = ", ".join(f"`{alias}` is `{name}`" for family in FAMILIES for alias, name in family.aliases.items())
    repositories = sorted({variant.repo for variant in MODELS.values() if variant.repo}, key=str.lower)
    listed = "\n".join(f"- [{repo}](https://huggingface.co/{repo}): {_names(repo)}" for repo in repositories)
    families = ", ".join(f"`{family}`" for each in FAMILIES for family in each.originals)
    return f"""\
{INTRODUCTION}

{HEADER}
{chr(10).join(rows)}

Aliases: {aliases}. Case does not matter, and `_` is the same as `-`.

## Repositories

{listed}

## Your own checkpoints

A checkpoint in the layout of one of these families loads by its path, whatever its name: {families}.
"""


def _row(name: str, variant: Variant) -> str:
    kind = "original" if variant.file else "folder" if variant.repo else "included"
    revision = f" at `{variant.revision[:12]}`" if variant.revision else ""
    source = f"[{variant.repo}](https://huggingface.co/{variant.repo}){revision}" if variant.repo else ""
    if variant.url:
        elsewhere = f"[{variant.url.split('/')[2]}]({variant.url})"
        source = f"{source}, else {elsewhere}" if source else elsewhere
    native = "yes" if SamConfig(**variant.config).is_transformers_native else "with sam_hub"
    licence = variant.license if variant.commercial_use else f"{variant.license}, non-commercial"
    licence += ", gated" if variant.gated else ""
    file = f"`{variant.file}`" if variant.file else ""
    sha256 = f"`{variant.sha256[:12]}`" if variant.sha256 else ""
    cells = (f"`{name}`", f"{variant.params / 1e6:.1f}", variant.good_for, kind, source, file, sha256, licence, native)
    return f"| {' | '.join(cells)} |"


def _names(repo: str) -> str:
    return ", ".join(f"`{name}`" for name, variant in MODELS.items() if variant.repo == repo)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
