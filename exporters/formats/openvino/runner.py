"""Runs OpenVINO files on the CPU, in float32."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ....errors import CheckpointError
from ....ops.preparation import Prepared
from ....ops.threads import asked_threads
from ...manifest import Artefact, FileRecord
from ..onnx.runner import TransformersJsRunner

PINNED = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
"""By default OpenVINO computes in bfloat16 if the CPU has it."""


class OpenvinoModel:
    """Encoder and decoder; the counterpart of `inference.runtime.OnnxModel`."""

    def __init__(self, folder: Path, artefact: Artefact) -> None:
        self.encoder, self.decoder = (File(folder, artefact.file(role)) for role in ("encoder", "decoder"))

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
            blank = np.zeros(self.decoder.inputs["mask_input"], np.float32)
            fed["mask_input"] = blank if mask_input is None else mask_input
            fed["has_mask_input"] = np.array([mask_input is not None], np.float32)
        return self.decoder(fed)


class File:
    """A compiled file, called with inputs by name; unknown names are ignored.

    inputs: name -> shape; raises: CheckpointError
    """

    def __init__(self, folder: Path, record: FileRecord) -> None:
        self.model = compiled(folder / record.path)
        self.inputs = {tensor.name: tensor.shape for tensor in record.inputs}
        self.outputs = [tensor.name for tensor in record.outputs]

    def __call__(self, fed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = self.model({name: fed[name] for name in self.inputs})
        return {name: np.array(found[name]) for name in self.outputs}


class OpenvinoRunner(TransformersJsRunner):
    """A `gate.Runner` of an artefact."""

    def __init__(self, folder: Path, artefact: Artefact) -> None:
        import openvino

        self.model = OpenvinoModel(folder, artefact)
        self.points_scale = artefact.file("encoder").facts.get("points_scale", 1.0)
        precision = self.model.decoder.model.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        self.runtime = f"openvino {openvino.__version__.split('-')[0]}, CPU {precision}"


@cache
def core() -> Any:
    """OpenVINO's ``Core``, the only one of this process.

    Each ``Core`` of OpenVINO 2026.4 gives the thread its own stack for signal handlers, and restores the previous one
    when released. With several, the previous one may already be freed: the next Ctrl-C, or the end of a child process
    after `torch.utils.data.DataLoader` had workers, then causes a segmentation fault.
    """
    import openvino

    return openvino.Core()


def compiled(path: Path) -> Any:
    """A file, ready to run on as many threads as ``OMP_NUM_THREADS`` says, else on all. raises: CheckpointError"""
    threads = asked_threads()
    settings = PINNED | ({"INFERENCE_NUM_THREADS": threads} if threads else {})
    try:
        return core().compile_model(str(path), "CPU", settings)
    except RuntimeError as e:  # all that OpenVINO raises
        raise CheckpointError(f"{path} does not load in OpenVINO; export or download it again") from e


def open_runner(folder: Path, artefact: Artefact) -> OpenvinoRunner:
    """For `format.Format.runner`. raises: BundleError, CheckpointError"""
    return OpenvinoRunner(folder, artefact)
