"""A folder of exported files: written completely or not at all, and verified."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import ExportError, OutputError
from ..families import registry
from ..ops.files import check_place, whole_folder, write_atomically
from ..ops.images import read_image
from ..ops.input_size import to_two_sides
from ..ops.packages import require
from ..ops.preparation import Preparation
from ..zoo import ZOO, canonical_name
from .format import ExportJob, Format
from .formats import FORMATS
from .gate import NOT_ON_DEVICE, prove
from .manifest import MANIFEST, Artefact, BundleError, Manifest, versions
from .proof import Proof, make_proof
from .snippets import write_snippets

if TYPE_CHECKING:
    from ..models.image_processing_sam import SamImageProcessor
    from ..models.modeling_sam import SamModel


def check_options(
    names: Collection[str], wanted: Mapping[str, Sequence[str]], shown: Callable[[str], str] = str
) -> None:
    """wanted: format -> variants; shown: how the user wrote an option

    raises: ExportError for an option that would have no effect on these files
    """
    for name in names:
        if not any(name in FORMATS[format].options for format in wanted):
            known = sorted({name for format in FORMATS.values() for name in format.options})
            readers = [format.title for format in FORMATS.values() if name in format.options]
            titles = " and ".join(FORMATS[format].title for format in wanted)
            raise ExportError(
                f"{shown(name)} has no effect on {titles}, only on {', '.join(readers)}; leave it out"
                if readers
                else f"there is no option {name}; there are {', '.join(known)}"
            )
    calibrated = [variant for format in wanted for variant in FORMATS[format].calibrated]
    if "calibration" in names and not any(
        {*variants} & {*FORMATS[name].calibrated} for name, variants in wanted.items()
    ):
        raise ExportError(
            f"{shown('calibration')} has no effect on these variants; add {' or '.join(calibrated)}, or leave it out"
        )


def export_bundle(
    name: str,
    out: Path,
    wanted: Mapping[str, Sequence[str]],
    options: Mapping[str, Any] | None = None,
    photos: Sequence[Path] = (),
    calibration: Sequence[Path] = (),
    tell: Callable[[str], None] = lambda line: None,
    model: "SamModel | None" = None,
    processor: "SamImageProcessor | None" = None,
    finish: Callable[[Path], object] | None = None,
) -> Manifest:
    """Export a model and verify every file; the folder is complete, or not written at all.

    name: of the model, as for `SamModel.from_pretrained`
    out: the folder; it must not exist, or be empty
    wanted: format -> variants, see `FORMATS`
    options: those of `Format.options`, explained by the exporters
    photos: compared on in addition to the package's; calibration: for `Format.calibrated` variants
    tell: called with a line of progress
    model, processor: instead of loading ``name``
    finish: called with the complete folder, to add files to it
    raises: ExportMismatch, ExportError, OutputError, ModelNotFoundError, CheckpointError, ImageError
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out} already exists; choose another place, or remove it first")
    check_place(out)
    options = dict(options or {})
    for format in wanted:
        check_installed(format)
    check_options([*options, *["calibration"][: len(calibration)]], wanted)
    for path in photos:
        read_image(path)
    calibrating = [read_image(path) for path in calibration]
    from ..models.image_processing_sam import SamImageProcessor
    from ..models.modeling_sam import SamModel

    tell(f"loading {name}")
    model = model or SamModel.from_pretrained(name)
    processor = processor or SamImageProcessor.from_pretrained(name)
    model = model.float().cpu().fuse()
    preparation = Preparation.from_settings(processor.to_dict())
    tell("computing PyTorch's masks for the comparison")
    proof = make_proof(model, preparation, photos)
    licence = _licence(name)
    with whole_folder(out) as aside:
        given = {**options, "calibration": [preparation(image) for image in calibrating]}
        artefacts, shared = [], {}
        for format, variants in wanted.items():
            job = ExportJob(model, name, licence, preparation, aside, variants, proof, given, tell, shared)
            for artefact in FORMATS[format].run_export(job):
                tell(f"{artefact.name}: comparing with PyTorch")
                _prove(aside, artefact, proof)
                artefacts.append(artefact)
        proof.save(aside)
        _write_settings(aside, model, processor)
        config = model.config
        manifest = Manifest(
            model=name,
            family=config.vision_config.model_type,
            licence=licence,
            image_size=config.vision_config.image_size,
            frame=preparation.frame,
            low_res=4 * config.prompt_encoder_config.image_embedding_size,
            tools=versions(*dict.fromkeys(p for format in wanted for p in FORMATS[format].packages)),
            proof=proof.facts(),
            artefacts=artefacts,
        )
        write_snippets(aside, manifest, preparation)
        manifest.write(aside)
        if finish is not None:
            finish(aside)
            manifest.write(aside)
    return manifest


