"""Makes inputs with defaults mandatory, for runtimes that cannot set them."""

from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import ModelProto

MASK_PROMPT = ("mask_input", "has_mask_input")


def make_required(model: ModelProto, wanted: Sequence[str] = MASK_PROMPT) -> list[str]:
    """Remove the defaults of these inputs, so that they must be fed; returns the names that had one.

    onnxruntime-web treats an input with a default as a constant and does not allow feeding it.
    """
    inputs = {i.name for i in model.graph.input} & set(wanted)
    rest = [t for t in model.graph.initializer if t.name not in inputs]
    names = [t.name for t in model.graph.initializer if t.name in inputs]
    del model.graph.initializer[:]
    model.graph.initializer.extend(rest)
    return names


def copy_with_required_inputs(source: Path, target: Path) -> list[str]:
    """Copy a decoder file with a mandatory mask prompt; returns the names of inputs that lost their default."""
    model = onnx.load(source)
    names = make_required(model)
    onnx.save(model, target)
    return names
