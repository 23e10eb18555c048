"""Each operation of the evaluator against its formula, in programs written by hand."""

import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil import types
from sam_hub.exporters.formats.coreml.mil.evaluate import Evaluator
from sam_hub.exporters.formats.coreml.mil.operations import OPERATIONS
from sam_hub.exporters.formats.coreml.mil.package import package_of

from sam_hub.errors import ExportError

RNG = np.random.default_rng(7)
X = RNG.normal(size=(1, 4, 6, 6)).astype(np.float32)
POSITIVE = np.abs(X) + 0.1


def evaluate(build: Callable, *inputs: np.ndarray, opset: str = "iOS17") -> list[np.ndarray]:
    """Values of the outputs of a program that ``build`` makes of its inputs."""
    import coremltools as ct

    kinds = {"f": types.fp32, "i": types.int32}
    specs = [mb.TensorSpec(shape=x.shape, dtype=kinds[x.dtype.kind]) for x in inputs]
    names = "abc"[: len(inputs)]
    body = {1: lambda a: build(a), 2: lambda a, b: build(a, b), 3: lambda a, b, c: build(a, b, c)}[len(inputs)]
    program = mb.program(input_specs=specs, opset_version=getattr(ct.target, opset))(body)
    evaluator = Evaluator(package_of(program))
    found = evaluator.predict(dict(zip(names, inputs, strict=True)))
    return [found[var.name] for var in evaluator.package.outputs]


def close(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == np.shape(expected)
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6)


erf = np.vectorize(math.erf)

