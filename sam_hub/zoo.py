"""The catalogue: every checkpoint that a family declares, by name. Standard library only."""

import difflib
from collections.abc import Sequence

from .families.family import PROMPT_KINDS, Variant
from .families.registry import ALIASES, CATALOGUE, FILES, families

ZOO: dict[str, Variant] = CATALOGUE


def list_models() -> list[str]:
    """Names that `SamModel.from_pretrained` knows, in catalogue order."""
    return list(ZOO)


def find_models(
    family: str | None = None, licence: str | None = None, under: float | None = None, prompts: Sequence[str] = ()
) -> list[str]:
    """Names of matching models, in catalogue order.

    family: of models, or the layout of its authors' files, any case
    licence: its name, any case; "commercial" for all that allow commercial use
    under: exclusive upper bound of the number of parameters
    prompts: the `PROMPT_KINDS` that a model must support
    """
    found = []
    for name, variant in ZOO.items():
        if family and family.lower().replace("_", "-") not in _families_of(name, variant):
            continue
        licences = {variant.license.lower()} | ({"commercial"} if variant.commercial_use else set())
        if licence and licence.lower() not in licences:
            continue
        if under is not None and variant.params >= under:
            continue
        if set(prompts) <= set(prompt_kinds(variant)):
            found.append(name)
    return found


def family_names() -> list[str]:
    """Values of `find_models`' ``family``, sorted."""
    return sorted(set().union(*(_families_of(name, variant) for name, variant in ZOO.items())))


def _families_of(name: str, variant: Variant) -> set[str]:
    """The family of a model and the layout of its authors' files, in lower case, with hyphens."""
    names = {f.name for f in families() if name in f.catalogue} | {variant.family}
    return {each.lower().replace("_", "-") for each in names}


def prompt_kinds(variant: Variant) -> Sequence[str]:
    """The kinds of prompts that a catalogue model supports."""
    settings = variant.config.get("prompt_encoder_config", {})
    declared = {kind: part for f in families() for kind, part in f.prompt_encoders.items()}
    part = declared.get(settings.get("model_type", ""))
    return settings.get("prompt_kinds") or (part.prompts if part else PROMPT_KINDS)


def canonical_name(name: str) -> str | None:
    """The catalogue's name for ``name`` (any case, an alias, or a repository that holds it alone), or None."""
    lowered = name.lower().replace("_", "-")
    lowered = ALIASES.get(lowered, lowered)
    if lowered in ZOO:
        return lowered
    published = [key for key, variant in ZOO.items() if variant.repo and variant.repo.lower() == name.lower()]
    return published[0] if len(published) == 1 else None


def variant_of_file(name: str) -> Variant | None:
    """The entry whose published file has this name. Weights do not tell everything: TinySAM's are as MobileSAM's."""
    if name in FILES:
        return ZOO[FILES[name]]
    found = [variant for variant in ZOO.values() if variant.file == name]
    return found[0] if len(found) == 1 else None


def nearest_names(name: str, count: int = 3) -> list[str]:
    """Catalogue names that look like ``name``, best first."""
    return difflib.get_close_matches(name.lower(), [*ZOO, *ALIASES], n=count, cutoff=0.4)
