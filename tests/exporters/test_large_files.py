"""Weights beyond the size limit of an ONNX file are stored next to it and hashed; the limit is lowered here."""

import numpy as np
import onnx
import pytest
from sam_hub.exporters.bundle import export_bundle, verify_bundle
from sam_hub.exporters.formats.onnx import export
from sam_hub.exporters.manifest import BundleError, FileRecord, Manifest

from sam_hub.errors import ExportError
from sam_hub.inference.runtime import OnnxPredictor
from sam_hub.models.image_processing_sam import SamImageProcessor
from sam_hub.models.modeling_sam import SamModel

from .conftest import one_block

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


def test_the_last_word_on_a_runtime_counts():
    record = FileRecord("a.onnx", "encoder", [], [])
    record.saw("onnxruntime 1.32.0")
    record.saw("OpenVINO 2025.4.1", "masks differ by 0.3")
    assert record.proven == ["onnxruntime 1.32.0"] and record.failed == {"OpenVINO 2025.4.1": "masks differ by 0.3"}
    record.saw("OpenVINO 2025.4.1")
    record.saw("onnxruntime 1.32.0", "does not load")
    assert record.proven == ["OpenVINO 2025.4.1"] and record.failed == {"onnxruntime 1.32.0": "does not load"}
