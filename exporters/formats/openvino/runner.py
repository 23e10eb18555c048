"""Runs OpenVINO files on the CPU, in float32."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ....errors import CheckpointError
from ....ops.threads import asked_threads
from ...file_pairs import FilePair
from ...manifest import Artefact, FileRecord
from ..onnx.runner import TransformersJsRunner

PINNED = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
"""By default OpenVINO computes in bfloat16 if the CPU has it."""


class File:
    """A compiled file, called with inputs by name; unknown names are ignored.

    inputs: by name; raises: CheckpointError
    """

    def __init__(self, folder: Path, record: FileRecord) -> None:
        self.model = compiled(folder / record.path)
        self.inputs = {tensor.name: tensor for tensor in record.inputs}
        self.outputs = [tensor.name for tensor in record.outputs]

    def __call__(self, fed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = self.model({name: fed[name] for name in self.inputs})
        return {name: np.array(found[name]) for name in self.outputs}


class OpenvinoRunner(TransformersJsRunner):
    """A `gate.Runner` of an artefact."""

    def __init__(self, folder: Path, artefact: Artefact) -> None:
        import openvino

        self.model = FilePair(*(File(folder, artefact.file(role)) for role in ("encoder", "decoder")))
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
