"""Tiny models of every family with random weights, and files exported from them once for the whole session."""

import contextlib
import hashlib
import importlib.util
import io
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from sam_hub.exporters.bundle import export_bundle
from sam_hub.exporters.format import ExportJob, Format
from sam_hub.exporters.formats import FORMATS
from sam_hub.exporters.formats.onnx import export as to_onnx
from sam_hub.exporters.manifest import Artefact, Manifest

from sam_hub.models.fine_decoder import with_fine_features
from sam_hub.models.image_processing_sam import SamImageProcessor
from sam_hub.models.modeling_sam import SamModel

from ..models.conftest import randomise, tiny_config
from ..models.test_sam2 import tiny_config as tiny_sam2


@pytest.fixture(scope="session")
def export_tiny(once: Callable, traced_once: Callable) -> Callable[..., tuple[SamModel, Path]]:
    """(encoder, variants, options) -> a tiny model of that encoder and the bundle of its ONNX files."""

    def make(encoder: str, variants: tuple[str, ...], **options: object) -> tuple[SamModel, Path]:
        model = randomise(SamModel(tiny_config(encoder))).eval()
        processor = SamImageProcessor.for_config(model.config)

        def export(out: Path) -> None:
            with traced_once():
                export_bundle(encoder, out, {"onnx": variants}, options, model=model, processor=processor)

        return model, once("-".join([encoder, *variants, *map(str, sorted(options))]), export)

    return make


@pytest.fixture(scope="session")
def repvit_bundle(export_tiny: Callable) -> tuple[SamModel, Path]:
    """EdgeSAM's shape, whose encoder resizes bicubically: fp32 and fp16, the layout of transformers.js."""
    return export_tiny("sam_hub_repvit", ("fp32", "fp16"))


def short_sam2() -> SamModel:
    """SAM 2 with one block of each kind, as tracing takes long: windowed, pooled and global."""
    config = tiny_sam2("sam2")
    config.vision_config.depths, config.vision_config.global_attn_indexes = [1, 1, 2, 1], [3]
    return SamModel(config)


FINE = {
    "pocket": lambda: with_fine_features(randomise(SamModel(tiny_config("sam_hub_pocket")))),
    "sam2": short_sam2,
    "sam3": lambda: SamModel(tiny_sam2("sam3", num_hidden_layers=1)),
    "edgetam": lambda: SamModel(tiny_sam2("edgetam")),
}
"""Models whose decoders read maps at three strides; SAM 3's is SAM 2's, whose second block is tried there."""


@pytest.fixture(scope="session")
def fine_bundle(once: Callable) -> Callable[[str], tuple[SamModel, Path]]:
    """Key of `FINE` -> the model, and its ONNX files in the layouts of transformers.js and of the original."""

    def make(kind: str) -> tuple[SamModel, Path]:
        model = randomise(FINE[kind](), 1).eval()
        processor = SamImageProcessor.for_config(model.config)
        wanted, options = {"onnx": ("fp32",)}, {"layouts": ("transformersjs", "meta")[: 1 if kind == "edgetam" else 2]}
        return model, once(
            f"fine-{kind}",
            lambda out: export_bundle("tiny", out, wanted, options, model=model, processor=processor),
        )

    return make


def digest_of(module: torch.nn.Module, *others: object) -> str:
    """Of all that a trace depends on: structure, settings and weights of a module, and how it is called."""
    settings = [part.config.to_json_string() for part in module.modules() if hasattr(part, "config")]
    found = hashlib.sha256(repr((type(module), module, settings, *others)).encode())
    for name, value in module.state_dict().items():
        found.update(name.encode() + value.contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


@pytest.fixture(scope="session")
def traced_once(once: Callable) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """``with traced_once():`` exports trace a module with the same weights once for all tests; the rest is made anew.

    Tracing takes most of an export's time, and no test that uses this changes how it is done.
    """
    trace = to_onnx.trace

    def kept(module, examples, inputs, outputs, dims, named_examples=None, opset=to_onnx.OPSET) -> onnx.ModelProto:
        given = {
            k: [tuple(t.shape) for t in torch.utils._pytree.tree_leaves(v)] for k, v in (named_examples or {}).items()
        }
        shapes = [tuple(t.shape) for t in examples]
        key = digest_of(module, shapes, given, inputs, outputs, dims, opset)

        def make(folder: Path) -> None:
            folder.mkdir()
            onnx.save(trace(module, examples, inputs, outputs, dims, named_examples, opset), folder / "graph.onnx")

        return onnx.load(once(f"graph-{key}", make) / "graph.onnx")

    @contextlib.contextmanager
    def patched() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(to_onnx, "trace", kept)
            yield

    return patched


def one_block() -> SamModel:
    """A tiny `pocket` with one block in the decoder, as lowering takes long."""
    config = tiny_config("sam_hub_pocket")
    config.mask_decoder_config.num_hidden_layers = 1
    return randomise(SamModel(config)).eval()


@pytest.fixture(scope="session")
def bundle_of(once: Callable, traced_once: Callable) -> Callable[[str], Path]:
    """Name of a format -> `one_block` in its first variant; 8 slots if it has slots."""

    def make(name: str) -> Path:
        format, model = FORMATS[name], one_block()
        wanted, options = {name: format.default[:1]}, {"slots": 8} if "slots" in format.options else {}

        def export(out: Path) -> None:
            processor = SamImageProcessor.for_config(model.config)
            with traced_once():
                export_bundle("some/tiny-model", out, wanted, options, model=model, processor=processor)

        return once(f"one-block-{name}", export)

    return make


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


def run_predict_py(bundle: Path) -> np.ndarray:
    """Mask IoU (prompts, 3) that a bundle's ``macos/predict.py`` prints; elsewhere than on macOS, on the evaluator."""
    import coremltools as ct
    from sam_hub.exporters.formats.coreml.runner import open_package

    spec = importlib.util.spec_from_file_location("predict", bundle / "macos" / "predict.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(ct.models, "MLModel", lambda path: open_package(Path(path)))
        patch.setattr("sys.argv", ["predict.py", "--no-plan"])
        script.main()
    lines = printed.getvalue().splitlines()
    return np.array([re.findall(r"[\d.]+", line.partition("PyTorch [")[2].partition("]")[0]) for line in lines], float)
