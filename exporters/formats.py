"""The formats that models are exported to, and what an exporter is given."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..ops.preparation import Preparation
from .manifest import Artefact
from .proof import Proof

if TYPE_CHECKING:
    from ..models.modeling_sam import SamModel
    from .gate import Runner


@dataclass
class Job:
    """One export, as an exporter sees it.

    model: fused, in evaluation mode, fp32, on the CPU; not to be changed
    name: of the model ("pocket")
    out: a temporary folder that becomes the bundle only if everything passes; an exporter writes into a folder of its
        own below it, of the name of its format
    variants: of this format, see `Format.variants`
    proof: to `gate.prove` each artefact on
    options: everything else from the command line, by name; an exporter reads those it knows
    tell: called with a line of progress
    """

    model: "SamModel"
    name: str
    licence: str
    preparation: Preparation
    out: Path
    variants: Sequence[str]
    proof: Proof
    options: dict[str, Any] = field(default_factory=dict)
    tell: Callable[[str], None] = lambda line: None


@dataclass(frozen=True)
class Format:
    """A format, by lazy strings "module:function" of this package.

    export: (Job) -> list[Artefact], each proven
    runner: (folder, Artefact) -> Runner, which runs an artefact of a bundle; for `sam-hub verify`
    variants: all there are; the first ones are exported by default
    default: of these, what is exported unless told
    needs: the extra to install
    packages: what exporting needs, whose versions go into the manifest
    runs_on: what running needs
    """

    export: str
    runner: str
    variants: tuple[str, ...]
    default: tuple[str, ...]
    needs: str
    packages: tuple[str, ...]
    runs_on: tuple[str, ...]

    def run_export(self, job: Job) -> list[Artefact]:
        return _resolve(self.export)(job)

    def open_runner(self, folder: Path, artefact: Artefact) -> "Runner":
        return _resolve(self.runner)(folder, artefact)


FORMATS: dict[str, Format] = {
    "onnx": Format(
        export="to_onnx:export",
        runner="onnx_runner:open_runner",
        variants=("fp32", "fp16", "int8", "int8-dynamic", "int8-static", "uint8", "q4", "q4f16"),
        default=("fp32", "fp16", "int8"),
        needs="onnx",
        packages=("torch", "onnx", "onnxruntime", "onnxscript"),
        runs_on=("onnxruntime",),
    ),
    "coreml": Format(
        export="to_coreml:export",
        runner="to_coreml:open_runner",
        variants=("fp32", "fp16", "int8", "p6", "p4"),
        default=("fp16",),
        needs="coreml",
        packages=("torch", "coremltools"),
        runs_on=("torch", "coremltools"),
    ),
    "executorch": Format(
        export="to_executorch:export",
        runner="to_executorch:open_runner",
        variants=("fp32", "int8", "coreml"),
        default=("fp32",),
        needs="executorch",
        packages=("torch", "executorch"),
        runs_on=("executorch",),
    ),
}


def _resolve(lazy: str) -> Callable[..., Any]:
    module, name = lazy.split(":")
    return getattr(import_module(f".{module}", __package__), name)
