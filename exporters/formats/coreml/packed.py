"""A pass of coremltools that stores weights as levels of 4, 6 or 8 bits with a scale per channel (iOS 18).

4 and 8 bits are whole numbers times a scale, 6 bits a palette of 64 whole numbers times a scale, as
``enable_per_channel_scale`` writes it. Constants of low rank are stored as a product.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...mixed.levels import FEWEST_NUMBERS, Levels, limits
from ...mixed.products import factored

TARGET = "iOS18"
"""Minimum deployment target: iOS 18, macOS 15; earlier systems have no scale per channel below 8 bits."""

WIDTHS = (4, 6, 8)
PASS = "sam_hub::store_levels"
OPERATIONS = ("conv", "conv_transpose", "linear", "matmul")


def pipeline(find: Callable[[np.ndarray], Levels | None]) -> Any:
    """coremltools' default passes, then the pass of this module.

    find: weight -> its levels, or None
    """
    import coremltools as ct

    _register()
    passes = ct.PassPipeline()
    passes.passes = [*passes.passes, PASS]
    passes.set_options(PASS, {"find": find})
    return passes


def _register() -> None:
    from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY, register_pass

    if PASS in PASS_REGISTRY:
        return

    @register_pass(namespace=PASS.partition("::")[0])
    class store_levels(AbstractGraphPass):
        find: Any = None  # an option has to be an attribute

        def apply(self, program: Any) -> None:
            for function in program.functions.values():
                for op in list(function.operations):
                    if op.op_type == "const" and op.outputs[0].child_ops and op.val.val is not None:
                        _store(op, self.find)


def _store(op: Any, find: Callable[[np.ndarray], Levels | None]) -> None:
    from coremltools.converters.mil.mil import Builder as mb

    values, var = op.val.val, op.outputs[0]
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f" or values.size < FEWEST_NUMBERS:
        return
    with op.enclosing_block:
        if any(child.op_type in OPERATIONS for child in var.child_ops):
            if (levels := find(values)) is None:
                return
            stored = _constant(levels, values.dtype, op)
        elif (factors := factored(values)) is not None:
            x, y = (factor.astype(values.dtype) for factor in factors)
            stored = mb.matmul(x=x, y=y, before_op=op, name=f"{op.name}_product")
        else:
            return
    op.enclosing_block.replace_uses_of_var_after_op(anchor_op=op, old_var=var, new_var=stored, no_check_var_types=True)
    op.enclosing_block.remove_ops([op])


def _constant(levels: Levels, dtype: np.dtype, before: Any) -> Any:
    from coremltools.converters.mil.mil import Builder as mb
    from coremltools.converters.mil.mil import types

    scale = levels.scale.reshape([-1 if i == levels.axis else 1 for i in range(levels.levels.ndim)]).astype(dtype)
    if levels.bits == 6:
        lowest, highest = limits(6)
        data = mb.constexpr_lut_to_dense(
            indices=(levels.levels - lowest).astype(np.uint8).astype(types.np_uint6_dtype),
            lut=np.arange(lowest, highest + 1).reshape([1] * levels.levels.ndim + [-1, 1]).astype(dtype),
            before_op=before,
            name=f"{before.name}_palette",
        )
    else:
        data = levels.levels if levels.bits == 8 else levels.levels.astype(types.np_int4_dtype)
    return mb.constexpr_blockwise_shift_scale(data=data, scale=scale, before_op=before, name=f"{before.name}_levels")
