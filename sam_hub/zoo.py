"""The catalogue: every checkpoint that a family declares, by name. Standard library only."""

import difflib

from .families.family import Variant
from .families.registry import ALIASES, CATALOGUE, FILES

ZOO: dict[str, Variant] = CATALOGUE


def list_models() -> list[str]:
    """Names that `SamModel.from_pretrained` knows, in catalogue order."""
    return list(ZOO)


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
