"""Weights beyond the size limit of an ONNX file are stored next to it and hashed; the limit is lowered here."""

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from sam_hub.exporters.bundle import export_bundle, verify_bundle
from sam_hub.exporters.formats.onnx import export
from sam_hub.exporters.manifest import Artefact, BundleError, FileRecord, Manifest

from sam_hub.errors import ExportError
from sam_hub.inference.runtime import OnnxPredictor
from sam_hub.models.image_processing_sam import SamImageProcessor
from sam_hub.models.modeling_sam import SamModel

from .conftest import one_block

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import runtimes

LIMIT = 40_000


@pytest.fixture(scope="module")
def model() -> SamModel:
    return one_block()


def test_weights_lie_beside_a_graph_that_is_too_large(model, traced_once, tmp_path, monkeypatch, root):
    monkeypatch.setattr(export, "WHOLE_BYTES", LIMIT)
    out = tmp_path / "bundle"
    processor = SamImageProcessor.for_config(model.config)
    with traced_once():
        export_bundle("tiny", out, {"onnx": ("fp32", "int8")}, model=model, processor=processor)
    manifest = Manifest.read(out)
    for record in (r for a in manifest.artefacts for r in a.files):
        size = (out / record.path).stat().st_size
        for weights in record.weights:
            assert weights == f"{record.path}_data" and weights not in manifest.others
            size += (out / weights).stat().st_size
        assert record.bytes == size
        stored = export.weight_bytes(onnx.load(out / record.path))
        assert bool(record.weights) == (stored > LIMIT)
    assert manifest.find("onnx", "fp32").file("encoder").weights
    assert len(verify_bundle(out)) == 2
    predictor = OnnxPredictor(out, "fp32")
    predictor.set_image(root / "examples" / "cat.jpg")
    assert predictor.predict(box=np.array([60, 20, 440, 290]), multimask_output=False)[0].any()

    path = out / f"{manifest.artefacts[0].file('encoder').path}_data"
    path.write_bytes(path.read_bytes()[:-4] + b"1234")
    with pytest.raises(BundleError, match="_data is not the file that was exported"):
        verify_bundle(out)


def test_a_variant_that_cannot_be_made_of_so_many_weights_is_told(model, traced_once, tmp_path, monkeypatch):
    """onnxruntime's converters serialise the graph, which protobuf refuses beyond 2 GiB."""

    def too_large(*_: object) -> None:
        raise ValueError("Message onnx.ModelProto exceeds maximum protobuf size of 2GB: 2432768110")

    monkeypatch.setattr(export, "WHOLE_BYTES", LIMIT)
    monkeypatch.setitem(export.CONVERSIONS, "q4", too_large)
    processor = SamImageProcessor.for_config(model.config)
    with traced_once(), pytest.raises(ExportError, match=r"more than 2 GiB of weights.*take --variant fp32 or int8"):
        export_bundle("tiny", tmp_path / "b", {"onnx": ("q4",)}, model=model, processor=processor)
    assert not (tmp_path / "b").exists()
    monkeypatch.setattr(export, "WHOLE_BYTES", 2**31)
    with traced_once(), pytest.raises(ValueError, match="exceeds maximum"):
        export_bundle("tiny", tmp_path / "b", {"onnx": ("q4",)}, model=model, processor=processor)


def test_runs_elsewhere_are_recorded_with_their_results(tmp_path):
    """NaN is a failure, and a file that was not run there is neither."""
    results = {"near": 1e-6, "far": 0.3, "nan": float("nan"), "refused": "Fail: no such operator", "silent": ""}
    files = [FileRecord(name, "encoder", [], []) for name in (*results, "not run")]
    manifest = Manifest("m", "sam", "mit", 64, 64, 16, {}, {}, [Artefact("onnx", "fp32", "transformersjs", files)])
    runtimes.record(manifest, tmp_path, "a 1", {str(tmp_path / name): value for name, value in results.items()})
    for file in files:
        (tmp_path / file.path).write_bytes(b"")
    manifest.write(tmp_path)
    found = {file.path: file for file in Manifest.read(tmp_path).artefacts[0].files}
    assert {path: file.proven for path, file in found.items() if file.proven} == {"near": ["a 1"]}
    assert {path: file.failed["a 1"] for path, file in found.items() if file.failed} == {
        "far": "outputs differ by 0.3 of their largest value",
        "nan": "outputs differ by nan of their largest value",
        "refused": "Fail: no such operator",
        "silent": "does not load",
    }


def test_the_last_word_on_a_runtime_counts():
    record = FileRecord("a.onnx", "encoder", [], [])
    record.saw("onnxruntime 1.32.0")
    record.saw("OpenVINO 2025.4.1", "masks differ by 0.3")
    assert record.proven == ["onnxruntime 1.32.0"] and record.failed == {"OpenVINO 2025.4.1": "masks differ by 0.3"}
    record.saw("OpenVINO 2025.4.1")
    record.saw("onnxruntime 1.32.0", "does not load")
    assert record.proven == ["OpenVINO 2025.4.1"] and record.failed == {"onnxruntime 1.32.0": "does not load"}
