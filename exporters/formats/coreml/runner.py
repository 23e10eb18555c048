"""Runs Core ML packages for the gate: in Core ML on macOS, elsewhere in the evaluator of `mil`."""

import platform
import sys
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from ....ops.preparation import Prepared
from ...gate import NOT_ON_DEVICE
from ...manifest import Artefact
from ...proof import Answer, Prompt
from ...slot_io import answer_of, in_slots


class Predictor(Protocol):
    """What coremltools' ``MLModel`` and `mil.evaluate.Evaluator` have in common."""

    def predict(self, inputs: dict[str, Any]) -> dict[str, np.ndarray]: ...


class CoreMlRunner:
    """A `gate.Runner` of the three packages of an artefact.

    folder: the bundle
    """

    def __init__(self, folder: Path, artefact: Artefact) -> None:
        encoder, prompts, decoder = (artefact.file(role) for role in ("encoder", "prompt_encoder", "decoder"))
        self._encoder, self._prompts, self._decoder = (
            open_package(folder / record.path) for record in (encoder, prompts, decoder)
        )
        self.masks = "all" if any(t.name == "single_mask" for t in decoder.outputs) else "multi"
        self.runtime = describe_runtime()
        shapes = {t.name: t.shape for t in (*encoder.inputs, *prompts.inputs)}
        self._size = tuple(shapes["image"][:2])
        self._slots = shapes["labels"][1]
        self._mask_shape = tuple(shapes["mask_input"])
        self._fill = tuple(encoder.facts["fill"])
        self._maps = [t.name for t in encoder.outputs]

    def encode(self, image: Prepared) -> dict[str, np.ndarray]:
        height, width = self._size
        square = Image.new("RGB", (width, height), self._fill)
        square.paste(Image.fromarray(image.resized), (0, 0))
        found = self._encoder.predict({"image": square})
        return {name: found[name] for name in self._maps}

    def decode(self, embedded: dict[str, np.ndarray], prompt: Prompt) -> Answer:
        """raises: PromptError if there are more points than slots"""
        inputs = in_slots(prompt, self._slots, self._mask_shape)
        found = self._decoder.predict({**embedded, **self._prompts.predict(inputs)})
        return answer_of(found)


def open_package(path: Path) -> Predictor:
    """Core ML itself on macOS, the evaluator elsewhere."""
    if sys.platform == "darwin":
        import coremltools as ct

        return ct.models.MLModel(str(path))
    from .mil.evaluate import Evaluator
    from .mil.package import read_package

    return Evaluator(read_package(path))


def describe_runtime() -> str:
    """For the manifest."""
    from importlib.metadata import version

    if sys.platform == "darwin":
        return f"Core ML of macOS {platform.mac_ver()[0]}, predict"
    return f"{NOT_ON_DEVICE} (coremltools {version('coremltools')}, torch {version('torch')})"


def open_runner(folder: Path, artefact: Artefact) -> CoreMlRunner:
    """For `format.Format.runner`."""
    return CoreMlRunner(folder, artefact)
