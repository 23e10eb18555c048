"""The device formats: each folder here is one, and so is each entry point of the group ``sam_hub.formats``.

A format is a package with a `Format` named ``FORMAT``. The command line, the gate, bundles, snippets, presets, the
doctor and the benchmarks use `FORMATS` and do not name any format.
"""

import warnings
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules

from ..format import ExportJob, Format

__all__ = ["FORMATS", "GROUP", "ExportJob", "Format", "default_format", "register_format"]

GROUP = "sam_hub.formats"
"""Entry points whose value is a `Format`: ``name = "package:FORMAT"``."""


class _Formats(Mapping[str, Format]):
    """Name -> format, the default first, the others sorted by name; discovered on first use."""

    def __init__(self) -> None:
        self._found: dict[str, Format] = {}
        self._complete = False

    def add(self, format: Format) -> None:
        if self._found.get(format.name, format) != format:
            raise ValueError(f"there are two formats called {format.name!r}: {format.package} must use another name")
        self._found[format.name] = format

    def __getitem__(self, name: str) -> Format:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        found = self._all()
        return iter(sorted(found, key=lambda name: (not found[name].is_default, name)))

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, Format]:
        if not self._complete:
            self._complete = True
            for module in iter_modules(__path__):
                if module.ispkg:
                    self.add(import_module(f"{__name__}.{module.name}").FORMAT)
            for point in entry_points(group=GROUP):
                try:
                    self.add(point.load())
                except Exception as e:  # other packages may raise any exception
                    warnings.warn(f"the format {point.name} of {point.value} does not load ({e})", stacklevel=2)
        return self._found


FORMATS = _Formats()


def register_format(format: Format) -> Format:
    """Add a format for this process. raises: ValueError if another one has its name"""
    FORMATS.add(format)
    return format


def default_format() -> Format:
    """The format exported by default."""
    return FORMATS[next(iter(FORMATS))]