def verify_bundle(folder: Path, tell: Callable[[str], None] = lambda line: None) -> list[tuple[str, dict[str, Any]]]:
    """Compare every file with its hash, then run every artefact against the proof in the folder.

    returns: for each artefact its name and `Report.facts`
    raises: BundleError, ExportMismatch; ExportError if a format's runtime is not installed
    """
    manifest = Manifest.read(folder)
    for artefact in manifest.artefacts:
        if artefact.format not in FORMATS or artefact.variant not in FORMATS[artefact.format].tolerances:
            raise BundleError(f"{artefact.name} is of no known format; this bundle needs a newer sam-hub")
    manifest.check_files(folder)
    proof = Proof.load(folder)
    seen = []
    for artefact in manifest.artefacts:
        tell(artefact.name)
        check_installed(artefact.format, to_export=False)
        _prove(folder, artefact, proof)
        seen.append((artefact.name, artefact.gate))
    return seen


def _prove(folder: Path, artefact: Artefact, proof: Proof) -> None:
    """Run an artefact on a proof, and record the results and the runtime in it. raises: ExportMismatch"""
    format = FORMATS[artefact.format]
    tolerance = format.tolerances[artefact.variant]
    runner = format.open_runner(folder, artefact)
    artefact.runtime = runner.runtime
    if NOT_ON_DEVICE in runner.runtime and NOT_ON_DEVICE not in artefact.notes:
        artefact.notes.append(NOT_ON_DEVICE)
    artefact.gate = prove(runner, proof, tolerance, artefact.name).facts(tolerance)
    for record in artefact.files:
        record.saw(runner.runtime)


def check_installed(format: str, to_export: bool = True) -> Format:
    """The format of that name.

    raises: ExportError if it is unknown here or its libraries are not installed
    """
    if format not in FORMATS:
        raise ExportError(f"format {format!r} is not installed, only {', '.join(FORMATS)}; install its package")
    chosen = FORMATS[format]
    modules = chosen.packages if to_export else chosen.runs_on
    require(format, modules, chosen.extra, ExportError, chosen.distribution)
    return chosen


def _licence(name: str) -> str:
    key = canonical_name(name)
    return ZOO[key].license if key else "unknown"


def _write_settings(folder: Path, model: "SamModel", processor: "SamImageProcessor") -> None:
    """``config.json`` and ``preprocessor_config.json``, as transformers.js reads them."""
    config = model.config.to_dict()
    config["sam_hub_model_type"] = config["model_type"]
    client = registry.part("mask decoder", model.config.mask_decoder_config.model_type).client
    config |= {"model_type": client, "architectures": [f"{client.capitalize()}Model"], "sam_hub_version": __version__}
    if (maps := len(model.mask_decoder.feature_maps)) > 1:
        config["vision_config"] = {**config["vision_config"], "num_feature_levels": maps + 1}
    settings = {**processor.to_dict(), "image_processor_type": "SamImageProcessor", "processor_class": "SamProcessor"}
    settings = to_two_sides(settings)
    for name, content in (("config.json", config), ("preprocessor_config.json", settings)):
        write_atomically(folder / name, (json.dumps(content, indent=2, default=str) + "\n").encode())


__all__ = ["MANIFEST", "check_installed", "export_bundle", "verify_bundle"]
