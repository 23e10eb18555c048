"""ExecuTorch programs of a tiny model: exported, run by ExecuTorch's runtime, read back."""

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from executorch.runtime import Runtime
from sam_hub.exporters.bundle import export_bundle, verify_bundle
from sam_hub.exporters.formats import FORMATS
from sam_hub.exporters.formats.executorch import export as to_executorch
from sam_hub.exporters.formats.executorch.export import lowered, quantised
from sam_hub.exporters.gate import ExportMismatch, prove
from sam_hub.exporters.manifest import Manifest
from sam_hub.exporters.proof import Proof
from sam_hub.exporters.rank_four import restated_encoder

from sam_hub.errors import ExportError
from sam_hub.models.image_processing_sam import SamImageProcessor

from .conftest import one_block


@pytest.fixture(scope="module")
def bundle(bundle_of: Callable) -> Path:
    return bundle_of("executorch")


def test_the_bundle_verifies_from_its_files(bundle):
    ((name, seen),) = verify_bundle(bundle)
    assert name == "executorch fp32" and seen["prompts"] == 21
    assert seen["iou_mean"] > 0.9999 and seen["difference"] < 1e-4


def test_int8_convolutions(bundle, tmp_path, monkeypatch):
    """Close to the encoder but not equal to it: if they replace it, they are caught."""
    monkeypatch.setattr(to_executorch, "LEAST_WEIGHTS", 64)
    encoder = restated_encoder(one_block())
    inputs = [(torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(i)),) for i in range(3)]
    with torch.no_grad():
        small, large = quantised(encoder, inputs), encoder(*inputs[0])
        assert 1e-3 < (small(*inputs[0]) - large).abs().mean() / large.abs().mean() < 0.3
    program, _ = lowered(small, inputs[0])
    found = Runtime.get().load_program(program).load_method("forward").execute(inputs[0])[0]
    assert (found - small(*inputs[0])).abs().mean() < 0.1 * large.abs().mean()

    other = tmp_path / "other"
    shutil.copytree(bundle, other)
    (other / "executorch" / "fp32" / "image_encoder.pte").write_bytes(program)
    runner = FORMATS["executorch"].open_runner(other, Manifest.read(other).find("executorch"))
    with pytest.raises(ExportMismatch):
        prove(runner, Proof.load(bundle), FORMATS["executorch"].tolerances["fp32"], "swapped")


@pytest.mark.skipif(sys.platform == "darwin", reason="on macOS the delegate is built")
def test_the_core_ml_delegate_is_refused_where_it_cannot_be_proven(tmp_path):
    model = one_block()
    processor, wanted = SamImageProcessor.for_config(model.config), {"executorch": ("coreml",)}
    with pytest.raises(ExportError, match="can be proven only there: export it on macOS"):
        export_bundle("x", tmp_path / "b", wanted, {"slots": 9}, model=model, processor=processor)


def test_kotlin_has_the_order_and_shapes_of_the_programs(bundle):
    text = (bundle / "android" / "SegmentExecuTorch.kt").read_text()
    assert "@" not in text
    artefact = Manifest.read(bundle).find("executorch", "fp32")
    for record in artefact.files:
        assert record.path in text
        meta = Runtime.get().load_program(bundle / record.path).load_method("forward").metadata
        shapes = [list(meta.input_tensor_meta(i).sizes()) for i in range(meta.num_inputs())]
        assert shapes == [tensor.shape for tensor in record.inputs]
        assert all(f"longArrayOf({', '.join(map(str, shape))})" in text for shape in shapes[-4:])
    embedding, *prompt = (tensor.name for tensor in artefact.file("decoder").inputs)  # one_block reads no finer maps
    assert re.findall(r"// (\w+)\n", text[text.index("val prompt") :]) == prompt
    assert f"maps.take(1) + prompt + maps.drop(1) // first {embedding}" in text