UNARY: dict[str, tuple[Callable, Callable]] = {
    "abs": (lambda x: mb.abs(x=x), np.abs),
    "cos": (lambda x: mb.cos(x=x), np.cos),
    "exp": (lambda x: mb.exp(x=x), np.exp),
    "sin": (lambda x: mb.sin(x=x), np.sin),
    "relu": (lambda x: mb.relu(x=x), lambda x: np.maximum(x, 0)),
    "relu6": (lambda x: mb.relu6(x=mb.mul(x=x, y=9.0)), lambda x: np.clip(9 * x, 0, 6)),
    "sigmoid": (lambda x: mb.sigmoid(x=x), lambda x: 1 / (1 + np.exp(-x))),
    "tanh": (lambda x: mb.tanh(x=x), lambda x: (np.exp(2 * x) - 1) / (np.exp(2 * x) + 1)),
    "pow": (lambda x: mb.pow(x=x, y=3.0), lambda x: x * x * x),
    "sqrt": (lambda x: mb.sqrt(x=mb.mul(x=x, y=x)), np.abs),
    "identity": (lambda x: mb.identity(x=x), lambda x: x),
    "clip": (lambda x: mb.clip(x=x, alpha=-0.25, beta=0.5), lambda x: np.clip(x, -0.25, 0.5)),
    "inverse": (lambda x: mb.inverse(x=mb.abs(x=x), epsilon=0.5), lambda x: 1 / (np.abs(x) + 0.5)),
    "rsqrt": (lambda x: mb.rsqrt(x=mb.abs(x=x), epsilon=0.25), lambda x: (np.abs(x) + 0.25) ** -0.5),
    "exact gelu": (lambda x: mb.gelu(x=x, mode="EXACT"), lambda x: x * 0.5 * (1 + erf(x / 2**0.5))),
    "tanh gelu": (
        lambda x: mb.gelu(x=x, mode="TANH_APPROXIMATION"),
        lambda x: 0.5 * x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3))),
    ),
    "sigmoid gelu": (lambda x: mb.gelu(x=x, mode="SIGMOID_APPROXIMATION"), lambda x: x / (1 + np.exp(-1.702 * x))),
    "softmax": (lambda x: mb.softmax(x=x, axis=1), lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True)),
    "transpose": (lambda x: mb.transpose(x=x, perm=[0, 3, 1, 2]), lambda x: x.transpose(0, 3, 1, 2)),
    "reshape": (lambda x: mb.reshape(x=x, shape=[2, -1, 3]), lambda x: x.reshape(2, -1, 3)),
    "expand_dims": (lambda x: mb.expand_dims(x=x, axes=[1]), lambda x: x[:, None]),
    "squeeze": (lambda x: mb.squeeze(x=x, axes=[0]), lambda x: x[0]),
    "tile": (lambda x: mb.tile(x=x, reps=[2, 1, 3, 1]), lambda x: np.tile(x, (2, 1, 3, 1))),
    "pad": (
        lambda x: mb.pad(x=x, pad=[0, 1, 2, 3], mode="constant", constant_val=2.5),
        lambda x: np.pad(x, ((0, 0), (0, 0), (0, 1), (2, 3)), constant_values=2.5),
    ),
    "reflecting pad": (
        lambda x: mb.pad(x=x, pad=[1, 2, 0, 1], mode="reflect"),
        lambda x: np.pad(x, ((0, 0), (0, 0), (1, 2), (0, 1)), mode="reflect"),
    ),
    "slice_by_index": (
        lambda x: mb.slice_by_index(
            x=x,
            begin=[0, 1, 0, -4],
            end=[0, 3, 5, 0],
            stride=[1, 1, 2, 1],
            begin_mask=[True, False, True, False],
            end_mask=[True, False, False, True],
        ),
        lambda x: x[:, 1:3, :5:2, -4:],
    ),
    "a slice that drops an axis": (
        lambda x: mb.slice_by_index(
            x=x,
            begin=[0, 2, 0, 0],
            end=[1, 3, 6, 6],
            squeeze_mask=[False, True, False, False],
        ),
        lambda x: x[:, 2],
    ),
    "reduce_mean": (
        lambda x: mb.reduce_mean(x=x, axes=[2, 3], keep_dims=True),
        lambda x: x.mean((2, 3), keepdims=True),
    ),
    "reduce_sum": (lambda x: mb.reduce_sum(x=x, axes=[1], keep_dims=False), lambda x: x.sum(1)),
    "reduce_max": (lambda x: mb.reduce_max(x=x, axes=[-1], keep_dims=True), lambda x: x.max(-1, keepdims=True)),
    "reduce_min": (lambda x: mb.reduce_min(x=x, axes=[0, 1], keep_dims=False), lambda x: x.min((0, 1))),
    "upsample_nearest_neighbor": (
        lambda x: mb.upsample_nearest_neighbor(x=x, scale_factor_height=2, scale_factor_width=3),
        lambda x: np.kron(x, np.ones((1, 1, 2, 3))),
    ),
    "max_pool": (
        lambda x: mb.max_pool(x=x, kernel_sizes=[2, 3], strides=[2, 3], pad_type="valid"),
        lambda x: x.reshape(1, 4, 3, 2, 2, 3).max((3, 5)),
    ),
    "pixel_unshuffle": (
        lambda x: mb.pixel_unshuffle(x=x, downscale_factor=np.uint32(2)),
        lambda x: x.reshape(1, 4, 3, 2, 3, 2).transpose(0, 1, 3, 5, 2, 4).reshape(1, 16, 3, 3),
    ),
}


@pytest.mark.parametrize("name", UNARY)
def test_unary(name):
    build, formula = UNARY[name]
    close(evaluate(build, X)[0], formula(X.astype(np.float64)))


BINARY = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "real_div": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
}
COMPARISONS = {
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
}


@pytest.mark.parametrize("name", BINARY)
def test_binary_of_unlike_shapes(name):
    y = POSITIVE[:, :, :1]
    close(evaluate(lambda a, b: getattr(mb, name)(x=a, y=b), X, y)[0], BINARY[name](X, y))


@pytest.mark.parametrize("name", COMPARISONS)
def test_comparisons(name):
    a, b = np.array([[1, 2, 3, -10]], np.int32), np.array([[2, 2, 2, -10]], np.int32)
    found = evaluate(lambda a, b: mb.cast(x=getattr(mb, name)(x=a, y=b), dtype="fp32"), a, b)[0]
    assert found.tolist() == COMPARISONS[name](a, b).astype(float).tolist()


def test_logic_and_select():
    def build(a):
        negative, small = mb.less(x=a, y=0.0), mb.less(x=mb.abs(x=a), y=0.5)
        chosen = mb.logical_or(
            x=mb.logical_and(x=negative, y=small), y=mb.logical_not(x=mb.logical_or(x=negative, y=small))
        )
        return mb.select(cond=chosen, a=a, b=mb.mul(x=a, y=-3.0))

    close(evaluate(build, X)[0], np.where((X < 0) == (np.abs(X) < 0.5), X, -3 * X))


