"""Parses prompts of the command line: ``--point 320,240,1`` and ``--box 10,20,300,400``."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import WrongUsage


@dataclass(frozen=True)
class Prompt:
    """The prompt of one object, in pixels of the image.

    points: each x, y; labels: of each point, 1 object, 0 background
    box: x0, y0, x1, y1
    text: words for a model trained on text
    """

    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None
    text: str | None = None

    def facts(self) -> dict[str, Any]:
        """For a record in JSON."""
        facts: dict[str, Any] = {}
        if self.points:
            facts |= {"point_coords": [list(xy) for xy in self.points], "point_labels": list(self.labels)}
        if self.box:
            facts["input_box"] = list(self.box)
        if self.text:
            facts["input_text"] = self.text
        return facts

    def check(self, size: tuple[int, int]) -> None:
        """Check against an image of (H, W). raises: PromptError if a point, or the whole box, is outside"""
        import numpy as np

        from ..ops.prompts import check_box, check_points

        check_points(np.array(self.points, np.float64).reshape(-1, 2), np.array(self.labels), size)
        if self.box is not None:
            check_box(np.array(self.box), size)


def parse_prompts(points: Sequence[str], boxes: Sequence[str], with_mask: bool) -> list[Prompt]:
    """One prompt for each object: all points and at most one box are one object, several boxes several objects.

    raises: WrongUsage if prompts are ambiguous, missing, or not numbers
    """
    clicks = [_parse_point(text) for text in points]
    corners = [_parse_box(text) for text in boxes]
    if len(corners) > 1:
        if clicks or with_mask:
            what = "points" if clicks else "a mask"
            raise WrongUsage(
                f"{what} together with {len(corners)} boxes is ambiguous; give one box, or run once for each object"
            )
        return [Prompt(box=box) for box in corners]
    if not with_mask and not corners and not any(label for *_, label in clicks):
        if clicks:
            raise WrongUsage("every point is background; add a point on the object (--point X,Y) or a --box around it")
        raise WrongUsage(
            "no prompt given; click on the object with --point X,Y or draw a --box X0,Y0,X1,Y1 around it, "
            "in pixels from the upper left corner, for example --point 320,240"
        )
    positions, labels = tuple((x, y) for x, y, _ in clicks), tuple(label for *_, label in clicks)
    return [Prompt(positions, labels, corners[0] if corners else None)]


def _parse_point(text: str) -> tuple[float, float, int]:
    parts = text.split(",")
    if len(parts) not in (2, 3):
        raise WrongUsage(f"--point {text} is not X,Y or X,Y,LABEL; for example --point 320,240")
    x, y = _numbers("--point", text, parts[:2])
    label = parts[2].strip() if len(parts) == 3 else "1"
    if label not in ("0", "1"):
        raise WrongUsage(f"--point {text} has the label {label}; 1 means object and 0 background")
    return x, y, int(label)


def _parse_box(text: str) -> tuple[float, float, float, float]:
    parts = text.split(",")
    if len(parts) != 4:
        raise WrongUsage(f"--box {text} is not X0,Y0,X1,Y1; for example --box 10,20,300,400")
    x0, y0, x1, y1 = _numbers("--box", text, parts)
    if x0 >= x1 or y0 >= y1:
        raise WrongUsage(f"--box {text} is empty or reversed; X0,Y0 is the upper left corner and X1,Y1 the lower right")
    return x0, y0, x1, y1


def _numbers(option: str, text: str, parts: Sequence[str]) -> list[float]:
    try:
        values = [float(p) for p in parts]
    except ValueError:
        raise WrongUsage(f"{option} {text} has a value that is not a number") from None
    if not all(map(math.isfinite, values)):
        raise WrongUsage(f"{option} {text} must have finite numbers, in pixels")
    return values
