"""Rewrites graphs to old, simple forms of operations that all runtimes read alike, and lints them.

Each `Rule` comes from a runtime that people deploy to. `make_plain` rewrites whatever it can without changing results;
`lint` lists the rest. `SILENT` rules are about graphs that load but give wrong results: no file that breaks one is
kept.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper


@dataclass(frozen=True)
class Rule:
    """seen: the runtime that differs, with its version; silent: it gives wrong results without an error"""

    name: str
    seen: str
    silent: bool
    finds: Callable[[ModelProto], Iterator[str]]


@dataclass(frozen=True)
class Finding:
    """A place in a graph that breaks a rule: a node, an input or a field of the file."""

    rule: Rule
    place: str


def make_plain(model: ModelProto) -> ModelProto:
    """The same graph without one-sided clips, with GELU as ``x * (1 + erf(x / sqrt 2)) * 0.5``, means over one axis
    at a time, and the lowest IR version that its operators allow; changed in place."""
    for node in model.graph.node:
        if node.op_type == "Clip" and _bounds(node) in ((True, False), (False, True)):
            node.op_type = "Max" if node.input[1] else "Min"
            kept = [node.input[0], next(name for name in node.input[1:] if name)]
            del node.input[:]
            node.input.extend(kept)
    _reorder_gelu(model)
    _split_means(model)
    model.ir_version = helper.find_min_ir_version_for(list(model.opset_import), ignore_unknown=True)
    return model


def lint(model: ModelProto) -> list[Finding]:
    """Everything in a graph that some runtime is known to read differently, or not at all."""
    return [Finding(rule, place) for rule in RULES for place in rule.finds(model)]


def _bounds(node: NodeProto) -> tuple[bool, bool]:
    """Whether a Clip has a lower and an upper bound."""
    given = [bool(name) for name in (*node.input[1:], "", "")]
    return given[0], given[1]


def _split_means(model: ModelProto) -> None:
    """Replace a mean over two axes by two means.

    onnxruntime 1.32.0 adds one value after another: over 512 x 512 equal pixels, it is off by 3e-4 of the mean.
    """
    stored = {t.name: t for t in model.graph.initializer}
    made_by = {name: node for node in model.graph.node for name in node.output}
    split: set[str] = set()
    for place, node in reversed(list(enumerate(model.graph.node))):
        axes = (
            _constant(node.input[1], stored, made_by) if node.op_type == "ReduceMean" and len(node.input) > 1 else None
        )
        if axes is None or axes.size != 2 or not all(a.i for a in node.attribute if a.name == "keepdims"):
            continue
        names = [f"{node.output[0]}_axis_{i}" for i in (0, 1)]
        for name, axis in zip(names, axes.tolist(), strict=True):
            model.graph.initializer.append(numpy_helper.from_array(np.array([axis], np.int64), name))
        half = f"{node.output[0]}_half"
        first = helper.make_node("ReduceMean", [node.input[0], names[1]], [half], f"{node.name}_half", keepdims=1)
        split.add(node.input[1])
        del node.input[:]
        node.input.extend([half, names[0]])
        model.graph.node.insert(place, first)
    read = set(_read_in(model.graph))
    for tensor in [stored[name] for name in split - read if name in stored]:
        model.graph.initializer.remove(tensor)


def _read_in(graph: GraphProto) -> Iterator[str]:
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            yield from _read_in(attribute.g)


def _constant(name: str, stored: Mapping[str, TensorProto], made_by: Mapping[str, NodeProto]) -> np.ndarray | None:
    if name in stored:
        return numpy_helper.to_array(stored[name])
    maker = made_by.get(name)
    if maker is None or maker.op_type != "Constant":
        return None
    value = next((a for a in maker.attribute if a.name == "value"), None)
    ints = next((a.ints for a in maker.attribute if a.name == "value_ints"), None)
    return numpy_helper.to_array(value.t) if value else None if ints is None else np.array(ints)


def _reorder_gelu(model: ModelProto) -> None:
    """``x * (0.5 * (1 + erf))`` -> ``(x * (1 + erf)) * 0.5``: exact, as a half is a power of two."""
    made_by = {name: node for node in model.graph.node for name in node.output}
    halves = {t.name for t in model.graph.initializer if t.data_type in _FLOATS and _is_half(t)}
    uses: dict[str, int] = {}
    for node in model.graph.node:
        for name in node.input:
            uses[name] = uses.get(name, 0) + 1
    for outer in model.graph.node:
        if outer.op_type != "Mul":
            continue
        for at in (0, 1):
            inner = made_by.get(outer.input[at])
            if inner is None or inner.op_type != "Mul" or uses[inner.output[0]] != 1:
                continue
            half = next((i for i in (0, 1) if inner.input[i] in halves), None)
            if half is not None and _is_one_plus_erf(made_by.get(inner.input[1 - half]), made_by):
                x, constant, erf = outer.input[1 - at], inner.input[half], inner.input[1 - half]
                inner.input[0], inner.input[1] = x, erf
                outer.input[0], outer.input[1] = inner.output[0], constant
                break


def spread_gelu(model: ModelProto) -> ModelProto:
    """A copy with `make_plain`'s GELU as ``x * ((1 + erf) * 0.5)``, which MNN computes as it is.

    MNN 3.6.1 replaces the other order by the approximation with tanh, which is off by up to 5e-4.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    made_by = {name: node for node in copy.graph.node for name in node.output}
    halves = {t.name for t in copy.graph.initializer if t.data_type in _FLOATS and _is_half(t)}
    for outer in copy.graph.node:
        half = next((i for i in (0, 1) if outer.op_type == "Mul" and outer.input[i] in halves), None)
        inner = None if half is None else made_by.get(outer.input[1 - half])
        if inner is None or inner.op_type != "Mul":
            continue
        at = next((i for i in (0, 1) if _is_one_plus_erf(made_by.get(inner.input[i]), made_by)), None)
        if at is not None:
            x, erf, constant = inner.input[1 - at], inner.input[at], outer.input[half]
            inner.input[:] = [erf, constant]
            outer.input[:] = [x, inner.output[0]]
    return copy


