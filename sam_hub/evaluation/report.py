"""Reports of shards' scores: as a table and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from .. import __version__
from .evaluate import ObjectScores, Protocol, ShardScores
from .metrics import clicks_needed, rank_correlation

TRANSFER_PREFIX = "zeroshot-"
"""Prefix of shards that measure transfer: they are reported, but not part of the mean."""

METRICS = {
    "click_1": ("1 click", "mean IoU after one click, of the mask with the best predicted IoU"),
    "click_1_oracle": ("oracle", "mean IoU after one click, of the candidate mask with the best true IoU"),
    "click_3": ("3 clicks", "mean IoU after three clicks"),
    "click_5": ("5 clicks", "mean IoU after five clicks"),
    "box": ("box", "mean IoU of the single mask from the tight box"),
    "ellipse": ("ellipse", "mean IoU of the ellipse inscribed in that box"),
    "grabcut": (
        "GrabCut",
        "mean IoU of GrabCut (5 iterations, the image at most 512 pixels wide or high) started from that box",
    ),
    "rank_correlation": ("rank r", "Spearman's correlation of predicted and true IoU, all masks of all first clicks"),
    "noc_85": ("NoC85", "mean number of clicks to an IoU of 0.85, at most the protocol's clicks"),
    "noc_90": ("NoC90", "mean number of clicks to an IoU of 0.90, at most the protocol's clicks"),
    "click_1_boundary": ("1 click BIoU", "mean Boundary IoU (2 % of the image's diagonal) after one click"),
    "box_boundary": ("box BIoU", "mean Boundary IoU of the single mask from the tight box"),
    "click_1_islands": ("islands", "mean number of additional components in the mask after one click"),
}
"""Name in JSON -> title in the table, and description."""


def summarise(objects: Sequence[ObjectScores], limit: int) -> dict[str, float | None]:
    """Mean of each of ``METRICS`` over objects, with at most ``limit`` clicks; None if not measured."""

    def after(k: int) -> float | None:
        return _mean([o.clicks[k - 1] if len(o.clicks) >= k else None for o in objects])

    def needed(threshold: float) -> float | None:
        return None if after(5) is None else _mean([clicks_needed(o.clicks, threshold, limit) for o in objects])

    pairs = [pair for o in objects for pair in o.candidates]
    return {
        "click_1": after(1),
        "click_1_oracle": _mean([max((iou for _, iou in o.candidates), default=None) for o in objects]),
        "click_3": after(3),
        "click_5": after(5),
        "box": _mean([o.box for o in objects]),
        "ellipse": _mean([o.ellipse for o in objects]),
        "grabcut": _mean([o.grabcut for o in objects]),
        "rank_correlation": rank_correlation([p for p, _ in pairs], [iou for _, iou in pairs]),
        "noc_85": needed(0.85),
        "noc_90": needed(0.90),
        "click_1_boundary": _mean([o.click_boundary for o in objects]),
        "box_boundary": _mean([o.box_boundary for o in objects]),
        "click_1_islands": _mean([o.click_islands for o in objects]),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    return None if None in values else float(np.mean(values))


def build_report(model: str, protocol: Protocol, shards: Sequence[ShardScores]) -> dict[str, Any]:
    """The report of an evaluation, for JSON; ``mean`` is over shards not named ``zeroshot-*``, or None."""
    rows = [
        {
            "name": s.name,
            "images": s.images,
            "objects": len(s.objects),
            "empty": s.empty,
            "skipped": s.skipped,
            **summarise(s.objects, protocol.clicks),
        }
        for s in shards
    ]
    home = [row for row in rows if not row["name"].startswith(TRANSFER_PREFIX)]
    mean = None
    if home:
        mean = {name: _mean([row[name] for row in home]) for name in METRICS}
    return {
        "model": model,
        "sam_hub": __version__,
        "protocol": asdict(protocol),
        "metrics": {name: text for name, (_, text) in METRICS.items()},
        "shards": rows,
        "mean": mean,
    }


def to_table(report: dict[str, Any]) -> Table:
    """One row for each shard and one for the mean; baselines only if they were measured."""
    shown = [name for name in METRICS if any(row[name] is not None for row in report["shards"])]
    clicks = report["protocol"]["clicks"]
    table = Table(title=f"{report['model']}: mean IoU by prompt", caption=f"NoC: clicks to that IoU, at most {clicks}")
    table.add_column("shard", no_wrap=True)
    for title in ("images", "objects", *(METRICS[name][0] for name in shown)):
        table.add_column(title, justify="right", no_wrap=True)
    for row in report["shards"]:
        counts = (str(row["images"]), str(row["objects"]))
        table.add_row(row["name"], *counts, *(_cell(name, row[name]) for name in shown))
    if report["mean"]:
        table.add_section()
        table.add_row(f"mean without {TRANSFER_PREFIX}*", "", "", *(_cell(n, report["mean"][n]) for n in shown))
    return table


def print_table(report: dict[str, Any]) -> None:
    """Print `to_table`. Lines may be wider than the terminal; nothing is truncated."""
    table, console = to_table(report), Console()
    wanted = console.measure(table, options=console.options.update(width=1000)).maximum
    console.width = max(console.width, wanted)
    console.print(table)


def _cell(metric: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if metric.startswith("noc") or metric.endswith("islands") else f"{value:.3f}"
