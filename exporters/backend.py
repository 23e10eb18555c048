"""A bundle's files, of any format, as a backend of `ImagePredictor`, through the runner that the gate uses.

`register` makes `open_predictor` accept bundles. ONNX files in the layout of transformers.js have their own backend,
which needs no bundle; all others use this one. Without macOS, Core ML packages run in the evaluator.
"""

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ExportError, PromptError
from ..inference.backends import Backend, Prompts
from ..inference.opening import FolderFormat, register_folder_format
from ..inference.runtime import read_capabilities, read_preparation
from ..ops.preparation import Prepared
from ..ops.prompts import PAD_LABEL
from .bundle import check_installed
from .formats import FORMATS
from .manifest import MANIFEST, Artefact, Manifest
from .proof import Answer, Prompt

NAMES = {"image_embedding": "image_embeddings"}
"""Name of the embedding in files -> its name in `Backend.to_arrays`."""


class BundleBackend(Backend):
    """One artefact of a bundle. A copy by pickle opens its files again.

    artefact: default: the first in ``export.json`` whose format can run here
    raises: BundleError, CheckpointError; ExportError if no format of the bundle can run here
    """

    def __init__(self, folder: Path, artefact: Artefact | None = None) -> None:
        self.folder = Path(folder).absolute()
        self.artefact = artefact or first_that_runs(Manifest.read(folder))
        self.preparation = read_preparation(folder)
        self.capabilities = read_capabilities(folder)
        self.runner = FORMATS[self.artefact.format].open_runner(folder, self.artefact)

    def __reduce__(self) -> tuple[type, tuple]:
        return type(self), (self.folder, self.artefact)

    def encode(self, image: Prepared) -> Any:
        return self.runner.encode(image)

    def decode(
        self, held: Any, prompts: Prompts, multimask_output: bool = True, hq_token_only: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """raises: PromptError for a prompt that does not fit the file"""
        found = [self._answer(held, prompts.one(i), multimask_output) for i in range(len(prompts))]
        return np.stack([a.low_res for a in found]), np.stack([a.scores for a in found])

    def _answer(self, held: Any, one: Prompts, multimask_output: bool) -> Answer:
        """The requested masks among the file's outputs; see `gate.Runner.masks`."""
        points, labels = (values[0] for values in one.as_points())
        real = labels != PAD_LABEL
        found = self.runner.decode(held, Prompt("", points[real], labels[real], one.masks))
        has_single = self.runner.masks == "all" and len(found.scores) > 1
        if multimask_output:
            return Answer(found.low_res[1:], found.scores[1:]) if has_single else found
        best = 0 if has_single else int(self.rank(found.low_res[None], found.scores[None])[0].argmax())
        return Answer(found.low_res[best : best + 1], found.scores[best : best + 1])

    def identity(self) -> str:
        parts = [repr(self.preparation), self.artefact.name, *(record.sha256 for record in self.artefact.files)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def to_arrays(self, encoded: Any) -> dict[str, np.ndarray]:
        if not isinstance(encoded, Mapping):
            return {"image_embeddings": np.asarray(encoded)}
        return {NAMES.get(name, name): np.asarray(value) for name, value in encoded.items()}

    def from_arrays(self, arrays: Mapping[str, Any]) -> Any:
        first = self.artefact.file("encoder").outputs[0].name
        if len(arrays) == 1 and first not in NAMES:
            return arrays["image_embeddings"]
        return {first if name == "image_embeddings" else name: value for name, value in arrays.items()}

    def from_features(self, features: Any) -> Any:
        if self.artefact.file("encoder").outputs[1:]:
            raise PromptError("this file's decoder needs more than the embedding; use load_embedding")
        if hasattr(features, "detach"):
            features = features.detach().float().cpu().numpy()
        return self.from_arrays({"image_embeddings": np.asarray(features, np.float32)})


def first_that_runs(manifest: Manifest) -> Artefact:
    """The first artefact whose format is known and installed. raises: ExportError naming what the last one needs"""
    missing = ExportError("this bundle holds no files; export the model again")
    for artefact in manifest.artefacts:
        try:
            check_installed(artefact.format, to_export=False)
            return artefact
        except ExportError as e:
            missing = e
    raise missing


def open_backend(folder: Path, device: str | None = None, threads: int | None = None) -> BundleBackend:
    """For `FolderFormat.open`; the format chooses the device, and ``threads`` only matters if torch runs the files."""
    backend = BundleBackend(folder)
    if threads and (torch := sys.modules.get("torch")):
        torch.set_num_threads(threads)
    return backend


def register() -> None:
    """Make `open_predictor` accept every folder written by `sam-hub export`."""
    register_folder_format(FolderFormat("bundle", lambda folder: (folder / MANIFEST).is_file(), open_backend))
