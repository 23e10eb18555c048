"""Layers of `pocket` in NumPy and OpenCV: float32, without a batch axis."""

from collections.abc import Mapping

import cv2
import numpy as np

Weights = Mapping[str, np.ndarray]

ERFC = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
ERFC_P = 0.3275911
"""Of erf: Abramowitz and Stegun, "Handbook of Mathematical Functions", 7.1.26; the error is at most 1.5e-7."""


def linear(weights: Weights, name: str, x: np.ndarray) -> np.ndarray:
    """(..., Cin) -> (..., Cout)"""
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def layer_norm(weights: Weights, name: str, x: np.ndarray, eps: float) -> np.ndarray:
    """Over the last axis."""
    x = x - x.mean(-1, keepdims=True)
    x /= np.sqrt(np.square(x).mean(-1, keepdims=True) + np.float32(eps))
    x *= weights[f"{name}.weight"]
    x += weights[f"{name}.bias"]
    return x


def softmax(x: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    x = np.exp(x - x.max(-1, keepdims=True))
    x /= x.sum(-1, keepdims=True)
    return x


def gelu(x: np.ndarray) -> np.ndarray:
    """x times the normal cumulative distribution at x, not the tanh approximation."""
    size = np.abs(x)
    t = 1 / (1 + np.float32(ERFC_P * 0.5**0.5) * size)
    tail = np.full_like(x, ERFC[-1])
    for coefficient in ERFC[-2::-1]:
        tail *= t
        tail += np.float32(coefficient)
    tail *= t
    tail *= np.exp(np.square(size) * np.float32(-0.5))
    tail *= size
    tail *= np.float32(-0.5)
    tail += np.maximum(x, 0)
    return tail


def relu6(x: np.ndarray) -> np.ndarray:
    """In place."""
    return np.clip(x, 0, 6, out=x)


def pointwise(weight: np.ndarray, bias: np.ndarray | None, x: np.ndarray) -> np.ndarray:
    """A convolution of 1 x 1: weight (Cout, Cin, 1, 1), x (Cin, h, w) -> (Cout, h, w)"""
    y = weight[:, :, 0, 0] @ x.reshape(len(x), -1)
    if bias is not None:
        y += bias[:, None]
    return y.reshape(-1, *x.shape[1:])


def depthwise(weight: np.ndarray, bias: np.ndarray, x: np.ndarray, stride: int) -> np.ndarray:
    """A convolution of each channel: weight (C, 1, k, k), x (C, h, w) -> (C, h / stride, w / stride)

    Padded so that stride 1 keeps the size; a stride of 2 pads one pixel less at the top and left (TensorFlow's "SAME").
    """
    first = stride - 1
    out = np.empty((len(x), x.shape[1] // stride, x.shape[2] // stride), np.float32)
    for plane, kernel, shift, result in zip(x, weight[:, 0], bias, out, strict=True):
        filtered = cv2.filter2D(plane, -1, kernel, delta=float(shift), borderType=cv2.BORDER_CONSTANT)
        result[:] = filtered[first::stride, first::stride]
    return out


def convolution(weight: np.ndarray, x: np.ndarray, stride: int = 1) -> np.ndarray:
    """Of 3 x 3, padded as in `depthwise`: weight (Cout, Cin, 3, 3), x (Cin, h, w) -> (Cout, h / stride, w / stride)"""
    c, h, w = x.shape
    before = 2 - stride
    padded = np.pad(x, ((0, 0), (before, 1), (before, 1)))
    taps = [padded[:, i : i + h : stride, j : j + w : stride] for i in range(3) for j in range(3)]
    columns = np.stack(taps, axis=1).reshape(9 * c, -1)
    return (weight.reshape(len(weight), -1) @ columns).reshape(-1, h // stride, w // stride)


def halved(weights: Weights, name: str, x: np.ndarray) -> np.ndarray:
    """A convolution of 2 x 2 with stride 2: (2h, 2w, Cin) -> (h, w, Cout)"""
    h, w, c = x.shape
    weight = weights[f"{name}.weight"].transpose(2, 3, 1, 0).reshape(4 * c, -1)
    blocks = x.reshape(h // 2, 2, w // 2, 2, c).swapaxes(1, 2).reshape(h // 2, w // 2, 4 * c)
    return blocks @ weight + weights[f"{name}.bias"]


def doubled(weights: Weights, name: str, x: np.ndarray) -> np.ndarray:
    """A transposed convolution of 2 x 2 with stride 2: (h, w, Cin) -> (2h, 2w, Cout)"""
    h, w, c = x.shape
    weight = weights[f"{name}.weight"].transpose(0, 2, 3, 1)  # (Cin, 2, 2, Cout)
    blocks = (x.reshape(h * w, c) @ weight.reshape(c, -1)).reshape(h, w, 2, 2, -1)
    return blocks.swapaxes(1, 2).reshape(2 * h, 2 * w, -1) + weights[f"{name}.bias"]
