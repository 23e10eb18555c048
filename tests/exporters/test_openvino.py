"""What is specific to OpenVINO files; `test_every_format` has the rest."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sam_hub.exporters.bundle import export_bundle, verify_bundle
from sam_hub.exporters.formats.onnx import variants
from sam_hub.exporters.formats.openvino.runner import PINNED, compiled
from sam_hub.exporters.manifest import BundleError, Manifest

from sam_hub.models.image_processing_sam import SamImageProcessor

from .conftest import one_block
from .python_snippet import compare_with_predictor

pytest.importorskip("openvino")
VARIANTS = ("fp32", "fp16", "int8")


@pytest.fixture(scope="module")
def bundle(once: Callable, traced_once: Callable) -> Path:
    model = one_block()
    processor = SamImageProcessor.for_config(model.config)
    with (
        traced_once(),
        pytest.MonkeyPatch.context() as patch,
    ):  # tiny weights count as large; all in 8 bits miss the gate
        patch.setattr(variants, "HALF_ELEMENTS", 256)
        patch.setattr(variants, "INT8_ELEMENTS", 8192)
        wanted = {"openvino": VARIANTS}
        return once("openvino", lambda out: export_bundle("tiny", out, wanted, model=model, processor=processor))


def test_weights_are_hashed_and_counted(bundle, tmp_path):
    manifest = Manifest.read(bundle)
    for record in (r for a in manifest.artefacts for r in a.files):
        (weights,) = record.weights
        assert weights == record.path.replace(".xml", ".bin") and weights not in manifest.others
        assert record.bytes == sum((bundle / p).stat().st_size for p in (record.path, weights))
        assert [r.split()[0] for r in record.proven] == ["openvino"] and not record.failed
    path = bundle / weights
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:-1])
        with pytest.raises(BundleError, match=r"\.bin is not the file that was exported"):
            verify_bundle(bundle)
    finally:
        path.write_bytes(whole)


def test_weights_shrink(bundle):
    sizes = {
        a.variant: sum((bundle / p).stat().st_size for r in a.files for p in r.weights)
        for a in Manifest.read(bundle).artefacts
    }
    assert 0.45 < sizes["fp16"] / sizes["fp32"] < 0.6
    assert sizes["int8"] < sizes["fp16"], "though few weights of a tiny model are large"
    files = Manifest.read(bundle).find("openvino", "int8").files
    assert any('element_type="i8"' in (bundle / record.path).read_text() for record in files)


def test_arithmetic_is_float32(bundle):
    assert PINNED["INFERENCE_PRECISION_HINT"] == "f32"
    for artefact in Manifest.read(bundle).artefacts:
        assert artefact.runtime.endswith("CPU f32")
        model = compiled(bundle / artefact.file("encoder").path)
        assert model.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32"


def test_sides_are_fixed_but_for_prompts_and_points(bundle):
    encoder, decoder = Manifest.read(bundle).artefacts[0].files
    assert encoder.inputs[0].shape[0] == 1
    shapes = {t.name: t.shape for t in decoder.inputs}
    assert shapes["input_points"] == [1, "prompts", "points", 2] and shapes["input_labels"] == [1, "prompts", "points"]
    assert all(isinstance(n, int) for name in ("mask_input", "image_embeddings") for n in shapes[name])


def test_the_snippet_gives_the_predictors_mask(bundle, root, tmp_path):
    compare_with_predictor(bundle / "openvino" / "segment.py", root / "examples" / "coffee.jpg", tmp_path / "mask.png")


STACKS = """
import ctypes, sys
from pathlib import Path
from sam_hub.exporters.formats.openvino.runner import compiled

class Stack(ctypes.Structure):
    _fields_ = [("place", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]

first, second = (compiled(Path(p)) for p in sys.argv[1:])
del first
del second
now = Stack()
ctypes.CDLL(None).sigaltstack(None, ctypes.byref(now))
ranges = (line.split()[0].split("-") for line in open("/proc/self/maps"))
print(now.place is None or any(int(a, 16) <= now.place < int(b, 16) for a, b in ranges))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's map of the process's memory")
def test_signal_handlers_have_a_stack_after_models_are_released(bundle):
    files = sorted((bundle / "openvino").rglob("*.xml"))[:2]
    done = subprocess.run([sys.executable, "-c", STACKS, *map(str, files)], capture_output=True, text=True)
    assert done.stdout.strip() == "True", done.stderr
