"""The Python snippets for OpenVINO and MNN, run on onnxruntime in place of these libraries."""

import json
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import onnxruntime
import pytest
from PIL import ExifTags, Image
from sam_hub.exporters.manifest import Manifest
from sam_hub.exporters.snippets import write_snippets

from sam_hub.inference.runtime import OnnxPredictor, read_preparation

TURNED = 6
"""EXIF: stored turned a quarter to the left."""


def session_of(path: str | Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


class Port(str):
    """An output, found by its name or itself."""

    def get_names(self) -> set[str]:
        return {str(self)}


def openvino() -> dict[str, ModuleType]:
    """The parts of its Python interface that the snippet calls."""

    def compile_model(path: Path, device: str, settings: dict) -> Callable:
        assert settings == {"INFERENCE_PRECISION_HINT": "f32"}, "the default may be 16 bits"
        session = session_of(path)
        values = [*session.get_inputs(), *session.get_overridable_initializers()]

        class Compiled:
            inputs = [Port(value.name) for value in values if value.name != "input_boxes"]

            def __call__(self, fed: dict) -> dict:
                outputs = [o.name for o in session.get_outputs()]
                return dict(zip(map(Port, outputs), session.run(outputs, fed), strict=True))

        return Compiled()

    module = ModuleType("openvino")
    module.Core = lambda: SimpleNamespace(compile_model=compile_model)
    return {"openvino": module}


def mnn() -> dict[str, ModuleType]:
    """The parts of its Python interface that the snippet calls; it has no int64."""

    def load(path: str, inputs: list[str], outputs: list[str], runtime_manager: object) -> SimpleNamespace:
        session = session_of(path)

        def forward(values: list[np.ndarray]) -> list[np.ndarray]:
            fed = dict(zip(inputs, values, strict=True))
            if "input_labels" in fed:
                fed["input_labels"] = fed["input_labels"].astype(np.int64)
            return session.run(outputs, fed)

        return SimpleNamespace(forward=forward)

    parts = {name: ModuleType(name) for name in ("MNN", "MNN.expr", "MNN.nn")}
    top, expr, nn = parts.values()
    top.expr, top.nn, top.version = expr, nn, lambda: "0"
    expr.int = expr.float = expr.NCHW = 0
    expr.const = lambda value, *_: value
    expr.convert = lambda value, _: SimpleNamespace(read=lambda: value)
    nn.create_runtime_manager = lambda settings: SimpleNamespace(set_hint=lambda *_: None)
    nn.load_module_from_file = load
    return parts


LIBRARIES = {"openvino": openvino, "mnn": mnn}


@pytest.fixture(params=LIBRARIES)
def snippet(request, fine_bundle, tmp_path, monkeypatch) -> Callable[..., Path]:
    """(settings of the processor) -> a snippet beside the files of `pocket`, whose decoder reads three maps."""

    def write(**settings: object) -> Path:
        folder = tmp_path / "bundle"
        shutil.copytree(fine_bundle("pocket")[1], folder)
        path = folder / "preprocessor_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | settings))
        manifest = Manifest.read(folder)
        (artefact,) = manifest.artefacts = [a for a in manifest.artefacts if a.layout == "transformersjs"]
        artefact.format, artefact.layout = request.param, ""
        decoder = artefact.file("decoder")
        decoder.inputs = [tensor for tensor in decoder.inputs if tensor.name != "input_boxes"]
        write_snippets(folder, manifest, read_preparation(folder))
        for name, module in LIBRARIES[request.param]().items():
            monkeypatch.setitem(sys.modules, name, module)
        return folder / request.param / "segment.py"

    return write


def test_a_turned_photo_gets_the_predictors_mask(snippet, root, tmp_path, monkeypatch, capsys):
    """Every map goes to the decoder, and EXIF's orientation counts."""
    path, photo, out = snippet(), tmp_path / "turned.png", tmp_path / "mask.png"
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = TURNED
    upright = Image.open(root / "examples" / "cat.jpg")
    upright.transpose(Image.Transpose.ROTATE_90).save(photo, exif=exif)
    monkeypatch.setattr(sys, "argv", ["segment.py", str(photo), "225,150", "40,20,0", "--out", str(out)])
    runpy.run_path(str(path), run_name="__main__")
    assert "predicted IoU" in capsys.readouterr().out
    predictor = OnnxPredictor(path.parents[1], "fp32")
    predictor.set_image(np.asarray(upright))
    masks, scores, _ = predictor.predict(np.array([[225, 150], [40, 20]]), np.array([1, 0]))
    found, expected = np.asarray(Image.open(out)) > 0, masks[scores.argmax()]
    assert found.shape == expected.shape and 0 < expected.mean() < 1
    assert (found & expected).sum() >= 0.98 * (found | expected).sum()


@pytest.mark.parametrize(("mode", "min_max"), [("longest_side", False), ("stretch", True)])
def test_photos_are_prepared_as_the_processor_does(snippet, root, mode, min_max):
    """MedSAM stretches them and spreads their levels."""
    path = snippet(resize_mode=mode, do_min_max=min_max)
    photo = Image.open(root / "examples" / "cat.jpg").crop((0, 0, 300, 140))
    pixels, _ = runpy.run_path(str(path))["prepared"](photo)
    expected = read_preparation(path.parents[1])(np.asarray(photo)).pixel_values
    np.testing.assert_allclose(pixels, expected, atol=1e-6)
