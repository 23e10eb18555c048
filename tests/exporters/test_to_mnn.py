"""What is specific to MNN files; `test_every_format` has the rest."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sam_hub.exporters.bundle import export_bundle
from sam_hub.exporters.formats.mnn.export import convert, encoder_of
from sam_hub.exporters.formats.mnn.runner import File
from sam_hub.exporters.formats.onnx.export import record_of
from sam_hub.exporters.formats.onnx.plain import spread_gelu
from sam_hub.exporters.manifest import Manifest

from sam_hub.errors import CheckpointError, ExportError
from sam_hub.models.image_processing_sam import SamImageProcessor
from sam_hub.models.modeling_sam import SamModel

from ..models.conftest import tiny_config
from .python_snippet import compare_with_predictor
from .test_onnx_ends import passing_on
from .test_plain_graphs import gelu
from .test_to_onnx import session

pytest.importorskip("MNN")


@pytest.fixture(scope="module")
def bundle(bundle_of: Callable) -> Path:
    return bundle_of("mnn")


def test_gelu_is_not_replaced_by_its_approximation(tmp_path):
    """With tanh, it would be off by 5e-4; the decoder's logits by as much of their largest value."""
    x = np.linspace(-6, 6, 999, dtype=np.float32)
    plain = gelu("outer")
    spread = spread_gelu(plain)
    (expected,) = session(plain).run(None, {"x": x})
    np.testing.assert_allclose(session(spread).run(None, {"x": x})[0], expected, atol=1e-6)
    convert(spread, tmp_path / "gelu.mnn", ())
    found = File(tmp_path, record_of(spread, "gelu.mnn", "encoder", {}))({"x": x})["y"]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert len(plain.graph.node) == len(spread.graph.node) and plain.graph.node[3].input[0] == "x"  # it is a copy


def test_an_encoder_that_mnn_computes_otherwise_is_refused(tmp_path):
    model = SamModel(tiny_config("sam_hub_efficientvit"))
    processor = SamImageProcessor.for_config(model.config)
    with pytest.raises(ExportError, match="MNN's results for this model's encoder are off by 1e-3; export it to ONNX"):
        export_bundle("x", tmp_path / "b", {"mnn": ("fp32",)}, model=model, processor=processor)
    assert not (tmp_path / "b").exists()


def test_a_bicubic_resize_becomes_a_product(traced_once):
    """MNN's own differs, and masks of RepViT-SAM with it."""
    model = SamModel(tiny_config("sam_hub_repvit"))
    with traced_once():
        graph = encoder_of(model)
    assert "Resize" not in {node.op_type for node in graph.graph.node}


def test_no_points_at_all_are_as_empty_slots(bundle):
    artefact = Manifest.read(bundle).artefacts[0]
    decoder = File(bundle, artefact.file("decoder"))
    shapes = {name: [side if isinstance(side, int) else 1 for side in t.shape] for name, t in decoder.inputs.items()}
    fed = {name: np.random.default_rng(0).normal(size=shape) for name, shape in shapes.items()} | {
        "has_mask_input": [0]
    }
    found = []
    for count in (0, 3):
        fed |= {
            "has_mask_input": np.zeros(1),
            "input_points": np.full((1, 2, count, 2), -10),
            "input_labels": np.full((1, 2, count), -10),
        }
        found.append(decoder(fed))
    for name in ("iou_scores", "pred_masks"):
        np.testing.assert_allclose(found[0][name], found[1][name], atol=1e-4 * np.abs(found[1][name]).max())


def test_the_snippet_gives_the_predictors_mask(bundle, root, tmp_path):
    compare_with_predictor(bundle / "mnn" / "segment.py", root / "examples" / "coffee.jpg", tmp_path / "mask.png")


def test_results_alone_go_to_standard_output(bundle):
    """MNN's library reports the processor's abilities there."""
    code = (
        "import pathlib, sys; from sam_hub.exporters import backend; backend.BundleBackend(pathlib.Path(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", code, bundle], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "") and "device supports" not in done.stderr


def test_what_does_not_load_or_convert_is_told(bundle, tmp_path):
    record = Manifest.read(bundle).artefacts[0].file("decoder")
    shutil.copytree(bundle / "mnn", tmp_path / "mnn")
    (tmp_path / record.path).write_bytes(b"no")
    with pytest.raises(CheckpointError, match="does not load in MNN; export or get it again"):
        File(tmp_path, record)
    strange = passing_on("x", [1, 4], "y")
    strange.graph.node[0].op_type, strange.graph.node[0].domain = "Unheard", "of"
    strange.opset_import.add(domain="of", version=1)
    with pytest.raises(ExportError, match="MNN cannot read this model"):
        convert(strange, tmp_path / "strange.mnn", ())
