"""Tiny models of every family with random weights, and files exported from them once for the whole session."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from sam_hub.exporters.bundle import export_bundle
from sam_hub.exporters.format import ExportJob, Format
from sam_hub.exporters.manifest import Artefact, Manifest

from sam_hub.models.image_processing_sam import SamImageProcessor
from sam_hub.models.modeling_sam import SamModel

from ..models.conftest import randomise, tiny_config


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """(name, make) -> the folder that ``make(folder)`` wrote: once, also where several workers share a run.

    A worker that comes while another one makes the folder waits for it. Tests change copies only.
    """
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "exported-once"
    shared.mkdir(exist_ok=True)

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = shared / name, shared / f"{name}.done"
        with FileLock(shared / f"{name}.lock"):
            if not done.exists():
                make(folder)
                done.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def export_tiny(once: Callable) -> Callable[..., tuple[SamModel, Path]]:
    """(encoder, variants, options) -> a tiny model of that encoder and the bundle of its ONNX files."""

    def make(encoder: str, variants: tuple[str, ...], **options: object) -> tuple[SamModel, Path]:
        model = randomise(SamModel(tiny_config(encoder))).eval()
        processor = SamImageProcessor.for_config(model.config)

        def export(out: Path) -> None:
            export_bundle(encoder, out, {"onnx": variants}, options, model=model, processor=processor)

        return model, once("-".join([encoder, *variants, *map(str, sorted(options))]), export)

    return make


@pytest.fixture(scope="session")
def repvit_bundle(export_tiny: Callable) -> tuple[SamModel, Path]:
    """EdgeSAM's shape, whose encoder resizes bicubically: fp32 and fp16, the layout of transformers.js."""
    return export_tiny("sam_hub_repvit", ("fp32", "fp16"))


@pytest.fixture(scope="session")
def pocket_bundle(once: Callable) -> Path:
    """`pocket` for transformers.js (fp32, q8) and for the original's notebook."""
    wanted, options = {"onnx": ("fp32", "int8")}, {"layouts": ("transformersjs", "meta"), "masks": "single"}
    return once("pocket", lambda out: export_bundle("pocket", out, wanted, options))


@pytest.fixture
def made_before(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """After ``made_before(bundle)``, an export takes its files from there; proof, gate and manifest are made anew."""

    def take_from(bundle: Path) -> None:
        def run_export(format: Format, job: ExportJob) -> list[Artefact]:
            found = [Manifest.read(bundle).find(format.name, variant) for variant in job.variants]
            for record in (record for artefact in found for record in artefact.files):
                source, target = bundle / record.path, job.out / record.path
                target.parent.mkdir(parents=True, exist_ok=True)
                (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
            return found

        monkeypatch.setattr(Format, "run_export", run_export)

    return take_from
