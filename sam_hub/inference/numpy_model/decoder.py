"""Prompt encoder and mask decoder of `pocket` in NumPy: `sam_hub.models.prompt_encoder` and `fine_decoder`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...ops.prompts import PAD_LABEL
from ..backends import Prompts
from .layers import Weights, doubled, gelu, halved, layer_norm, linear, softmax

HEADS = "output_hypernetworks_mlps"
UPSCALE_EPS = 1e-6
"""The eps of `sam_hub.models.layers.LayerNorm2d`, which no configuration changes."""


class ArrayDecoder:
    """Prompts -> low-res masks and predicted IoU, one object at a time.

    config: of the whole model; weights: float32
    """

    def __init__(self, config: Mapping[str, Any], weights: Weights) -> None:
        self.prompts, self.config = config["prompt_encoder_config"], config["mask_decoder_config"]
        self.every = weights
        self.weights = {k.removeprefix("mask_decoder."): v for k, v in weights.items() if k.startswith("mask_decoder.")}
        self.eps = self.config["layer_norm_eps"]

    def hold(self, encoded: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Arrays that all prompts of an image share, pixels first.

        returns: image (h, w, C), positions (h * w, C), and the features added while upscaling masks: stride_8
            (2h, 2w, C / 4) and stride_4 (4h, 4w, C / 8)
        """
        maps = {name: encoded[name][0].transpose(1, 2, 0) for name in ("image_embeddings", "stride_8", "stride_4")}
        h, w, _ = maps["image_embeddings"].shape
        y, x = np.mgrid[0.5:h, 0.5:w].astype(np.float32)
        held = {
            "image": maps["image_embeddings"],
            "positions": self._fourier(np.stack([x / w, y / h], -1).reshape(-1, 2)),
        }
        for name, conv in (("stride_8", "conv_s1"), ("stride_4", "conv_s0")):
            held[name] = maps[name] @ self.weights[f"{conv}.weight"][:, :, 0, 0].T + self.weights[f"{conv}.bias"]
        return held

    def __call__(
        self, held: Mapping[str, np.ndarray], prompts: Prompts, multimask: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """One object: low-res logits (M, 4h, 4w), predicted IoU (M,)"""
        h, w, c = held["image"].shape
        sparse = self._sparse(prompts, (h, w))
        image = held["image"].reshape(h * w, c) + self._dense(prompts.masks).reshape(-1, c)
        own = np.concatenate([self.weights["iou_token.weight"], self.weights["mask_tokens.weight"]])
        tokens, image = self._transform(np.concatenate([own, sparse]), image, held["positions"])

        part = slice(1, len(own) - 1) if multimask else slice(0, 1)
        iou = self._head("iou_prediction_head", tokens[0])[part]
        kinds = range(len(own) - 1)[part]
        hyper = np.stack([self._head(f"{HEADS}.{i}", tokens[1 + i]) for i in kinds])  # (M, C / 8)
        x = doubled(self.weights, "upscale_conv1", image.reshape(h, w, c)) + held["stride_8"]
        x = gelu(layer_norm(self.weights, "upscale_layer_norm", x, UPSCALE_EPS))
        x = gelu(doubled(self.weights, "upscale_conv2", x) + held["stride_4"])
        return (hyper @ x.reshape(16 * h * w, -1).T).reshape(-1, 4 * h, 4 * w), iou

    # ------------------------------------------------------------ prompts

    def _fourier(self, xy: np.ndarray) -> np.ndarray:
        """(..., 2), x then y, in [0, 1] -> (..., C)"""
        angle = np.float32(2 * np.pi) * ((2 * xy - 1) @ self.every["shared_image_embedding.positional_embedding"])
        return np.concatenate([np.sin(angle), np.cos(angle)], -1)

    def _sparse(self, prompts: Prompts, grid: tuple[int, int]) -> np.ndarray:
        """Tokens of the points and of the box's corners, (T, C)."""
        xy, labels = np.zeros((0, 2), np.float32), np.zeros(0, np.int64)
        if prompts.points is not None:
            there = prompts.labels[0] != PAD_LABEL
            xy, labels = prompts.points[0][there].astype(np.float32), prompts.labels[0][there]
        if prompts.boxes is not None:
            xy = np.concatenate([xy, prompts.boxes[0].reshape(2, 2).astype(np.float32)])
            labels = np.concatenate([labels, [2, 3]])
        elif len(labels):
            xy, labels = np.concatenate([xy, np.zeros((1, 2), np.float32)]), np.append(labels, -1)
        names = ["not_a_point_embed", *(f"point_embed.{i}" for i in range(4))]
        table = np.concatenate([self.every[f"prompt_encoder.{name}.weight"] for name in names])
        scale = np.float32(self.prompts["patch_size"]) * np.array(grid[::-1], np.float32)
        position = self._fourier((xy + np.float32(0.5)) / scale) * (labels >= 0)[:, None]
        return position + table[labels.clip(min=-1) + 1] * (labels >= -1)[:, None]

    def _dense(self, mask: np.ndarray | None) -> np.ndarray:
        """Dense embedding of a mask prompt (1, 1, 4h, 4w), (h, w, C), or of no mask, (1, C)."""
        if mask is None:
            return self.every["prompt_encoder.no_mask_embed.weight"]
        x, base = mask[0, 0, :, :, None].astype(np.float32), "prompt_encoder.mask_embed"
        for i in (1, 2):
            x = halved(self.every, f"{base}.conv{i}", x)
            x = gelu(layer_norm(self.every, f"{base}.layer_norm{i}", x, self.prompts["layer_norm_eps"]))
        return x @ self.every[f"{base}.conv3.weight"][:, :, 0, 0].T + self.every[f"{base}.conv3.bias"]

    # ------------------------------------------------------------ the two-way transformer

    def _transform(self, tokens: np.ndarray, image: np.ndarray, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """tokens (T, C), image and positions (h * w, C) -> tokens and image"""
        places = tokens
        for i in range(self.config["num_hidden_layers"]):
            name = f"transformer.layers.{i}"
            if i == 0:
                tokens = self._attend(f"{name}.self_attn", tokens, tokens, tokens)
            else:
                q = tokens + places
                tokens = tokens + self._attend(f"{name}.self_attn", q, q, tokens)
            tokens = self._norm(f"{name}.layer_norm1", tokens)
            keys = image + positions
            attended = self._attend(f"{name}.cross_attn_token_to_image", tokens + places, keys, image)
            tokens = self._norm(f"{name}.layer_norm2", tokens + attended)
            hidden = np.maximum(linear(self.weights, f"{name}.mlp.lin1", tokens), 0)
            tokens = self._norm(f"{name}.layer_norm3", tokens + linear(self.weights, f"{name}.mlp.lin2", hidden))
            attended = self._attend(f"{name}.cross_attn_image_to_token", keys, tokens + places, tokens)
            image = self._norm(f"{name}.layer_norm4", image + attended)
        name = "transformer.final_attn_token_to_image"
        attended = self._attend(name, tokens + places, image + positions, image)
        return self._norm("transformer.layer_norm_final_attn", tokens + attended), image

    def _norm(self, name: str, x: np.ndarray) -> np.ndarray:
        return layer_norm(self.weights, name, x, self.eps)

    def _attend(self, name: str, query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
        """(Lq, C), (Lk, C), (Lk, C) -> (Lq, C)"""
        q, k, v = (
            linear(self.weights, f"{name}.{part}", x)
            for part, x in (("q_proj", query), ("k_proj", key), ("v_proj", value))
        )
        heads = self.config["num_attention_heads"]
        q, k, v = (t.reshape(len(t), heads, -1).swapaxes(0, 1) for t in (q, k, v))  # (heads, L, d)
        weights = softmax(q * np.float32(q.shape[-1] ** -0.5) @ k.swapaxes(1, 2))
        return linear(self.weights, f"{name}.out_proj", (weights @ v).swapaxes(0, 1).reshape(len(query), -1))

    def _head(self, name: str, x: np.ndarray) -> np.ndarray:
        """(C,) -> (out,), with ReLU between layers."""
        x = np.maximum(linear(self.weights, f"{name}.proj_in", x), 0)
        i = 0
        while f"{name}.layers.{i}.weight" in self.weights:
            x = np.maximum(linear(self.weights, f"{name}.layers.{i}", x), 0)
            i += 1
        return linear(self.weights, f"{name}.proj_out", x)


def supports(config: Mapping[str, Any]) -> bool:
    """Whether `ArrayDecoder` supports a model's configuration."""
    prompts, decoder = config.get("prompt_encoder_config") or {}, config.get("mask_decoder_config") or {}
    return (
        prompts.get("model_type") == "sam_prompt_encoder"
        and prompts.get("hidden_act") == "gelu"
        and decoder.get("model_type") == "sam_hub_fine_mask_decoder"
        and decoder.get("hidden_act") == "relu"
        and decoder.get("rank_by") == "iou"
        and decoder.get("always_multimask") is False
        and not config.get("text_embedding_size")
    )
