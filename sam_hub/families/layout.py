"""Layouts of original checkpoints: recognition, and renaming in both directions.

A rule is a pair of templates: ``{n}`` stands for digits and ``{r}`` for the rest of the key. The first rule that
matches a whole key renames it, so identity rules come last.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

Rules = list[tuple[str, str]]
Shapes = Mapping[str, tuple[int, ...]]
Weights = dict[str, Any]


@dataclass(frozen=True)
class OriginalLayout:
    """How to recognise and rename a family's original files.

    signature: keys that only this family has in combination (templates allowed)
    absent: keys that must not be present
    rules: original template -> our template
    config: function: shapes of the original file -> settings of `SamConfig`
    dropped: templates of original keys that inference does not use
    blank: dropped keys that the original's strict loader requires, with their shapes; written back as zeros
    tables: function: vision configuration -> original tensors that are computed from it and are not weights here
    superseded: layout of an older version, only written if a configuration's ``original_layout`` names it
    split, join: original tensors -> tensors that the rules rename one to one, such as q, k and v of a fused projection,
    and the inverse
    """

    signature: tuple[str, ...]
    rules: Rules
    config: Callable[[Shapes], dict[str, Any]]
    absent: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    blank: Shapes = field(default_factory=dict)
    tables: Callable[[Any], Weights] = lambda vision: {}
    superseded: bool = False
    split: Callable[[Weights], Weights] = dict
    join: Callable[[Weights], Weights] = dict

    def fits(self, shapes: Shapes) -> bool:
        """Whether a file with these keys is in this layout."""

        def has(template: str) -> bool:
            return any(pattern(template).fullmatch(key) for key in shapes)

        return all(map(has, self.signature)) and not any(map(has, self.absent))


@cache
def pattern(template: str) -> re.Pattern[str]:
    """The regular expression of a template."""
    escaped = re.escape(template).replace(r"\{n\}", r"(\d+)").replace(r"\{r\}", r"(.+)")
    return re.compile(escaped)


def rename(key: str, rules: Rules, back: bool = False) -> str | None:
    """The new name of a key, or None if no rule matches."""
    for old, new in rules:
        source, target = (new, old) if back else (old, new)
        if match := pattern(source).fullmatch(key):
            for part in match.groups():
                target = re.sub(r"\{[nr]\}", lambda _, part=part: part, target, count=1)
            return target
    return None


def count(shapes: Shapes, template: str) -> int:
    """Number of modules that match the ``{n}`` of a template."""
    expression = pattern(template)
    return len({m.group(1) for key in shapes if (m := expression.fullmatch(key))})


def joined(parts: Sequence[Any]) -> Any:
    """Concatenate tensors along the first axis."""
    whole = parts[0].new_empty((sum(map(len, parts)), *parts[0].shape[1:]))
    row = 0
    for part in parts:
        whole[row : row + len(part)] = part
        row += len(part)
    return whole


def head(old: str, new: str) -> Rules:
    """Rules for a three-layer `FeedForward`."""
    return [
        (f"{old}.layers.0.{{r}}", f"{new}.proj_in.{{r}}"),
        (f"{old}.layers.1.{{r}}", f"{new}.layers.0.{{r}}"),
        (f"{old}.layers.2.{{r}}", f"{new}.proj_out.{{r}}"),
    ]


def conv_norm(old: str, new: str) -> Rules:
    """Rules for a `ConvBatchNorm`."""
    return [(f"{old}.c.weight", f"{new}.conv.weight"), (f"{old}.bn.{{r}}", f"{new}.norm.{{r}}")]
