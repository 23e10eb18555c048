"""The known families: folders beside this file, installed plug-ins, and those registered by the program.

A plug-in is a distribution with an entry point in the group ``sam_hub.families`` that refers to its `Family`.
"""

import pkgutil
import warnings
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import entry_points
from operator import attrgetter
from pathlib import Path
from typing import Any

from .family import Family, Part, Variant

GROUP = "sam_hub.families"
KINDS = {"encoder": "encoders", "prompt encoder": "prompt_encoders", "mask decoder": "mask_decoders"}
"""Kind of part -> field of `Family`."""

UNIQUE = (*KINDS.values(), "originals", "transformers", "native", "files")
"""Fields of `Family` whose keys must be unique across families."""

CATALOGUE: dict[str, Variant] = {}
ALIASES: dict[str, str] = {}
FILES: dict[str, str] = {}
PAPERS: dict[str, str] = {}
"""The merged values of these fields of all families."""

_families: dict[str, Family] = {}


def register_family(family: Family) -> None:
    """Make a family known to the whole package: loading, catalogue, conversion, command line, cards.

    raises: TypeError for anything but a `Family`; ValueError if its name, or the name of a part, layout or model, is
        already in use
    """
    if not isinstance(family, Family):
        raise TypeError(f"a family must be a sam_hub.families.family.Family; got {type(family).__name__}")
    if _families.get(family.name) == family:
        return
    for names in (*map(attrgetter, UNIQUE), lambda family: {*family.catalogue, *family.aliases}):
        for other in _families.values():
            if twice := sorted(map(str, set(names(family)) & set(names(other)))):
                raise ValueError(f"family {family.name!r}: {', '.join(twice)} is already registered by {other.name!r}")
    if family.name in _families:
        raise ValueError(f"family {family.name!r} is already registered")
    _families[family.name] = family
    CATALOGUE.update(family.catalogue)
    ALIASES.update(family.aliases)
    FILES.update(family.files)
    PAPERS.update(family.papers)


def built_in() -> list[Family]:
    """The families of this package, in list order."""
    here = [m.name for m in pkgutil.iter_modules([str(Path(__file__).parent)]) if m.ispkg]
    found = [import_module(f"{__package__}.{name}").FAMILY for name in here]
    return sorted(found, key=lambda family: family.position)


def families() -> tuple[Family, ...]:
    """All known families."""
    return tuple(_families.values())


def _discover() -> None:
    for family in built_in():
        register_family(family)
    for entry in entry_points(group=GROUP):
        try:
            register_family(entry.load())
        except Exception as e:  # a broken plug-in must not break the package
            warnings.warn(f"the family {entry.name!r} could not be loaded ({type(e).__name__}: {e})", stacklevel=2)


def load(where: str) -> Any:
    """Import the object of a lazy string, ``"package.module:Name"``."""
    module, name = where.split(":")
    return getattr(import_module(module), name)


def parts(kind: str) -> Iterator[tuple[str, Part]]:
    """``model_type`` and part of every image encoder, prompt encoder or mask decoder; ``kind`` is one of `KINDS`."""
    for family in _families.values():
        yield from getattr(family, KINDS[kind]).items()


def part(kind: str, model_type: str) -> Part:
    """A part by its ``model_type``; ValueError for an unknown one."""
    known = dict(parts(kind))
    if model_type not in known:
        raise ValueError(f"unknown {kind} {model_type!r}; expected one of {sorted(known)}")
    return known[model_type]


def originals() -> dict[str, str]:
    """Layouts of original checkpoints: name -> lazy string."""
    return {name: where for family in _families.values() for name, where in family.originals.items()}


def from_transformers(model_type: str) -> Any:
    """The function that reads a configuration of ``transformers`` of this ``model_type``, or None."""
    for family in _families.values():
        if model_type in family.transformers:
            return load(family.transformers[model_type])
    return None


def to_transformers(types: tuple[str, str, str]) -> Any:
    """The function that writes a configuration of ``transformers`` for a model of these parts, or None."""
    for family in _families.values():
        if types in family.native:
            return load(family.native[types])
    return None


def renamed() -> dict[str, str]:
    """Keys in folders of ``transformers``, as regular expressions -> ours."""
    return {old: new for family in _families.values() for old, new in family.renamed.items()}


def unread() -> list[str]:
    """Regular expressions of keys in folders of ``transformers`` that no model reads."""
    return [expression for family in _families.values() for expression in family.unread]


_discover()