def test_cast_to_an_integer_cuts():
    found = evaluate(lambda a: mb.cast(x=a, dtype="int32"), np.array([1.9, -1.9, 0.5], np.float32))[0]
    assert found.dtype == np.int32 and found.tolist() == [1, -1, 0]


@pytest.mark.parametrize(("flip_x", "flip_y"), [(False, False), (True, False), (False, True), (True, True)])
def test_matmul(flip_x, flip_y):
    x, y = (RNG.normal(size=(2, *shape)).astype(np.float32) for shape in ((3, 5), (5, 4)))
    given = [m.swapaxes(1, 2) if flip else m for m, flip in ((x, flip_x), (y, flip_y))]
    found = evaluate(lambda a, b: mb.matmul(x=a, y=b, transpose_x=flip_x, transpose_y=flip_y), *given)[0]
    close(found, np.einsum("bij,bjk->bik", x, y))


def test_linear():
    weight, bias = (RNG.normal(size=shape).astype(np.float32) for shape in ((3, 6), (3,)))
    found = evaluate(lambda a: mb.linear(x=a, weight=weight, bias=bias), X)[0]
    close(found, np.einsum("bcij,oj->bcio", X, weight) + bias)


@pytest.mark.parametrize(("axes", "eps"), [([1], 1e-5), ([2, 3], 0.5), ([-1], 1e-3)])
def test_layer_norm(axes, eps):
    shape = [X.shape[a] for a in axes]
    gamma, beta = (RNG.normal(size=shape).astype(np.float32) for _ in range(2))
    found = evaluate(lambda a: mb.layer_norm(x=a, axes=axes, gamma=gamma, beta=beta, epsilon=np.float32(eps)), X)[0]
    wide = [X.shape[a] if a in [b % 4 for b in axes] else 1 for a in range(4)]
    x = X.astype(np.float64)
    normed = (x - x.mean(tuple(axes), keepdims=True)) / np.sqrt(x.var(tuple(axes), keepdims=True) + eps)
    close(found, normed * gamma.reshape(wide) + beta.reshape(wide))


def test_batch_norm():
    mean, gamma, beta = (RNG.normal(size=4).astype(np.float32) for _ in range(3))
    variance = POSITIVE[0, :, 0, 0]
    found = evaluate(
        lambda a: mb.batch_norm(x=a, mean=mean, variance=variance, gamma=gamma, beta=beta, epsilon=np.float32(0.1)), X
    )[0]
    m, v, g, b = (t.reshape(1, 4, 1, 1) for t in (mean, variance, gamma, beta))
    close(found, (X - m) / np.sqrt(v + 0.1) * g + b)


def convolved(x: np.ndarray, weight: np.ndarray, strides: tuple, dilations: tuple, groups: int) -> np.ndarray:
    """By definition: x (1, C, H, W), padded; weight (O, C / groups, h, w)."""
    out_channels, per_group, kh, kw = weight.shape
    h = (x.shape[2] - dilations[0] * (kh - 1) - 1) // strides[0] + 1
    w = (x.shape[3] - dilations[1] * (kw - 1) - 1) // strides[1] + 1
    out = np.zeros((1, out_channels, h, w))
    for o, i, j in np.ndindex(out_channels, h, w):
        first = o // (out_channels // groups) * per_group
        rows = i * strides[0] + dilations[0] * np.arange(kh)
        columns = j * strides[1] + dilations[1] * np.arange(kw)
        out[0, o, i, j] = (x[0, first : first + per_group][:, rows][:, :, columns] * weight[o]).sum()
    return out


