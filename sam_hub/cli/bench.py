"""``sam-hub bench``: models and exported bundles, measured side by side."""

from pathlib import Path
from typing import Annotated

import typer

from .options import Debug, Json, echo_json, echo_path


def bench(
    targets: Annotated[
        list[str], typer.Argument(metavar="MODEL|DIR", help="Models, and folders written by `sam-hub export`.")
    ],
    runs: Annotated[int, typer.Option("--runs", min=1, help="Measured runs, after a warm-up.")] = 20,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads; default: all cores.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="JSON", help="Also write the rows to this file.")
    ] = None,
    chart: Annotated[
        Path | None, typer.Option("--chart", metavar="PNG", help="Also plot size, time and mask IoU.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare models and exported bundles: time, memory, size, and masks against PyTorch in fp32.

    \b
    sam-hub bench pocket pocket-onnx
    sam-hub bench pocket mobile-sam bundle/ --runs 50 --threads 1 --chart bench.png

    Each runs in its own process. Times are medians (and 95th percentiles), in milliseconds, of encoding one photo and
    of one click; "cold" is the very first, "first" the first click on each photo. Close other programs, and compare
    only rows of one run. Core ML packages run only on macOS; elsewhere the times are those of an evaluator.
    """
    from dataclasses import asdict

    from ..diagnostics.bench import contenders, draw_chart, measure_in_own_process
    from ..ops.files import prepare_file, write_atomically
    from ..results import json_bytes

    for path in filter(None, (out, chart)):
        prepare_file(path)
    rows = []
    for contender in contenders(targets):
        typer.echo(f"measuring {contender.name}", err=True)
        rows.append(measure_in_own_process(contender, runs, threads, debug))
    facts = [{**asdict(row), "photo_and_click_ms": row.photo_and_click_ms} for row in rows]
    if as_json:
        echo_json(facts)
    else:
        typer.echo(table(facts))
    if aside := [row.name for row in rows if not row.is_timed_on_its_runtime]:
        typer.echo(
            f"Run without their own runtime, so these times say nothing about a device: {'; '.join(aside)}", err=True
        )
    for path, content in ((out, lambda: json_bytes(facts)), (chart, lambda: draw_chart(rows))):
        if path:
            write_atomically(path, content())
            if not as_json:
                echo_path(path)


COLUMNS = {
    "name": ("name", "{}"),
    "load": ("load_ms", "{:.0f}"),
    "encode": ("encode_p50_ms", "{:.0f}"),
    "p95": ("encode_p95_ms", "{:.0f}"),
    "cold": ("encode_cold_ms", "{:.0f}"),
    "cold ": ("click_cold_ms", "{:.1f}"),
    "first": ("first_click_p50_ms", "{:.1f}"),
    "click": ("click_p50_ms", "{:.1f}"),
    "p95 ": ("click_p95_ms", "{:.1f}"),
    "RAM MB": ("peak_mb", "{:.0f}"),
    "MB": ("size_mb", "{:.1f}"),
    "IoU": ("iou_mean", "{:.4f}"),
    "worst": ("iou_worst", "{:.4f}"),
}
"""Heading -> field of a row, and its format; times are in milliseconds."""


def table(rows: list[dict]) -> str:
    """The rows as an aligned text table."""
    cells = [list(COLUMNS), *([how.format(row[field]) for field, how in COLUMNS.values()] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(COLUMNS))]
    lines = []
    for line in cells:
        first, *rest = (c.ljust(w) if not i else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        lines.append("  ".join([first, *rest]).rstrip())
    return "\n".join(lines)
