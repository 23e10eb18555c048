"""Inputs that have a default, for runtimes that cannot set those."""

from pathlib import Path

import onnx
from onnx import ModelProto


def make_required(model: ModelProto) -> list[str]:
    """Take the defaults away from inputs, which must be fed then; returns their names.

    onnxruntime-web takes an input with a default for a constant and refuses to be fed it.
    """
    inputs = {i.name for i in model.graph.input}
    rest = [t for t in model.graph.initializer if t.name not in inputs]
    names = [t.name for t in model.graph.initializer if t.name in inputs]
    del model.graph.initializer[:]
    model.graph.initializer.extend(rest)
    return names


def copy_with_required_inputs(source: Path, target: Path) -> list[str]:
    """Copy a file of a decoder, made so; returns the names of what lost its default."""
    model = onnx.load(source)
    names = make_required(model)
    onnx.save(model, target)
    return names