@pytest.mark.parametrize(
    ("kind", "pad", "strides", "dilations", "groups"),
    [
        ("valid", None, (1, 1), (1, 1), 1),
        ("custom", (1, 2, 0, 3), (2, 1), (1, 1), 1),
        ("custom", (2, 2, 2, 2), (1, 2), (2, 1), 2),
        ("custom", (1, 1, 1, 1), (1, 1), (1, 1), 4),
        ("same", (0, 1, 0, 1), (2, 2), (1, 1), 1),
        ("same_lower", (1, 0, 1, 0), (2, 2), (1, 1), 1),
    ],
)
def test_conv(kind, pad, strides, dilations, groups):
    weight, bias = (RNG.normal(size=shape).astype(np.float32) for shape in ((4, 4 // groups, 3, 3), (4,)))
    given = {"pad": list(pad)} if kind == "custom" else {}

    def build(a):
        settings = {"strides": list(strides), "dilations": list(dilations), "groups": groups, "pad_type": kind}
        return mb.conv(x=a, weight=weight, bias=bias, **settings, **given)

    top, bottom, left, right = pad or (0, 0, 0, 0)
    padded = np.pad(X, ((0, 0), (0, 0), (top, bottom), (left, right)))
    close(evaluate(build, X)[0], convolved(padded, weight, strides, dilations, groups) + bias.reshape(1, -1, 1, 1))


@pytest.mark.parametrize(("stride", "cut"), [(2, 0), (1, 0), (2, 1)])
def test_conv_transpose(stride, cut):
    weight, bias = (RNG.normal(size=shape).astype(np.float32) for shape in ((4, 3, 2, 3), (3,)))
    kind = {"pad_type": "custom", "pad": [cut] * 4} if cut else {"pad_type": "valid"}
    found = evaluate(lambda a: mb.conv_transpose(x=a, weight=weight, bias=bias, strides=[stride] * 2, **kind), X)[0]
    whole = np.zeros((1, 3, 5 * stride + 2, 5 * stride + 3))
    for i, j in np.ndindex(6, 6):
        at = (slice(i * stride, i * stride + 2), slice(j * stride, j * stride + 3))
        whole[0][:, at[0], at[1]] += np.einsum("c,cohw->ohw", X[0, :, i, j], weight)
    expected = whole[:, :, cut : whole.shape[2] - cut, cut : whole.shape[3] - cut]
    close(found, expected + bias.reshape(1, -1, 1, 1))


def test_concat_stack_and_split():
    first, second = evaluate(lambda a: mb.split(x=a, split_sizes=[1, 3], axis=1), X)
    close(first, X[:, :1])
    close(second, X[:, 1:])
    three = evaluate(lambda a: mb.split(x=a, num_splits=3, axis=2), X)
    close(np.concatenate(three, 2), X)
    close(evaluate(lambda a, b: mb.concat(values=[a, b], axis=-2), X, POSITIVE)[0], np.concatenate([X, POSITIVE], 2))
    close(evaluate(lambda a, b: mb.stack(values=[a, b], axis=1), X, POSITIVE)[0], np.stack([X, POSITIVE], 1))


@pytest.mark.parametrize("axis", [0, 2, -1])
def test_gather(axis):
    table, at = RNG.normal(size=(4, 5, 3)).astype(np.float32), np.array([[2, 0], [1, -1]], np.int32)
    close(evaluate(lambda a, b: mb.gather(x=a, indices=b, axis=axis), table, at)[0], np.take(table, at, axis))


def test_half_precision_is_rounded_after_every_operation():
    def build(a):
        half = mb.cast(x=a, dtype="fp16")
        return mb.cast(x=mb.sub(x=mb.add(x=half, y=np.float16(2048)), y=np.float16(2048)), dtype="fp32")

    found = evaluate(build, np.array([0.75, 3.25], np.float32))[0]
    assert found.tolist() == [0.0, 4.0]  # float16 counts in twos above 2048


def test_half_precision_overflows():
    found = evaluate(lambda a: mb.cast(x=a, dtype="fp16"), np.array([65504, 7e4], np.float32))[0]
    assert found.dtype == np.float16 and np.isinf(found).tolist() == [False, True]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda a: mb.reverse(x=a, axes=[0]), "does not know reverse"),
        (lambda a: mb.slice_by_index(x=a, begin=[3], end=[0], stride=[-1]), "runs backwards"),
        (lambda a: mb.concat(values=[a, a], axis=0, interleave=True), "interleaved"),
    ],
)
def test_what_is_not_known_is_refused(build, message):
    with pytest.raises(ExportError, match=message):
        evaluate(build, np.arange(4, dtype=np.float32))


def test_every_operation_is_tested_here():
    source = Path(__file__).read_text("utf-8")
    named = {*BINARY, *COMPARISONS, *re.findall(r"mb\.(\w+)\(", source)}
    assert set(OPERATIONS) <= named
