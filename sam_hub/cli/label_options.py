"""Options of `segment` and `everything` for label files of other tools."""

from collections.abc import Sequence
from typing import Annotated

import typer

from ..errors import WrongUsage
from ..labels.formats import FORMATS, check_format, takes

Polygons = Annotated[
    bool,
    typer.Option("--polygons", help="Outlines instead of exact masks in coco.json, labelme, labelstudio and cvat."),
]


def check_labels(formats: Sequence[str], polygons: bool, coco: bool = False) -> None:
    """Fail before work begins if a format lacks its package, or if ``--polygons`` would have no effect.

    formats: as given; those not in `FORMATS` are ignored
    coco: whether coco.json is always written
    raises: SamHubError, WrongUsage
    """
    chosen = [kind for kind in formats if kind in FORMATS]
    for kind in chosen:
        check_format(kind)
    if polygons and not coco and not any(takes(kind, "polygons") for kind in chosen):
        raise WrongUsage("--polygons needs --format coco, labelme, labelstudio or cvat; add one of them")
