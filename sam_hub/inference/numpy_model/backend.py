"""`pocket` in NumPy as a backend: without PyTorch, the same masks as `TorchBackend` except for rounding.

Importing PyTorch and transformers takes several times as long as processing one photo, and most of the memory. For many
photos PyTorch is faster, as it computes on all cores.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from ...errors import CheckpointError
from ...families import registry
from ...ops.preparation import Prepared
from ...ops.threads import thread_count
from ..backends import Backend, Prompts
from ..runtime import read_capabilities, read_preparation
from . import decoder

MOST_PHOTOS = 4
"""The most photos processed in parallel: each takes the memory of the photo and some 60 MB."""


def supports(folder: Path) -> bool:
    """Whether a folder in transformers layout holds a model that this backend computes."""
    config = _read_config(folder)
    vision = config.get("vision_config") or {}
    finer = vision.get("output_fine_features") is True
    return bool(finer and _encoder(vision) and decoder.supports(config))


def _read_config(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text("utf-8"))


def _encoder(vision: Mapping[str, Any]) -> str:
    """Lazy string of the NumPy image encoder; empty if there is none."""
    part = dict(registry.parts("encoder")).get(vision.get("model_type", ""))
    return part.arrays if part else ""


class NumpyBackend(Backend):
    """Runs the model of a folder for which `supports` is true, in float32 on the CPU.

    raises: CheckpointError
    """

    def __init__(self, folder: Path) -> None:
        self.preparation = read_preparation(folder)
        self.capabilities = read_capabilities(folder)
        config = _read_config(folder)
        try:
            stored = load_file(folder / "model.safetensors")
        except (OSError, SafetensorError) as e:
            raise CheckpointError(f"the weights in {folder} are damaged or missing ({e}); install it again") from e
        weights = {name: value.astype(np.float32) for name, value in stored.items()}
        self._encode = registry.load(_encoder(config["vision_config"]))(config["vision_config"], weights)
        self._decoder = decoder.ArrayDecoder(config, weights)

    @property
    def photos_at_once(self) -> int:
        """One for each core, or what ``OMP_NUM_THREADS`` says: only the matrix products of a photo use several."""
        return max(1, min(thread_count(), MOST_PHOTOS))

    def encode(self, image: Prepared) -> dict[str, np.ndarray]:
        return self._encode(image.pixel_values[0])

    def hold(self, encoded: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self._decoder.hold(encoded)

    def decode(
        self,
        held: Mapping[str, np.ndarray],
        prompts: Prompts,
        multimask_output: bool = True,
        hq_token_only: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        found = [self._decoder(held, prompts.one(i), multimask_output) for i in range(len(prompts))]
        low_res, iou = (np.stack(part) for part in zip(*found, strict=True))
        return low_res, iou

    def to_arrays(self, encoded: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(encoded)

    def from_arrays(self, arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
        return dict(arrays)
