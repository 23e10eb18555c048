"""Checks that a graph's norms have the same eps as the model's.

The eps of SAM's norms (1e-5 in the two-way transformer, 1e-6 elsewhere) changes logits by less than float32 rounding,
so comparing outputs cannot detect a wrong one, although the error grows on dark or blank images. So it is read from the
graph.
"""

from collections.abc import Iterable

import torch
from onnx import ModelProto
from torch import nn

from ...gate import ExportMismatch


def check_norms(graph: ModelProto, module: nn.Module, name: str) -> None:
    """Compare the eps values of a module's layer norms with those in the graph, as sets.

    raises: ExportMismatch
    """
    expected = {_rounded(m.eps) for m in module.modules() if isinstance(m, nn.LayerNorm)}
    check_eps(graph, expected, name)


def check_eps(graph: ModelProto, expected: Iterable[str], name: str) -> None:
    """Compare with a set of `graph_eps`. raises: ExportMismatch"""
    if (found := graph_eps(graph)) != set(expected):
        raise ExportMismatch(f"the norms of {name} have an eps of {_some(found)}, but the model's {_some(expected)}")


def graph_eps(graph: ModelProto) -> set[str]:
    """All eps values of a graph's layer norms, to three digits."""
    return {
        _rounded(next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5))
        for node in graph.graph.node
        if node.op_type == "LayerNormalization"
    }


def _rounded(eps: float) -> str:
    return f"{torch.tensor(eps).item():.2e}"


def _some(values: Iterable[str]) -> str:
    return " and ".join(sorted(values)) or "nothing"
