"""A model with rounded weights, and where in a graph they are."""

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ...models.modeling_sam import SamModel
from ...ops.preparation import Preparation
from ..format import ExportJob
from .calibration import Moments, calibration_images, compressible, moments_of
from .choice import FEWEST_BITS, MOST_BITS, apply, choose_bits, has_choice, rounded_layer, sensitivities
from .levels import Levels

KEY = "calibration"
"""Of `ExportJob.shared`."""

MOST_PHOTOS = 8
"""Photos that sensitivities are measured on; statistics are of all."""


@dataclass
class Compressed:
    """model: a copy that computes with the rounded weights; levels: by layer"""

    model: SamModel
    levels: dict[str, Levels]
    _places: dict[tuple[int, bytes], tuple[str, bool]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for name, found in self.levels.items():
            for turned in (False, True) if found.levels.ndim == 2 else (False,):
                values = found.values.T if turned else found.values
                self._places.setdefault(_key(values), (name, turned))

    def find(self, values: np.ndarray) -> Levels | None:
        """The levels of a weight as it is in a graph, turned like it; None for any other numbers."""
        name, turned = self._places.get(_key(values), ("", False))
        if not name:
            return None
        found = self.levels[name]
        if turned:
            return Levels(found.levels.T, found.scale.T, found.bits, 1 - found.axis)
        scale = found.scale.reshape([-1 if axis == found.axis else 1 for axis in range(values.ndim)])
        return Levels(found.levels.reshape(values.shape), scale, found.bits, found.axis)

    def bits_in(self, role: str) -> dict[str, int]:
        """Bits of the layers of a file, the "encoder" or another."""
        return {
            name: bits for name, bits in self.bits.items() if name.startswith("vision_encoder.") == (role == "encoder")
        }

    @property
    def bits(self) -> dict[str, int]:
        return {name: found.bits for name, found in self.levels.items()}


def _key(values: np.ndarray) -> tuple[int, bytes]:
    """Of the numbers in half precision, so that graphs in float16 are found too."""
    return values.size, hashlib.sha256(np.ascontiguousarray(values).astype(np.float16).tobytes()).digest()


class Calibration:
    """Measures a model on photos when first asked to, and rounds copies of it.

    photos: (H, W, 3) uint8
    tell: called with a line of progress
    """

    def __init__(
        self,
        model: SamModel,
        preparation: Preparation,
        photos: Sequence[np.ndarray],
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.model, self.preparation, self.photos, self.tell = model, preparation, list(photos), tell

    @cached_property
    def moments(self) -> dict[str, Moments]:
        """By layer; see `calibration.moments_of`."""
        images = calibration_images(self.photos, self.preparation)
        self.tell(f"statistics of the inputs of every layer on {len(images)} views of {len(self.photos)} photos")
        return moments_of(self.model, images)

    @cached_property
    def losses(self) -> dict[str, float]:
        """Of each layer in `FEWEST_BITS`; see `choice.sensitivities`."""
        probes = [self.preparation(pixels) for pixels in self.photos[:MOST_PHOTOS]]
        done = 0

        def told(name: str, loss: float) -> None:
            nonlocal done
            done += 1
            if done % 10 == 0:
                self.tell(f"{done} layers tried in {FEWEST_BITS} bits, one at a time")

        return sensitivities(self.model, probes, self.moments, tell=told)

    def compress(self, mean_bits: float, widths: Sequence[int]) -> Compressed:
        """A copy with weights of ``mean_bits`` on average, each layer's width one of ``widths`` (ascending)."""
        small = copy.deepcopy(self.model)
        layers = {name: layer for name, layer in compressible(small).items() if name in self.moments}
        sizes = {name: layer.weight.numel() for name, layer in layers.items()}
        losses = {name: self.losses[name] for name, layer in layers.items() if has_choice(layer)}
        chosen = choose_bits(losses, sizes, mean_bits, widths)
        levels = {}
        for name, layer in layers.items():
            levels[name], bias = rounded_layer(layer, chosen.get(name, MOST_BITS), self.moments[name])
            apply(layer, levels[name], bias)
        return Compressed(small, levels)


def calibration_of(job: ExportJob) -> Calibration:
    """The calibration of an export, the same for all its formats: on the proof's photos and ``calibration``."""
    if KEY not in job.shared:
        given = [np.asarray(image.resized).round().astype(np.uint8) for image in job.options.get("calibration", ())]
        photos = [*given, *job.proof.sources.values()]
        job.shared[KEY] = Calibration(job.model, job.preparation, photos, job.tell)
    return job.shared[KEY]
