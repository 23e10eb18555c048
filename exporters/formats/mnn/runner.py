"""Runs MNN files on the CPU."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from ....errors import CheckpointError
from ....ops.threads import thread_count
from ...file_pairs import FilePair
from ...manifest import Artefact, FileRecord
from ..onnx.runner import TransformersJsRunner

SMALL_TILES = (3, 1)
"""Winograd's algorithm in small tiles (MNN's hint WINOGRAD_MEMORY_LEVEL); in large ones, convolutions lose 2e-4."""


class File:
    """A loaded file, called with inputs by name; unknown names are ignored, and threads take turns.

    inputs: by name; raises: CheckpointError
    """

    def __init__(self, folder: Path, record: FileRecord) -> None:
        self.inputs = {tensor.name: tensor for tensor in record.inputs}
        self.outputs = [tensor.name for tensor in record.outputs]
        self._turn = Lock()
        path = folder / record.path
        with no_standard_output():
            from MNN import nn

            settings = {"backend": 0, "numThread": thread_count(), "precision": "high"}  # 0: the CPU
            self._runtime = nn.create_runtime_manager((settings,))
            self._runtime.set_hint(*SMALL_TILES)
            try:
                names = list(self.inputs), self.outputs
                self._run: Any = nn.load_module_from_file(str(path), *names, runtime_manager=self._runtime)
            except (SystemError, RuntimeError, ValueError) as e:  # a missing or damaged file gives the first
                raise CheckpointError(f"{path} does not load in MNN; export or get it again") from e

    def __call__(self, fed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        from MNN import expr

        with self._turn:
            found = self._run.forward([variable(fed[name], of.dtype) for name, of in self.inputs.items()])
            found = [expr.convert(value, expr.NCHW) for value in (found if isinstance(found, list) else [found])]
            return {name: np.array(value.read()) for name, value in zip(self.outputs, found, strict=True)}


def variable(value: np.ndarray, kind: str) -> Any:
    """An array as MNN takes it."""
    from MNN import expr

    as_int = kind.startswith("int")
    value, kind = np.ascontiguousarray(value, np.int32 if as_int else np.float32), expr.int if as_int else expr.float
    if not value.size:
        return expr.placeholder(list(value.shape), expr.NCHW, kind)
    return expr.const(value, list(value.shape), expr.NCHW, kind)


@contextmanager
def no_standard_output() -> Iterator[None]:
    """Drop what MNN prints from C++ while it loads: standard output is for results."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


class MnnRunner(TransformersJsRunner):
    """A `gate.Runner` of an artefact."""

    def __init__(self, folder: Path, artefact: Artefact) -> None:
        self.model = FilePair(*(File(folder, artefact.file(role)) for role in ("encoder", "decoder")))
        self.points_scale = artefact.file("encoder").facts.get("points_scale", 1.0)
        from importlib.metadata import version

        self.runtime = f"MNN {version('MNN')}, CPU"


def open_runner(folder: Path, artefact: Artefact) -> MnnRunner:
    """For `format.Format.runner`. raises: BundleError, CheckpointError"""
    return MnnRunner(folder, artefact)
