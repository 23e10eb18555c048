"""Tiny models of every family with random weights, and files exported from them once for the whole session."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sam_hub.exporters.bundle import export_bundle

from sam_hub.models.image_processing_sam import SamImageProcessor
from sam_hub.models.modeling_sam import SamModel

from ..models.conftest import randomise, tiny_config


@pytest.fixture(scope="session")
def export_tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[SamModel, Path]]:
    """(encoder, variants, options) -> a tiny model of that encoder and the bundle of its ONNX files."""

    def make(
        encoder: str, variants: tuple[str, ...], finish: Callable | None = None, **options: object
    ) -> tuple[SamModel, Path]:
        model = randomise(SamModel(tiny_config(encoder))).eval()
        processor = SamImageProcessor.for_config(model.config)
        out = tmp_path_factory.mktemp(encoder) / "bundle"
        export_bundle(encoder, out, {"onnx": variants}, options, model=model, processor=processor, finish=finish)
        return model, out

    return make


@pytest.fixture(scope="session")
def repvit_bundle(export_tiny: Callable) -> tuple[SamModel, Path]:
    """EdgeSAM's shape, whose encoder resizes bicubically: fp32 and fp16, the layout of transformers.js."""
    return export_tiny("sam_hub_repvit", ("fp32", "fp16"))


@pytest.fixture(scope="session")
def pocket_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`pocket` for transformers.js (fp32, q8) and for the original's notebook."""
    out = tmp_path_factory.mktemp("pocket") / "pocket"
    export_bundle("pocket", out, {"onnx": ("fp32", "int8")}, {"layouts": ("transformersjs", "meta"), "masks": "single"})
    return out
