"""An encoder's and a decoder's file for transformers.js, run by a library other than onnxruntime."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from ..ops.preparation import Prepared
from .manifest import Tensor


class LoadedFile(Protocol):
    """A loaded file, called with inputs by name; unknown names are ignored. inputs: by name"""

    inputs: Mapping[str, Tensor]

    def __call__(self, fed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]: ...


class FilePair:
    """Encoder and decoder; the counterpart of `inference.runtime.OnnxModel`."""

    def __init__(self, encoder: LoadedFile, decoder: LoadedFile) -> None:
        self.encoder, self.decoder = encoder, decoder

    def encode(self, image: Prepared) -> dict[str, np.ndarray]:
        """The decoder's inputs that depend on the image, by name."""
        return self.encoder({"pixel_values": image.pixel_values})

    def decode(
        self,
        embedded: Mapping[str, np.ndarray],
        points: np.ndarray,
        labels: np.ndarray,
        mask_input: np.ndarray | None = None,
        outputs: Sequence[str] | None = None,
    ) -> dict[str, np.ndarray]:
        """As `OnnxModel.decode`, but always returns all outputs."""
        fed = {"input_points": points[None], "input_labels": labels[None].astype(np.int64), **embedded}
        if "mask_input" in self.decoder.inputs:
            shape = [side if isinstance(side, int) else 1 for side in self.decoder.inputs["mask_input"].shape]
            fed["mask_input"] = np.zeros(shape, np.float32) if mask_input is None else mask_input
            fed["has_mask_input"] = np.array([mask_input is not None], np.float32)
        return self.decoder(fed)