_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)


def _is_half(tensor: TensorProto) -> bool:
    values = numpy_helper.to_array(tensor)
    return values.size == 1 and float(values.reshape(-1)[0]) == 0.5


def _is_one_plus_erf(node: NodeProto | None, made_by: Mapping[str, NodeProto]) -> bool:
    if node is None or node.op_type != "Add":
        return False
    return any(name in made_by and made_by[name].op_type == "Erf" for name in node.input)


def _one_sided_clips(model: ModelProto) -> Iterator[str]:
    return (n.name for n in model.graph.node if n.op_type == "Clip" and not all(_bounds(n)))


def _inputs_with_defaults(model: ModelProto) -> Iterator[str]:
    stored = {t.name for t in model.graph.initializer}
    return (i.name for i in model.graph.input if i.name in stored)


def _ir_above_the_lowest(model: ModelProto) -> Iterator[str]:
    if model.ir_version > helper.find_min_ir_version_for(list(model.opset_import), ignore_unknown=True):
        yield f"IR version {model.ir_version}"


def _gelus(model: ModelProto) -> Iterator[str]:
    made_by = {name: node for node in model.graph.node for name in node.output}
    halves = {t.name for t in model.graph.initializer if t.data_type in _FLOATS and _is_half(t)}
    for node in model.graph.node:
        half = node.op_type == "Mul" and any(name in halves for name in node.input)
        if node.op_type == "Gelu" or (
            half and any(_is_one_plus_erf(made_by.get(name), made_by) for name in node.input)
        ):
            yield node.name


def _whole_number_scatters(model: ModelProto) -> Iterator[str]:
    return (n.name for n in model.graph.node if n.op_type in ("ScatterND", "ScatterElements"))


def _slices_that_move(model: ModelProto) -> Iterator[str]:
    stored = {t.name for t in model.graph.initializer}
    stored |= {name for n in model.graph.node if n.op_type == "Constant" for name in n.output}
    for node in model.graph.node:
        if node.op_type == "Slice" and not all(name in stored for name in node.input[1:] if name):
            yield node.name


RULES: tuple[Rule, ...] = (
    Rule("a Clip with one bound", "OpenVINO 2025.4.1 clips int64 at zero", True, _one_sided_clips),
    Rule("an input with a default", "OpenVINO 2026.4.1, onnxslim and onnxsim freeze it", True, _inputs_with_defaults),
    Rule("an IR version above the lowest", "onnxruntime 1.17.3 refuses IR 10", False, _ir_above_the_lowest),
    Rule("GELU in another order", "OpenCV's dnn does not read it", False, _gelus),
    Rule("a scatter", "TensorRT refuses ScatterND of int64", False, _whole_number_scatters),
    Rule("a slice whose ends a run decides", "TensorRT wants fixed ends", False, _slices_that_move),
)
"""Known differences between runtimes; ``seen`` for TensorRT is from its documentation, not from a run."""

OPTIONAL_BY_CONTRACT = frozenset({"mask_input", "has_mask_input", "input_boxes"})
"""Inputs of the transformers.js decoder that need a default, as clients feed only the contract's inputs."""


def silent_faults(model: ModelProto) -> list[Finding]:
    """Findings that no file may have: a runtime would give wrong results without an error."""
    return [f for f in lint(model) if f.rule.silent and f.place not in OPTIONAL_BY_CONTRACT]


def runtime_notes(model: ModelProto) -> dict[str, Any]:
    """Rule -> number of places that break it, for a file's facts."""
    return dict(Counter(f"{finding.rule.name} ({finding.rule.seen})" for finding in lint(model)))
