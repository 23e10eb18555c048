"""Runs ExecuTorch programs by ExecuTorch's own runtime."""

from pathlib import Path

import numpy as np
import torch

from ....ops.preparation import Prepared
from ...manifest import Artefact
from ...proof import Answer, Prompt
from ...slot_io import PROMPTS, answer_of, in_slots


class ExecutorchRunner:
    """A `gate.Runner` of the two programs of an artefact, by ExecuTorch's own runtime."""

    def __init__(self, folder: Path, artefact: Artefact) -> None:
        from importlib.metadata import version

        from executorch.runtime import Runtime

        runtime = Runtime.get()
        encoder, decoder = artefact.file("encoder"), artefact.file("decoder")
        self._programs = [runtime.load_program(folder / record.path) for record in (encoder, decoder)]
        self._encoder, self._decoder = (program.load_method("forward") for program in self._programs)
        self._outputs = [t.name for t in decoder.outputs]
        self._maps = [t.name for t in encoder.outputs]
        self.masks = "all" if "single_mask" in self._outputs else "multi"
        backend = encoder.facts["backend"]
        self.runtime = f"executorch {version('executorch')}, {backend}{', CPU' if backend == 'XNNPACK' else ''}"
        shapes = {t.name: t.shape for t in decoder.inputs}
        self._slots, self._mask_shape = shapes["labels"][1], tuple(shapes["mask_input"])

    def encode(self, image: Prepared) -> dict[str, np.ndarray]:
        found = self._encoder.execute((torch.from_numpy(image.pixel_values),))
        return {name: value.clone().numpy() for name, value in zip(self._maps, found, strict=True)}

    def decode(self, embedded: dict[str, np.ndarray], prompt: Prompt) -> Answer:
        """raises: PromptError if there are more points than slots"""
        filled = in_slots(prompt, self._slots, self._mask_shape)
        embedding, *maps = (torch.from_numpy(embedded[name]) for name in self._maps)
        found = self._decoder.execute((embedding, *(torch.from_numpy(filled[name]) for name in PROMPTS), *maps))
        return answer_of({name: t.numpy() for name, t in zip(self._outputs, found, strict=True)})


def open_runner(folder: Path, artefact: Artefact) -> ExecutorchRunner:
    """For `format.Format.runner`."""
    return ExecutorchRunner(folder, artefact)
