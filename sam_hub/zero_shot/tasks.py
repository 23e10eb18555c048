"""The tables by name, imported when they are asked for."""

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
"""Name -> where it is, and the paper's section with a few words."""


def open_table(request: TableRequest) -> Table:
    """raises: WrongUsage for an unknown task; what the table's own constructor raises"""
    if request.task not in TASKS:
        raise WrongUsage(f"unknown task {request.task!r}; expected one of {', '.join(TASKS)}")
    module, _, name = TASKS[request.task][0].partition(":")
    return getattr(import_module(f".{module}", __package__), name)(request)
