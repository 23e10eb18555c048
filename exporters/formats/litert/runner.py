"""Runs LiteRT files in LiteRT's own interpreter."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ....errors import CheckpointError
from ....ops.preparation import Prepared
from ....ops.threads import thread_count
from ...manifest import Artefact, FileRecord
from ...proof import Answer, Prompt
from ...slot_io import PROMPTS, answer_of, in_slots


class LiteRtRunner:
    """A `gate.Runner` of the two files of an artefact."""

    def __init__(self, folder: Path, artefact: Artefact) -> None:
        from importlib.metadata import version

        encoder, decoder = artefact.file("encoder"), artefact.file("decoder")
        self._encoder, self._decoder = File(folder, encoder), File(folder, decoder)
        self._maps = [t.name for t in encoder.outputs]
        self.masks = "all" if "single_mask" in self._decoder.outputs else "multi"
        self.runtime = f"ai-edge-litert {version('ai-edge-litert')}, CPU"
        shapes = {t.name: t.shape for t in decoder.inputs}
        self._slots, self._mask_shape = shapes["labels"][1], tuple(shapes["mask_input"])

    def encode(self, image: Prepared) -> dict[str, np.ndarray]:
        return self._encoder([image.pixel_values])

    def decode(self, embedded: dict[str, np.ndarray], prompt: Prompt) -> Answer:
        """raises: PromptError if there are more points than slots"""
        filled = in_slots(prompt, self._slots, self._mask_shape)
        embedding, *maps = (embedded[name] for name in self._maps)
        return answer_of(self._decoder([embedding, *(filled[name] for name in PROMPTS), *maps]))


class File:
    """One file; takes its inputs in order and returns its outputs by name. raises: CheckpointError"""

    def __init__(self, folder: Path, record: FileRecord) -> None:
        from ai_edge_litert.interpreter import Interpreter

        path = folder / record.path
        try:
            self._interpreter = Interpreter(str(path), num_threads=thread_count())
            self._run: Any = self._interpreter.get_signature_runner()
        except (RuntimeError, ValueError) as e:
            raise CheckpointError(f"{path} does not load in LiteRT; export or get it again") from e
        self.outputs = [t.name for t in record.outputs]

    def __call__(self, inputs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        found = self._run(**{f"args_{i}": value for i, value in enumerate(inputs)})
        return {name: np.array(found[f"output_{i}"]) for i, name in enumerate(self.outputs)}


def open_runner(folder: Path, artefact: Artefact) -> LiteRtRunner:
    """For `format.Format.runner`. raises: BundleError, CheckpointError"""
    return LiteRtRunner(folder, artefact)
