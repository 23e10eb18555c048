"""Mean IoU of groups of objects with bootstrap intervals (paper, section 6 and appendix C)."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = (1, 3)
"""Numbers of points, as in the paper's table 2."""
RESAMPLES, LEVEL = 2000, 0.95


@dataclass(frozen=True)
class Groups:
    """Annotation id, or image name with or without suffix -> group; annotation ids take precedence."""

    path: Path
    of: Mapping[str, str]

    @classmethod
    def read(cls, path: str | Path) -> "Groups":
        """Read a CSV with two columns, id and group, and an optional header ``id,group``.

        raises: DataError if it cannot be read, is empty, or has a row without a group or an id in two groups
        """
        path = Path(path)
        if not path.exists():
            raise DataError(f"{path} does not exist; give a CSV file with lines of id,group")
        try:
            with open(path, newline="", encoding="utf-8") as file:
                lines = [row for row in csv.reader(file) if any(field.strip() for field in row)]
        except (OSError, UnicodeDecodeError, csv.Error) as e:
            raise DataError(f"{path} is not a readable CSV file ({e}); expected lines of id,group") from e
        if lines and [field.strip().lower() for field in lines[0]][1:2] == ["group"]:
            lines = lines[1:]
        if not lines:
            raise DataError(f"{path} names no groups; expected lines of id,group")
        of: dict[str, str] = {}
        for number, fields in enumerate(lines, start=1):
            if len(fields) != 2 or not all(field.strip() for field in fields):
                raise DataError(f"{path}: row {number} is not id,group; each row needs both")
            key, group = (field.strip() for field in fields)
            if of.setdefault(key, group) != group:
                raise DataError(f"{path}: {key} is in two groups, {of[key]} and {group}; name each id once")
        return cls(path, of)

    def group_of(self, image: str, annotation: str) -> str | None:
        """The group of an object, if any."""
        keys = (annotation, image, Path(image).name, Path(image).stem)
        return next((self.of[key] for key in keys if key in self.of), None)


def interval(values: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Bootstrap interval of the mean of values (K,): percentiles of `RESAMPLES` means, drawn with replacement."""
    means = np.array([values[rng.integers(len(values), size=len(values))].mean() for _ in range(RESAMPLES)])
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def group_rows(groups: Groups, parts: Iterable[Mapping[str, Any]], counts: Sequence[int], seed: int) -> dict[str, Any]:
    """The groups' means and intervals, and the pairs of groups whose intervals are disjoint.

    parts: of `PointsTable`, with the IoU at each of ``counts``
    raises: DataError if no object is in a group
    """
    found: dict[str, list[list[float]]] = {}
    without = 0
    for part in parts:
        for one in part["objects"]:
            group = groups.group_of(part["image"], one["id"])
            if group is None:
                without += 1
            else:
                found.setdefault(group, []).append(one["confident"])
    if not found:
        raise DataError(f"no id in {groups.path} is in the data; give image names or annotation ids")
    shown = [n for n in SHOWN if n in counts]
    rows = []
    for group in sorted(found):
        ious = np.array(found[group])
        row: dict[str, Any] = {"group": group, "masks": len(ious)}
        for n in shown:
            values = ious[:, list(counts).index(n)]
            rng = np.random.default_rng([seed, n])
            row[f"miou_{n}"], row[f"interval_{n}"] = float(values.mean()), list(interval(values, rng))
        rows.append(row)
    empty = sorted(set(groups.of.values()) - set(found))
    disjoint = {
        str(n): [
            [a["group"], b["group"]]
            for a, b in combinations(rows, 2)
            if a[f"interval_{n}"][1] < b[f"interval_{n}"][0] or b[f"interval_{n}"][1] < a[f"interval_{n}"][0]
        ]
        for n in shown
    }
    return {"rows": rows, "disjoint": disjoint, "empty": empty, "without_group": without, "level": LEVEL}


def groups_markdown(groups: Mapping[str, Any]) -> str:
    """The groups as Markdown, and a sentence on the intervals."""
    shown = list(groups["disjoint"])
    lines = ["| group | masks |" + "".join(f" {n} point{'s' * (n != '1')} |" for n in shown)]
    lines.append("|---|---:|" + "---:|" * len(shown))
    for row in groups["rows"]:
        cells = [row["group"].replace("|", "\\|"), str(row["masks"])]
        for n in shown:
            low, high = row[f"interval_{n}"]
            cells.append(f"{row[f'miou_{n}']:.3f} ({low:.3f} to {high:.3f})")
        lines.append("| " + " | ".join(cells) + " |")
    lines.append("")
    for n, pairs in groups["disjoint"].items():
        said = "; ".join(f"{a} and {b}" for a, b in pairs) if pairs else "none"
        lines.append(f"Disjoint {groups['level']:.0%} intervals at {n} point{'s' * (n != '1')}: {said}.")
    if groups["empty"]:
        lines.append(f"Without an object: {', '.join(groups['empty'])}.")
    return "\n".join(lines) + "\n"


def draw_groups(figure: "Figure", groups: Mapping[str, Any]) -> None:
    """Plot means with their intervals, one colour for each number of points."""
    axes = figure.subplots()
    names = [row["group"] for row in groups["rows"]]
    for k, n in enumerate(groups["disjoint"]):
        means = np.array([row[f"miou_{n}"] for row in groups["rows"]])
        low, high = np.array([row[f"interval_{n}"] for row in groups["rows"]]).T
        where = np.arange(len(names)) + 0.15 * (k - 0.5)
        label = f"{n} point{'s' * (n != '1')}"
        away = [(means - low).clip(0), (high - means).clip(0)]
        axes.errorbar(where, means, yerr=away, fmt="o", capsize=4, label=label)
    axes.set(xticks=range(len(names)), xticklabels=names, ylim=(0, 1), ylabel="mIoU, 95 % bootstrap interval")
    axes.legend(fontsize=8)
