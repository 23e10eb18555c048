"""Layouts of original checkpoints: how they are recognised and renamed, in both directions.

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
    """How the original files of one family are recognised and renamed.

    signature: keys that together only this family has (templates allowed)
    absent: keys that it must not have
    rules: original template -> our template
    config: settings of `SamConfig`, from the shapes of the original file
    dropped: templates of original keys that inference does not use
    blank: those of them that the original's strict loader insists on, with their shapes: written back as zeros
    tables: of a vision configuration, the tensors of the original that follow from it and are no weights of ours
    superseded: of an older version, which is written only where a configuration's ``original_layout`` names it
    split, join: original tensors -> those that the rules rename one for one, such as q, k and v of a fused projection,
        and back
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
    """The expression that a template stands for."""
    escaped = re.escape(template).replace(r"\{n\}", r"(\d+)").replace(r"\{r\}", r"(.+)")
    return re.compile(escaped)


def rename(key: str, rules: Rules, back: bool = False) -> str | None:
    """The new name of a key, or None when no rule knows it."""
    for old, new in rules:
        source, target = (new, old) if back else (old, new)
        if match := pattern(source).fullmatch(key):
            for part in match.groups():
                target = re.sub(r"\{[nr]\}", lambda _, part=part: part, target, count=1)
            return target
    return None


def count(shapes: Shapes, template: str) -> int:
    """How many modules the ``{n}`` of a template numbers."""
    expression = pattern(template)
    return len({m.group(1) for key in shapes if (m := expression.fullmatch(key))})


def joined(parts: Sequence[Any]) -> Any:
    """Tensors, one after the other along the first axis."""
    whole = parts[0].new_empty((sum(map(len, parts)), *parts[0].shape[1:]))
    row = 0
    for part in parts:
        whole[row : row + len(part)] = part
        row += len(part)
    return whole


def head(old: str, new: str) -> Rules:
    """A three-layer `FeedForward`."""
    return [
        (f"{old}.layers.0.{{r}}", f"{new}.proj_in.{{r}}"),
        (f"{old}.layers.1.{{r}}", f"{new}.layers.0.{{r}}"),
        (f"{old}.layers.2.{{r}}", f"{new}.proj_out.{{r}}"),
    ]


def conv_norm(old: str, new: str) -> Rules:
    """A `ConvBatchNorm`."""
    return [(f"{old}.c.weight", f"{new}.conv.weight"), (f"{old}.bn.{{r}}", f"{new}.norm.{{r}}")]
