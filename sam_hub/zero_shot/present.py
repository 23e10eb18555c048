"""Renders a table as Markdown and as a plot."""

import io
from collections.abc import Mapping
from typing import Any

from ..ops.wording import counted
from .groups import groups_markdown
from .table import Table

SIZE = (7.0, 4.2)
"""Size of a plot, in inches, at 120 dpi."""


def cell(value: Any) -> str:
    """Format a number with three decimals, a count, or a word; a dash if not measured."""
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value).replace("|", "\\|")


def markdown(table: Table, report: Mapping[str, Any]) -> str:
    """The table and a description of the measurement, for a page or a model card."""
    rows, settings = report["rows"], report["settings"]
    shown = [name for name in table.COLUMNS if any(row.get(name) is not None for row in rows)]
    first, *rest = (table.COLUMNS[name][0] for name in shown)
    lines = [
        f"**{report['title']}**, {settings['model']}",
        "",
        "| " + " | ".join([first, *rest]) + " |",
        "|---|" + "---:|" * len(rest),
        *("| " + " | ".join(cell(row.get(name)) for name in shown) + " |" for row in rows),
        "",
        f"{counted(report['images'], 'image')}; weights {settings['weights']}; sam-hub {report['sam_hub']}.",
    ]
    if report["left_out"]:
        lines.append(f"{counted(len(report['left_out']), 'image')} could not be measured.")
    text = "\n".join(lines) + "\n"
    return f"{text}\n{groups_markdown(report['groups'])}" if "groups" in report else text


def picture(table: Table, report: Mapping[str, Any]) -> bytes:
    """The table's plot as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, layout="constrained")
    table.draw(figure, report)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()
