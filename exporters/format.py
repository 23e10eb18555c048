"""Declares a device format, `Format`, and the input of its exporter, `ExportJob`.

Nothing here imports a library, so that `sam-hub doctor` can list formats whose libraries are broken.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..models.modeling_sam import SamModel
    from ..ops.preparation import Preparation
    from .gate import Runner
    from .manifest import Artefact
    from .proof import Proof


@dataclass(frozen=True)
class Tolerance:
    """Accepted differences of a variant, on the photos and prompts of the proof.

    difference: largest |difference| of logits, in units of the largest |logit| of the mask it occurs in
    cosine: lowest cosine similarity between the logits of a mask and its reference
    iou_mean, iou_worst: of the mask that users get for each prompt (see `gate.wanted`), at the resolution of the
        model's input
    score: largest difference of a predicted IoU
    """

    difference: float
    cosine: float
    iou_mean: float
    iou_worst: float
    score: float


EXACT = Tolerance(1e-4, 0.999999, 0.9999, 0.999, 1e-4)
"""For fp32 in every format."""

HALF = Tolerance(0.05, 0.999, 0.998, 0.98, 0.01)
"""For fp16 in every format."""


@dataclass(frozen=True)
class Snippet:
    """A program that uses the files of a bundle, written from a template; see `snippets`.

    template: a file in ``templates/`` of the format's folder
    path: its path in the bundle
    layout: layout of the artefact that it uses
    shared: the template is in ``templates/`` beside the formats, for all of them
    """

    template: str
    path: str
    layout: str = ""
    shared: bool = False


@dataclass(frozen=True)
class Choice:
    """A format's recommendation for a device; `presets.PRESETS` joins those of all formats.

    why: one sentence for the user, without its full stop
    measured: the size, accuracy and time behind it, with model and tool, or a note that nothing was measured
    options: as in `ExportJob.options`
    """

    variants: tuple[str, ...]
    why: str
    measured: str = "not measured"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Format:
    """A device format. Functions are lazy strings "module:function", relative to ``package``.

    package: dotted name of the format's package
    title: for display, such as "Core ML"
    purpose: use of the format, for `sam-hub doctor`
    export: (ExportJob) -> Iterable[Artefact], each written below ``ExportJob.out``; `bundle` runs and verifies it
    runner: (folder, Artefact) -> `gate.Runner`, which runs an artefact of a bundle
    tolerances: variant -> accepted differences; the keys are all variants
    default: the variants that are exported unless the user names some
    preferred: variants in the order in which a device wants them, for snippets
    options: what the exporter reads of `ExportJob.options`
    calibrated: variants that are calibrated on photos, for which ``calibration`` has an effect
    packages: modules that exporting needs; versions of the distributions of these names go into the manifest
    runs_on: modules that running needs
    requires: distribution -> module, of all that ``extra`` installs
    distribution, extra: what to install for it
    place: "browser" or "phone": the section of the model card that lists its files
    is_default: whether `sam-hub export` uses it by default
    """

    name: str
    package: str
    title: str
    purpose: str
    export: str
    runner: str
    tolerances: Mapping[str, Tolerance]
    default: tuple[str, ...]
    preferred: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    calibrated: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    requires: Mapping[str, str] = field(default_factory=dict)
    runs_on: tuple[str, ...] = ()
    distribution: str = "sam-hub"
    extra: str = ""
    place: str = "phone"
    is_default: bool = False
    snippets: tuple[Snippet, ...] = ()
    presets: Mapping[str, Choice] = field(default_factory=dict)

    @property
    def variants(self) -> tuple[str, ...]:
        return tuple(self.tolerances)

    @property
    def folder(self) -> Path:
        return Path(import_module(self.package).__path__[0])

    def run_export(self, job: "ExportJob") -> "Iterable[Artefact]":
        """raises: ExportError, ExportMismatch"""
        return self._resolve(self.export)(job)

    def open_runner(self, folder: Path, artefact: "Artefact") -> "Runner":
        """raises: BundleError, CheckpointError, ExportError"""
        return self._resolve(self.runner)(folder, artefact)

    def _resolve(self, lazy: str) -> Callable[..., Any]:
        module, name = lazy.split(":")
        return getattr(import_module(f"{self.package}.{module}"), name)


@dataclass
class ExportJob:
    """One export, as given to an exporter.

    model: fused, in evaluation mode, fp32, on the CPU; must not be changed
    name: of the model ("pocket")
    out: a temporary folder that becomes the bundle only if everything passes; an exporter writes into a folder of its
        own below it, of the name of its format
    variants: of this format, see `Format.tolerances`
    proof: photos and prompts that each artefact is compared on, and may be calibrated with
    options: everything else, by name; an exporter reads those of its `Format.options`
    tell: called with a line of progress
    shared: what exporters of the same export compute once for all
    """

    model: "SamModel"
    name: str
    licence: str
    preparation: "Preparation"
    out: Path
    variants: Sequence[str]
    proof: "Proof"
    options: dict[str, Any] = field(default_factory=dict)
    tell: Callable[[str], None] = lambda line: None
    shared: dict[str, Any] = field(default_factory=dict)
