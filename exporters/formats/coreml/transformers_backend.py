"""Core ML as a backend of ``transformers.exporters``: after `register`, any model that coremltools converts.

    from sam_hub.exporters.transformers_backend import CoreMlExporter, CoreMlConfig, register

    register()
    exported = CoreMlExporter().export(model, {"pixel_values": pixels}, CoreMlConfig(precision="fp16"))
    exported.save_pretrained("folder")  # model.mlpackage, its metadata and the configuration
    ExportedModel.from_pretrained("folder")(pixel_values=pixels)  # Core ML on macOS, elsewhere the evaluator

Exports one graph of fixed shapes, of ``forward`` with the given inputs. For SAM's three packages with prompt slots, an
image input and a proof, use `sam-hub export`.
"""

import shutil
import tempfile
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.fx._pytree as fx_pytree
from torch import Tensor
from transformers import PreTrainedModel
from transformers.exporters import DynamoConfig, DynamoExporter, ExportMetadata, ModelRunner, register_backend
from transformers.exporters.metadata import load_treespec

from ....models.modeling_sam import SamModel
from ...quiet import hushed
from ...rank_four import restated_encoder, shared_copy
from .export import STATISTICS, TARGET, may_be_half, without_aliases
from .runner import Predictor, open_package

FORMAT = "coreml"


@dataclass
class CoreMlConfig(DynamoConfig):
    """precision: "fp16" (statistics of norms stay float32) or "fp32"; target: least system, as coremltools names it"""

    export_format: str = FORMAT
    precision: str = "fp16"
    target: str = TARGET


@dataclass
class CoreMlProgram:
    """Either a converted model or a saved one."""

    converted: Any = None
    path: Path | None = None
    _aside: Any = field(default=None, repr=False)

    def save(self, path: Path) -> None:
        if self.path is not None:
            shutil.copytree(self.path, path)
        else:
            self.converted.save(str(path))

    def open(self) -> Predictor:
        if self.path is None:
            self._aside = tempfile.TemporaryDirectory()
            path = Path(self._aside.name) / "model.mlpackage"
            self.save(path)
            self.path = path
        return open_package(self.path)


class CoreMlExporter(DynamoExporter):
    """Converts a model to an ML program; see the module."""

    export_format = FORMAT
    config_class = CoreMlConfig
    program_suffix = ".mlpackage"
    required_packages = ["torch", "coremltools"]
    tested_versions = {"torch": "2.13.0", "coremltools": "9.0"}

    @hushed("coremltools")
    def export_program(
        self, model: PreTrainedModel, sample_inputs: MutableMapping[str, Any], config: CoreMlConfig
    ) -> tuple[CoreMlProgram, ExportMetadata]:
        """As in ``transformers``; the encoder of a `SamModel` is rewritten to at most four axes first.

        raises: ValueError for another precision
        """
        import coremltools as ct

        if config.precision not in ("fp16", "fp32"):
            raise ValueError(f"precision must be fp16 or fp32; got {config.precision!r}")
        if isinstance(model, SamModel):
            encoder = restated_encoder(model).encoder
            model = shared_copy(model)
            model.vision_encoder = encoder
            model.set_attn_implementation("eager")
        program, metadata = super().export_program(model, sample_inputs, config)
        program = without_aliases(program.run_decompositions({}))
        outputs = [ct.TensorType(name=name, dtype=np.float32) for name in _output_names(len(_outputs(program)))]
        half = ct.transform.FP16ComputePrecision(op_selector=may_be_half(STATISTICS))
        converted = ct.convert(
            program,
            outputs=outputs,
            convert_to="mlprogram",
            minimum_deployment_target=getattr(ct.target, config.target),
            compute_precision=half if config.precision == "fp16" else ct.precision.FLOAT32,
            skip_model_load=True,
        )
        return CoreMlProgram(converted), metadata

    @classmethod
    def save_program(cls, program: CoreMlProgram, path: str | Path) -> None:
        program.save(Path(path))

    @classmethod
    def load_program(cls, path: str | Path) -> CoreMlProgram:
        return CoreMlProgram(path=Path(path))

    @classmethod
    def program_files(cls, filename: str) -> list[str]:
        """All files of a package, which is a folder."""
        data = f"{filename}/Data/com.apple.CoreML"
        return [f"{filename}/Manifest.json", f"{data}/model.mlmodel", f"{data}/weights/weight.bin"]


class CoreMlModelRunner(ModelRunner):
    """Runs a package by Core ML on macOS, and by the evaluator elsewhere."""

    def __init__(self, program: CoreMlProgram, metadata: ExportMetadata) -> None:
        super().__init__(metadata)
        self.program = program
        self.in_spec = load_treespec(metadata.in_spec)
        self._predictor = program.open()
        import coremltools as ct

        spec = ct.utils.load_spec(str(program.path))
        self._inputs = [feature.name for feature in spec.description.input]
        self._outputs = [feature.name for feature in spec.description.output]

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @classmethod
    def from_program(cls, program: CoreMlProgram, metadata: ExportMetadata, device: Any = None) -> "CoreMlModelRunner":
        """``device`` is ignored, as Core ML chooses."""
        return cls(program, metadata)

    def __call__(self, share_inputs: bool = True, share_outputs: bool = False, **kwargs: Any) -> Any:
        leaves = fx_pytree.tree_flatten_spec(((), {**self.metadata.in_constants, **kwargs}), self.in_spec)
        arrays = [leaf.detach().cpu().numpy() for leaf in leaves if isinstance(leaf, Tensor)]
        narrow = [a.astype(np.int32) if a.dtype == np.int64 else a for a in arrays]
        found = self._predictor.predict(dict(zip(self._inputs, narrow, strict=True)))
        return self.unflatten([torch.from_numpy(np.array(found[name])) for name in self._outputs])


def register() -> None:
    """Make ``AutoHfExporter`` and ``ExportedModel`` know the format "coreml"."""
    register_backend(CoreMlExporter, CoreMlModelRunner)


def _outputs(program: torch.export.ExportedProgram) -> tuple:
    """What the graph returns."""
    (node,) = (node for node in program.graph.nodes if node.op == "output")
    return node.args[0]


def _output_names(count: int) -> list[str]:
    return [f"output_{i}" for i in range(count)]
