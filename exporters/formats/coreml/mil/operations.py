"""The operations of Core ML's MIL that occur in SAM's graphs, in PyTorch.

Semantics: coremltools' ``converters/mil/mil/ops/defs`` (iOS 15 to 18). Each function takes the operation and a function
that returns the value of a variable, and returns the values of the outputs; floats are float32 on both sides.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .....errors import ExportError

Values = Callable[[Any], Tensor]
Operation = Callable[[Any, Values], Sequence[Tensor]]


def fixed(op: Any, name: str) -> Any:
    """A constant parameter, or None: a number, a string, an array or a bool."""
    var = getattr(op, name, None)
    return None if var is None else var.val


def wide(values: Values, var: Any) -> Tensor:
    """The value of a variable; float16 as float32."""
    value = values(var)
    return value.float() if value.dtype == torch.float16 else value


def optional(op: Any, name: str, values: Values) -> Tensor | None:
    var = getattr(op, name, None)
    return None if var is None else wide(values, var)


def unary(function: Callable[[Tensor], Tensor]) -> Operation:
    return lambda op, values: [function(wide(values, op.x))]


def binary(function: Callable[[Tensor, Tensor], Tensor]) -> Operation:
    return lambda op, values: [function(wide(values, op.x), wide(values, op.y))]


def reduction(function: Callable[[Tensor, list[int], bool], Tensor]) -> Operation:
    def run(op: Any, values: Values) -> list[Tensor]:
        x = wide(values, op.x)
        axes = fixed(op, "axes")
        axes = list(range(x.dim())) if axes is None else [int(a) for a in axes]
        return [function(x, axes, bool(fixed(op, "keep_dims")))]

    return run


def padded(x: Tensor, op: Any, spatial: int) -> Tensor:
    """Pad the last ``spatial`` axes of ``x`` as the convolution does."""
    kind = fixed(op, "pad_type")
    if kind == "valid":
        return x
    if kind == "custom":
        amounts = [int(p) for p in fixed(op, "pad")]
    elif kind in ("same", "same_lower"):
        amounts = []
        for i in range(spatial):
            stride, dilation, kernel = (
                int(v[i]) for v in (fixed(op, "strides"), fixed(op, "dilations"), op.weight.shape[2:])
            )
            size = x.shape[2 + i]
            total = max(0, (math.ceil(size / stride) - 1) * stride + (kernel - 1) * dilation + 1 - size)
            less, more = total // 2, total - total // 2
            amounts += [less, more] if kind == "same" else [more, less]
    else:
        raise ExportError(f"the padding {kind!r} of a convolution is not known here")
    pairs = [amounts[2 * i : 2 * i + 2] for i in range(spatial)]
    return F.pad(x, [p for pair in reversed(pairs) for p in pair])


def conv(op: Any, values: Values) -> list[Tensor]:
    x, weight, bias = wide(values, op.x), wide(values, op.weight), optional(op, "bias", values)
    spatial = x.dim() - 2
    function = {1: F.conv1d, 2: F.conv2d}[spatial]
    strides, dilations = ([int(v) for v in fixed(op, name)] for name in ("strides", "dilations"))
    return [function(padded(x, op, spatial), weight, bias, strides, 0, dilations, int(fixed(op, "groups")))]


def max_pool(op: Any, values: Values) -> list[Tensor]:
    sizes, strides = ([int(v) for v in fixed(op, name)] for name in ("kernel_sizes", "strides"))
    if fixed(op, "pad_type") != "valid" and any(int(p) for p in fixed(op, "pad")):
        raise ExportError("pooling with padding is not known here")
    return [F.max_pool2d(wide(values, op.x), sizes, strides, ceil_mode=bool(fixed(op, "ceil_mode")))]


def conv_transpose(op: Any, values: Values) -> list[Tensor]:
    x, weight, bias = wide(values, op.x), wide(values, op.weight), optional(op, "bias", values)
    strides, dilations = ([int(v) for v in fixed(op, name)] for name in ("strides", "dilations"))
    y = F.conv_transpose2d(x, weight, bias, strides, 0, 0, int(fixed(op, "groups")), dilations)
    if fixed(op, "pad_type") == "custom":
        top, bottom, left, right = (int(p) for p in fixed(op, "pad"))
        y = y[:, :, top : y.shape[2] - bottom, left : y.shape[3] - right]
    elif fixed(op, "pad_type") != "valid":
        raise ExportError("a transposed convolution with the padding 'same' is not known here")
    return [y]


def linear(op: Any, values: Values) -> list[Tensor]:
    return [F.linear(wide(values, op.x), wide(values, op.weight), optional(op, "bias", values))]


def matmul(op: Any, values: Values) -> list[Tensor]:
    x, y = wide(values, op.x), wide(values, op.y)
    x = x.transpose(-2, -1) if fixed(op, "transpose_x") else x
    y = y.transpose(-2, -1) if fixed(op, "transpose_y") else y
    return [x @ y]


def layer_norm(op: Any, values: Values) -> list[Tensor]:
    x, axes = wide(values, op.x), [int(a) for a in fixed(op, "axes")]
    centred = x - x.mean(axes, keepdim=True)
    y = centred * (centred.square().mean(axes, keepdim=True) + float(fixed(op, "epsilon"))).rsqrt()
    axes = sorted(a % x.dim() for a in axes)
    shape = [x.shape[a] if a in axes else 1 for a in range(x.dim())]
    gamma, beta = optional(op, "gamma", values), optional(op, "beta", values)
    if gamma is not None:
        y = y * gamma.reshape(shape)
    return [y if beta is None else y + beta.reshape(shape)]


def batch_norm(op: Any, values: Values) -> list[Tensor]:
    x, mean, variance = (wide(values, v) for v in (op.x, op.mean, op.variance))
    gamma, beta = optional(op, "gamma", values), optional(op, "beta", values)
    return [F.batch_norm(x, mean, variance, gamma, beta, eps=float(fixed(op, "epsilon")))]


def gelu(op: Any, values: Values) -> list[Tensor]:
    x, mode = wide(values, op.x), fixed(op, "mode")
    if mode == "SIGMOID_APPROXIMATION":
        return [x * torch.sigmoid(1.702 * x)]
    return [F.gelu(x, approximate={"EXACT": "none", "TANH_APPROXIMATION": "tanh"}[mode])]


def softmax(op: Any, values: Values) -> list[Tensor]:
    return [wide(values, op.x).softmax(int(fixed(op, "axis")))]


def reshaped(op: Any, values: Values) -> list[Tensor]:
    """reshape, expand_dims and squeeze: shapes are fixed, so the result has the declared one."""
    return [values(op.x).reshape(op.outputs[0].shape)]


def transpose(op: Any, values: Values) -> list[Tensor]:
    return [values(op.x).permute(*(int(a) for a in fixed(op, "perm")))]


def split(op: Any, values: Values) -> list[Tensor]:
    axis = int(fixed(op, "axis"))
    return values(op.x).split([int(out.shape[axis]) for out in op.outputs], axis)


def slice_by_index(op: Any, values: Values) -> list[Tensor]:
    x = values(op.x)
    stride = fixed(op, "stride")
    masks = {name: fixed(op, f"{name}_mask") for name in ("begin", "end", "squeeze")}
    at = []
    for i, (begin, end) in enumerate(zip(fixed(op, "begin"), fixed(op, "end"), strict=True)):
        step = 1 if stride is None else int(stride[i])
        if step < 1:
            raise ExportError("a slice that runs backwards is not known here")
        if masks["squeeze"] is not None and masks["squeeze"][i]:
            at.append(int(begin))
            continue
        whole_start, whole_end = (masks[name] is not None and bool(masks[name][i]) for name in ("begin", "end"))
        at.append(slice(None if whole_start else int(begin), None if whole_end else int(end), step))
    return [x[tuple(at)]]


def pad(op: Any, values: Values) -> list[Tensor]:
    x, mode = wide(values, op.x), fixed(op, "mode")
    amounts = [int(p) for p in fixed(op, "pad")]
    pairs = [amounts[i : i + 2] for i in range(0, len(amounts), 2)]
    flat = [p for pair in reversed(pairs) for p in pair]
    if mode == "constant":
        return [F.pad(x, flat, value=float(fixed(op, "constant_val")))]
    return [F.pad(x, flat, mode=mode)]


def concat(op: Any, values: Values) -> list[Tensor]:
    if fixed(op, "interleave"):
        raise ExportError("an interleaved concatenation is not known here")
    return [torch.cat([values(v) for v in op.values], int(fixed(op, "axis")))]


def stack(op: Any, values: Values) -> list[Tensor]:
    return [torch.stack([values(v) for v in op.values], int(fixed(op, "axis")))]


def gather(op: Any, values: Values) -> list[Tensor]:
    if fixed(op, "batch_dims"):
        raise ExportError("a gather along a batch is not known here")
    x, indices, axis = values(op.x), values(op.indices).long(), int(fixed(op, "axis")) % len(op.x.shape)
    rows = x.index_select(axis, indices.flatten() % x.shape[axis])
    return [rows.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])]


def select(op: Any, values: Values) -> list[Tensor]:
    return [torch.where(values(op.cond), wide(values, op.a), wide(values, op.b))]


def tile(op: Any, values: Values) -> list[Tensor]:
    return [values(op.x).repeat(*(int(r) for r in fixed(op, "reps")))]


def cast(op: Any, values: Values) -> list[Tensor]:
    """Rounding to the declared type is done for every operation; to an integer it is towards zero."""
    return [values(op.x)]


def clip(op: Any, values: Values) -> list[Tensor]:
    return [wide(values, op.x).clamp(float(fixed(op, "alpha")), float(fixed(op, "beta")))]


def guarded(function: Callable[[Tensor], Tensor]) -> Operation:
    """inverse, rsqrt and log add an epsilon first."""
    return lambda op, values: [function(wide(values, op.x) + float(fixed(op, "epsilon")))]


def upsample_nearest_neighbor(op: Any, values: Values) -> list[Tensor]:
    x = wide(values, op.x)
    factors = [float(fixed(op, f"scale_factor_{side}")) for side in ("height", "width")]
    for axis, factor in zip((-2, -1), factors, strict=True):
        if factor != int(factor):
            raise ExportError(f"an enlargement by {factor} is not known here")
        x = x.repeat_interleave(int(factor), axis)
    return [x]


def pixel_unshuffle(op: Any, values: Values) -> list[Tensor]:
    return [F.pixel_unshuffle(values(op.x), int(fixed(op, "downscale_factor")))]


OPERATIONS: dict[str, Operation] = {
    "abs": unary(torch.abs),
    "add": binary(torch.add),
    "batch_norm": batch_norm,
    "cast": cast,
    "clip": clip,
    "concat": concat,
    "conv": conv,
    "max_pool": max_pool,
    "conv_transpose": conv_transpose,
    "cos": unary(torch.cos),
    "equal": binary(torch.eq),
    "exp": unary(torch.exp),
    "expand_dims": reshaped,
    "gather": gather,
    "gelu": gelu,
    "greater": binary(torch.gt),
    "greater_equal": binary(torch.ge),
    "identity": unary(torch.clone),
    "inverse": guarded(torch.reciprocal),
    "layer_norm": layer_norm,
    "less": binary(torch.lt),
    "less_equal": binary(torch.le),
    "linear": linear,
    "logical_and": binary(torch.logical_and),
    "logical_not": unary(torch.logical_not),
    "logical_or": binary(torch.logical_or),
    "matmul": matmul,
    "maximum": binary(torch.maximum),
    "minimum": binary(torch.minimum),
    "mul": binary(torch.mul),
    "not_equal": binary(torch.ne),
    "pad": pad,
    "pixel_unshuffle": pixel_unshuffle,
    "pow": binary(torch.pow),
    "real_div": binary(torch.div),
    "reduce_max": reduction(torch.amax),
    "reduce_mean": reduction(torch.mean),
    "reduce_min": reduction(torch.amin),
    "reduce_sum": reduction(torch.sum),
    "relu": unary(torch.relu),
    "relu6": unary(F.relu6),
    "reshape": reshaped,
    "rsqrt": guarded(torch.rsqrt),
    "select": select,
    "sigmoid": unary(torch.sigmoid),
    "sin": unary(torch.sin),
    "slice_by_index": slice_by_index,
    "softmax": softmax,
    "split": split,
    "sqrt": unary(torch.sqrt),
    "squeeze": reshaped,
    "stack": stack,
    "sub": binary(torch.sub),
    "tanh": unary(torch.tanh),
    "tile": tile,
    "transpose": transpose,
    "upsample_nearest_neighbor": upsample_nearest_neighbor,
}
"""MIL's name of an operation -> its function."""
