"""The encoder of `pocket` in NumPy, equivalent to `encoder` in PyTorch."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...inference.numpy_model.layers import Weights, convolution, depthwise, gelu, layer_norm, pointwise, relu6


class PocketArrays:
    """The encoder of `pocket`, for one image.

    config: ``vision_config``; weights: of the complete model, float32
    """

    def __init__(self, config: Mapping[str, Any], weights: Weights) -> None:
        self.config, self.weights = config, weights
        self._folded: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def __call__(self, pixel_values: np.ndarray) -> dict[str, np.ndarray]:
        """Encode an image, (3, H, W), normalised and padded.

        returns: image_embeddings (1, C, H / 16, W / 16), and for the decoder stride_8 (1, C8, H / 8, W / 8) and
            stride_4 (1, C4, H / 4, W / 4)
        """
        weight, bias = self._convolution("stem")
        x = relu6(convolution(weight, pixel_values, stride=2) + bias[:, None, None])
        stride, level = 2, {}
        for i, (expansion, _, step, _, repeats) in enumerate(self.config["stages"]):
            for j in range(repeats):
                x = self._block(f"stages.{i}.{j}", x, expansion > 1, step if j == 0 else 1)
            stride *= step
            level[stride] = x  # the last stage at each stride
        embedding = self._neck(*(level[s] for s in (8, 16, 32)))
        return {"image_embeddings": embedding[None], "stride_8": level[8][None], "stride_4": level[4][None]}

    def _convolution(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Weight and bias of a convolution with its batch norm folded in."""
        if name not in self._folded:
            weight, *norm = (
                self.weights[f"vision_encoder.{name}.{part}"].astype(np.float64)
                for part in ("conv.weight", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var")
            )
            gain = norm[0] / np.sqrt(norm[3] + self.config["batch_norm_eps"])
            folded = weight * gain[:, None, None, None], norm[1] - norm[2] * gain
            self._folded[name] = tuple(part.astype(np.float32) for part in folded)
        return self._folded[name]

    def _block(self, name: str, x: np.ndarray, expands: bool, stride: int) -> np.ndarray:
        y = relu6(pointwise(*self._convolution(f"{name}.expand"), x)) if expands else x
        y = relu6(depthwise(*self._convolution(f"{name}.depthwise"), y, stride))
        y = pointwise(*self._convolution(f"{name}.project"), y)
        return x + y if x.shape == y.shape else y

    def _neck(self, *levels: np.ndarray) -> np.ndarray:
        """Strides 8, 16 and 32 -> (C, h, w) at stride 16"""
        weights = [self.weights[f"vision_encoder.neck.{name}.weight"] for name in ("fine", "middle", "coarse")]
        fine, middle, coarse = levels
        _, h, w = middle.shape
        blocks = fine.reshape(-1, h, 2, w, 2).transpose(0, 2, 4, 1, 3).reshape(-1, h, w)
        x = pointwise(weights[0], None, blocks) + pointwise(weights[1], None, middle)
        x += pointwise(weights[2], None, coarse).repeat(2, axis=1).repeat(2, axis=2)
        x = convolution(self.weights["vision_encoder.neck.conv.weight"], self._normed("layer_norm1", x, gelu))
        return self._normed("layer_norm2", x)

    def _normed(self, name: str, x: np.ndarray, *then: Any) -> np.ndarray:
        """A layer norm over the channels of (C, h, w), and the activation."""
        y = layer_norm(self.weights, f"vision_encoder.neck.{name}", x.transpose(1, 2, 0), self.config["layer_norm_eps"])
        for function in then:
            y = function(y)
        return np.ascontiguousarray(y.transpose(2, 0, 1))
