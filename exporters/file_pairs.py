"""An encoder's and a decoder's file for transformers.js, run by a library other than onnxruntime."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from ..inference.runtime import decoder_feeds
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
        return self.decoder(decoder_feeds(self.decoder.inputs, embedded, points, labels.astype(np.int64), mask_input))
