"""Runs ncnn files on the CPU."""

from collections.abc import Mapping
from pathlib import Path
from threading import Lock

import numpy as np

from ....errors import CheckpointError
from ....ops.preparation import Prepared
from ....ops.threads import thread_count
from ...manifest import Artefact, FileRecord
from ...proof import Answer, Prompt
from ...slot_io import PROMPTS, answer_of, in_slots

NARROW = ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_packed", "bf16_storage")
"""ncnn's options that narrow values between layers where the processor can; too coarse for points."""


class File:
    """A loaded pair of ``.param`` and ``.bin``, called with inputs by name. raises: CheckpointError"""

    def __init__(self, folder: Path, record: FileRecord) -> None:
        import ncnn

        self.inputs = {tensor.name: tensor for tensor in record.inputs}
        self.outputs = {tensor.name: tensor for tensor in record.outputs}
        self._turn, self._net = Lock(), ncnn.Net()
        options = self._net.opt
        options.use_vulkan_compute, options.num_threads = False, thread_count()
        for name in NARROW:
            setattr(options, f"use_{name}", False)
        param, (weights, *_) = folder / record.path, record.weights
        if self._net.load_param(str(param)) or self._net.load_model(str(folder / weights)):
            raise CheckpointError(f"{param} does not load in ncnn; export or get it again")

    def __call__(self, fed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Arrays with a batch axis of 1, which ncnn has not, to such arrays. raises: CheckpointError"""
        import ncnn

        with self._turn:
            extractor, found = self._net.create_extractor(), {}
            for name, tensor in self.inputs.items():
                value = np.ascontiguousarray(fed[name], np.float32).reshape(tensor.shape)
                extractor.input(name, ncnn.Mat(value).clone())  # layers in place need memory of ncnn's own
            for name, tensor in self.outputs.items():
                failed, value = extractor.extract(name)
                if failed:
                    raise CheckpointError(f"ncnn cannot compute {name}; export or get the files again")
                found[name] = np.array(value).reshape(1, *tensor.shape)
            return found


class NcnnRunner:
    """A `gate.Runner` of an artefact."""

    def __init__(self, folder: Path, artefact: Artefact) -> None:
        from importlib.metadata import version

        self._encoder, self._decoder = (File(folder, artefact.file(role)) for role in ("encoder", "decoder"))
        self.masks = "all" if "single_mask" in self._decoder.outputs else "multi"
        self.runtime = f"ncnn {version('ncnn')}, CPU"
        self._slots = self._decoder.inputs["labels"].shape[0]
        self._mask_shape = (1, *self._decoder.inputs["mask_input"].shape)

    def encode(self, image: Prepared) -> dict[str, np.ndarray]:
        return self._encoder({"pixel_values": image.pixel_values})

    def decode(self, embedded: dict[str, np.ndarray], prompt: Prompt) -> Answer:
        """raises: PromptError if there are more points than slots"""
        filled = in_slots(prompt, self._slots, self._mask_shape)
        return answer_of(self._decoder({**embedded, **{name: filled[name] for name in PROMPTS}}))


def open_runner(folder: Path, artefact: Artefact) -> NcnnRunner:
    """For `format.Format.runner`. raises: BundleError, CheckpointError"""
    return NcnnRunner(folder, artefact)
