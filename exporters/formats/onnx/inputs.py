"""Inputs that have a default, for runtimes that cannot set those."""

from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import ModelProto

MASK_PROMPT = ("mask_input", "has_mask_input")


def make_required(model: ModelProto, wanted: Sequence[str] = MASK_PROMPT) -> list[str]:
    """Take the defaults away from inputs of these names, which must be fed then; returns those that had one.

    onnxruntime-web takes an input with a default for a constant and refuses to be fed it.
    """
    inputs = {i.name for i in model.graph.input} & set(wanted)
    rest = [t for t in model.graph.initializer if t.name not in inputs]
    names = [t.name for t in model.graph.initializer if t.name in inputs]
    del model.graph.initializer[:]
    model.graph.initializer.extend(rest)
    return names


def copy_with_required_inputs(source: Path, target: Path) -> list[str]:
    """Copy a file of a decoder, with a mask prompt that must be fed; returns the names of what lost its default."""
    model = onnx.load(source)
    names = make_required(model)
    onnx.save(model, target)
    return names
