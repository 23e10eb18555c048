"""`Evaluator`: ``predict`` of a saved Core ML package on any machine, for the proof of an export.

Every operation is computed in float32 and rounded to the declared type of its result, as on a machine that sums in
float32 and stores float16. The Neural Engine's order of summation, placement of operations and speed are not modelled.
"""

from collections import Counter
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .....errors import ExportError
from .operations import OPERATIONS
from .package import ImageInput, Package


class Evaluator:
    """A package in memory: ``Evaluator(read_package(path))``.

    raises: ExportError for an unknown operation
    """

    def __init__(self, package: Package) -> None:
        self.package = package
        unknown = {op.op_type for op in self.package.operations if not _is_constant(op)} - OPERATIONS.keys()
        if unknown:
            raise ExportError(f"the evaluator of Core ML packages does not know {', '.join(sorted(unknown))}")
        self._constants: dict[int, Tensor] = {}
        self._uses = Counter(id(var) for op in self.package.operations for var in _variables(op))
        self._uses.update(id(var) for var in self.package.outputs)

    @torch.no_grad()
    def predict(self, inputs: dict[str, Any]) -> dict[str, np.ndarray]:
        """As coremltools' ``MLModel.predict``.

        inputs: an array for each input, or a PIL image for an image input
        returns: name -> array, of the declared types
        raises: ExportError for inputs of other names or shapes
        """
        package = self.package
        if inputs.keys() != package.inputs.keys():
            raise ExportError(f"the inputs are {sorted(package.inputs)}; got {sorted(inputs)}")
        values = {id(var): self._input(name, var, inputs[name]) for name, var in package.inputs.items()}
        left = Counter(self._uses)

        def value(var: Any) -> Tensor:
            return self._constant(var) if _is_constant(var.op) else values[id(var)]

        for op in package.operations:
            if _is_constant(op):
                continue
            results = OPERATIONS[op.op_type](op, value)
            for var, result in zip(op.outputs, results, strict=True):
                values[id(var)] = _declared(var, result, op)
            for var in _variables(op):  # free values that are no longer needed
                left[id(var)] -= 1
                if not left[id(var)]:
                    values.pop(id(var), None)
        return {var.name: value(var).numpy() for var in package.outputs}

    def _input(self, name: str, var: Any, value: Any) -> Tensor:
        if name in self.package.images:
            value = _pixels(name, self.package.images[name], value)
        array = np.asarray(value)
        if array.shape != tuple(var.shape):
            raise ExportError(f"the input {name} must be {tuple(var.shape)}; got {array.shape}")
        return torch.from_numpy(np.array(array)).to(dtype_of(var))

    def _constant(self, var: Any) -> Tensor:
        """The value of a constant, decompressed if necessary; cached."""
        if id(var) not in self._constants:
            value = var.val if var.op.op_type == "const" else var.op.materialized_val_inference()
            self._constants[id(var)] = torch.from_numpy(np.array(value)).to(dtype_of(var))
        return self._constants[id(var)]


def dtype_of(var: Any) -> torch.dtype:
    """The type that a program declares for a variable."""
    from coremltools.converters.mil.mil import types

    known = {
        types.fp16: torch.float16,
        types.fp32: torch.float32,
        types.bool: torch.bool,
        types.int8: torch.int8,
        types.uint8: torch.uint8,
        types.int16: torch.int16,
        types.int32: torch.int32,
    }
    if var.dtype not in known:
        raise ExportError(
            f"{var.name} is of a type that the evaluator does not know: {types.builtin_to_string(var.dtype)}"
        )
    return known[var.dtype]


def _is_constant(op: Any) -> bool:
    return op is not None and (op.op_type == "const" or op.op_type.startswith("constexpr_"))


def _variables(op: Any) -> list[Any]:
    """The variables that an operation reads, without constants; repeated if read several times."""
    flat = []
    for given in op.inputs.values():
        flat += given if isinstance(given, list | tuple) else [given]
    return [var for var in flat if not _is_constant(var.op)]


def _declared(var: Any, result: Tensor, op: Any) -> Tensor:
    """A result, rounded to the declared type; its shape must be the declared one."""
    if tuple(result.shape) != tuple(var.shape):
        raise ExportError(f"{op.op_type} {var.name} gave {tuple(result.shape)}; the file declares {tuple(var.shape)}")
    return result.to(dtype_of(var))


def _pixels(name: str, expected: ImageInput, image: Any) -> np.ndarray:
    """A PIL image as the program sees it: (1, 3, H, W)."""
    if not isinstance(image, Image.Image):
        raise ExportError(f"the input {name} is an image; give a PIL image")
    if image.size != (expected.width, expected.height):
        raise ExportError(f"the image must be {expected.width} x {expected.height}; got {image.width} x {image.height}")
    pixels = np.asarray(image.convert("RGB"))[..., list(expected.channels)]
    return pixels.transpose(2, 0, 1)[None]
