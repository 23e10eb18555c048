"""Mutations of files: bytes, JSON values, words of a text, tensors."""

import copy
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

ODD: list[Any] = [
    None, True, 0, -1, 1, 2**31, 10**9, 10**30, 0.5, -1e308, float("nan"), float("inf"), "", "x", "../x", "/dev/zero",
    "\x00", "\ud800", [], {}, [[]], [None], [-1, 5], [1e300] * 6, {"size": [5, 5], "counts": "000"}, "0" * 1000,
]  # fmt: skip


class Mutating:
    """Whether to mutate; without mutations, every file is valid and must be read."""

    on = True

    @classmethod
    @contextmanager
    def off(cls) -> Iterator[None]:
        cls.on = False
        try:
            yield
        finally:
            cls.on = True


def mutated_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes changed, removed, repeated or cut off."""
    if not Mutating.on:
        return data
    found = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        at, length = int(rng.integers(len(found) + 1)), int(rng.integers(1, 64))
        kind = rng.integers(6)
        if kind == 0:
            found[at : at + 1] = rng.bytes(1)
        elif kind == 1:
            del found[at : at + length]
        elif kind == 2:
            found[at:at] = found[at : at + length] * int(rng.integers(1, 5))
        elif kind == 3:
            found[at:at] = rng.bytes(length)
        elif kind == 4 and rng.random() < 0.3:
            del found[at:]
        else:
            found[at : at + 4] = rng.choice([b"\xff" * 4, b"\x00" * 4, b"\x7f\xff\xff\xff", b"\x00\x00\x00\x80"])
    return bytes(found)


def mutated_json(document: Any, rng: np.random.Generator) -> bytes:
    """Some values replaced, removed, repeated or moved; now and then the text itself is damaged."""
    if not Mutating.on:
        return json.dumps(document).encode()
    document = copy.deepcopy(document)
    for _ in range(int(rng.integers(1, 4))):
        node = document
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = keys[int(rng.integers(len(keys)))]
            if isinstance(node[key], dict | list) and node[key] and rng.random() < 0.85:
                node = node[key]
                continue
            kind = rng.integers(4)
            if kind == 0:
                del node[key]
            elif kind == 1 and isinstance(node, list):
                node[key:key] = [copy.deepcopy(node[key])] * int(rng.integers(1, 30))
            else:
                node[key] = copy.deepcopy(ODD[int(rng.integers(len(ODD)))])
            break
    text = json.dumps(document).encode()
    return mutated_bytes(text, rng) if rng.random() < 0.2 else text


def mutated_words(data: bytes, rng: np.random.Generator) -> bytes:
    """Some numbers and names of a text replaced by odd ones."""
    if not Mutating.on:
        return data
    parts = re.split(rb"([0-9a-zA-Z_.-]+)", data)
    for _ in range(int(rng.integers(1, 5))):
        at = 1 + 2 * int(rng.integers(len(parts) // 2))
        odd = ODD[int(rng.integers(len(ODD)))]
        parts[at] = str(odd).encode("utf-8", "replace") * (1 if rng.random() < 0.9 else 300)
    return b"".join(parts)


def mutated_weights(weights: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Some tensors of a state dict absent, under another name, of another shape or kind, or none at all."""
    if not Mutating.on:
        return weights
    import torch

    found = dict(weights)
    for _ in range(int(rng.integers(1, 4))):
        keys = list(found)
        key, kind = keys[int(rng.integers(len(keys)))], rng.integers(6)
        value = found.pop(key)
        if kind == 0:
            continue
        if kind == 1:
            key = str(rng.choice(["x", "", key + ".x", key.partition(".")[2], "../x", "image_encoder.blocks.9.x"]))
        elif kind == 2:
            found[key] = ODD[int(rng.integers(len(ODD)))]
            continue
        elif isinstance(value, torch.Tensor) and kind == 3:
            value = torch.zeros([int(rng.choice([0, 1, 2, 3, 64])) for _ in range(int(rng.integers(5)))])
        elif isinstance(value, torch.Tensor) and kind == 4:
            value = value.to([torch.int64, torch.bool, torch.float16, torch.complex64][int(rng.integers(4))])
        elif isinstance(value, torch.Tensor):
            value = value.flatten() if rng.random() < 0.5 else torch.full_like(value, float("nan"))
        found[key] = value
    return found
