"""Recommended format, precision and layout for each device, and why: the choices of all formats, joined."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .formats import FORMATS


@dataclass(frozen=True)
class Preset:
    """wanted: format -> variants; options: see the exporters

    why: one sentence for the user; measured: the measurements behind it, for each format
    """

    wanted: Mapping[str, tuple[str, ...]]
    why: str
    measured: str
    options: Mapping[str, Any] = field(default_factory=dict)


class _Presets(Mapping[str, Preset]):
    """Device -> preset, from `Format.presets`."""

    def __getitem__(self, device: str) -> Preset:
        choices = {name: FORMATS[name].presets[device] for name in sorted(FORMATS) if device in FORMATS[name].presets}
        if not choices:
            raise KeyError(device)
        options = {key: value for choice in choices.values() for key, value in choice.options.items()}
        why = ", and ".join(choice.why for choice in choices.values())
        measured = "; ".join(f"{FORMATS[name].title}: {choice.measured}" for name, choice in choices.items())
        return Preset({name: choice.variants for name, choice in choices.items()}, why, measured, options)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({device for format in FORMATS.values() for device in format.presets}))

    def __len__(self) -> int:
        return len(list(iter(self)))


PRESETS = _Presets()
