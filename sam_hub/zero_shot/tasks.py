"""The tables by name, imported on first use."""

from importlib import import_module

from ..errors import WrongUsage
from .table import Table, TableRequest

TASKS = {
    "points": ("points:PointsTable", "7.1 masks from 1 to 9 points"),
    "edges": ("edges:EdgesTable", "7.2 edges on BSDS500"),
    "proposals": ("proposals:ProposalsTable", "7.3 object proposals, AR@1000"),
    "instances": ("instances:InstancesTable", "7.4 masks from a detector's boxes, AP"),
    "text": ("text:TextTable", "7.5 masks from words"),
}
"""Name -> import path, and description with the paper's section."""


def open_table(request: TableRequest) -> Table:
    """raises: WrongUsage for an unknown task; errors of the table's constructor"""
    if request.task not in TASKS:
        raise WrongUsage(f"unknown task {request.task!r}; expected one of {', '.join(TASKS)}")
    module, _, name = TASKS[request.task][0].partition(":")
    return getattr(import_module(f".{module}", __package__), name)(request)
