"""What is specific to ncnn files; `test_every_format` has the rest."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from sam_hub.exporters.backend import BundleBackend
from sam_hub.exporters.formats.ncnn.export import STEEP, Clamps, convert, decoder_of, renamed
from sam_hub.exporters.formats.ncnn.runner import File
from sam_hub.exporters.image_side import ImageSide
from sam_hub.exporters.manifest import FileRecord, Manifest
from sam_hub.exporters.manifest import Tensor as Described
from sam_hub.exporters.rank_four import restated
from sam_hub.exporters.slot_io import PROMPTS, RESULTS
from sam_hub.exporters.slots import Comparisons, SlotDecoder
from torch import Tensor, nn

from sam_hub.errors import CheckpointError, ExportError
from sam_hub.inference.image_predictor import ImagePredictor
from sam_hub.models.four_axes import tanh_gelu
from sam_hub.models.modeling_sam import SamModel

from ..models.conftest import randomise, tiny_config
from .conftest import short_sam2
from .python_snippet import compare_with_predictor

pytest.importorskip("ncnn")
pytest.importorskip("pnnx")
STANDIN = Path(__file__).parent / "ncnn"


@pytest.fixture(scope="module")
def bundle(bundle_of: Callable) -> Path:
    return bundle_of("ncnn")


def described(tensors: dict[str, Tensor]) -> list[Described]:
    return [Described(name, "float32", list(t.shape[1:]) or [1]) for name, t in tensors.items()]


def check(module: nn.Module, given: dict[str, Tensor], folder: Path, names: tuple[str, ...] = ("y",)) -> None:
    """ncnn gives torch's outputs."""
    expected = dict(zip(names, convert(module.eval(), given, names, folder / "part", half=False), strict=True))
    record = FileRecord("part.param", "encoder", described(given), described(expected))
    record.weights = {"part.bin": ""}
    found = File(folder, record)({name: value.numpy() for name, value in given.items()})
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value.numpy(), atol=1e-5 * float(value.abs().max()))


@pytest.mark.parametrize("name", ["equal", "exceeds", "reaches"])
def test_clamps_compare_exactly(name):
    values = torch.cat([torch.arange(-10.0, 4), torch.tensor([0.05, 0.9, 0.95, 31.5])])
    near = torch.cat([torch.nextafter(values, torch.full_like(values, way)) for way in (-99.0, 99.0)])
    a, b = (t.flatten() for t in torch.meshgrid(torch.cat([values, near[near.abs() > 0.04]]), values, indexing="ij"))
    found, expected = (getattr(kind(), name)(a, b) for kind in (Clamps, Comparisons))
    assert torch.equal(found, expected) and 0 < expected.sum() < len(a)
    assert torch.finfo(torch.float16).max > STEEP  # as a phone may compute in float16


def test_a_decoder_without_comparisons_is_the_same(tmp_path):
    """SAM 2's, which chooses a mask by its stability; both choices are tried, the second in ncnn too."""
    model = randomise(short_sam2(), 1).eval()
    side, width = model.config.prompt_encoder_config.image_embedding_size, 64
    decoder, ours = SlotDecoder(model).eval(), decoder_of(model).eval()
    generator, chosen = torch.Generator().manual_seed(0), set()
    shapes = model.mask_decoder.feature_shapes((side, side)).values()
    for threshold in (0.0, 1.1):
        for part in (decoder, ours):
            part.masks.stability = threshold, 0.05
        points = torch.rand(1, 4, 2, generator=generator) * 90
        labels = torch.tensor([[1, 0, -10, -10]])
        mask = torch.zeros(1, 1, 4 * side, 4 * side), torch.zeros(1)
        maps = [torch.randn(1, *shape, generator=generator) for shape in shapes]
        embedding = torch.randn(1, width, side, side, generator=generator)
        with torch.no_grad():
            expected = decoder(embedding, points, labels.int(), *mask, *maps)
            found = ours(embedding, points, labels.float(), *mask, *maps)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
        chosen.add(bool((expected[0] == expected[2]).flatten(2).all(-1).any()))
    assert chosen == {True, False}  # the best of the three, and the single mask
    prompt = dict(zip(PROMPTS, (points, labels.float(), *mask), strict=True))
    maps = dict(zip(model.mask_decoder.feature_maps, maps, strict=True))
    check(ours, {"image_embedding": embedding, **prompt, **maps}, tmp_path, RESULTS)


@pytest.mark.parametrize("kind", ["sam_hub_tiny_vit", "sam_vision_model", "sam2_vision_model"])
def test_windows_are_padded(kind, tmp_path):
    """pnnx takes ``-96 % 5`` as C does, for -1, and then crops."""
    model = randomise(short_sam2() if kind.startswith("sam2") else SamModel(tiny_config(kind))).eval()
    side = model.config.vision_config.image_size
    x = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    check(ImageSide(model, restated(model)), {"x": x}, tmp_path, ("embedding", *model.mask_decoder.feature_maps))


def test_gelu_has_no_power(tmp_path):
    """ncnn's power of a negative number is not finite, or 2e38."""

    class Gelu(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return tanh_gelu(x)

    x = torch.linspace(-6, 6, 720).reshape(1, 5, 12, 12)
    check(Gelu(), {"x": x}, tmp_path)
    torch.testing.assert_close(tanh_gelu(x), F.gelu(x, approximate="tanh"), atol=1e-6, rtol=0)


def test_what_ncnn_lacks_is_named(tmp_path):
    """pnnx passes on what it cannot translate."""

    class Lacking(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.special.erfinv(x)

    with pytest.raises(ExportError, match=r"ncnn has no .*erfinv, which this model needs; export it to ONNX"):
        convert(Lacking(), {"x": torch.zeros(1, 3, 4, 4)}, ["y"], tmp_path / "x", half=False)
    assert not any(tmp_path.iterdir())


def test_blobs_get_other_names_and_settings_stay():
    param = '7767517\n2 2\nInput in0 0 1 in0\nReshape in1 1 1 in0 out0 0=-1 6="0w,-1"\n'
    expected = '7767517\n2 2\nInput x 0 1 x\nReshape in1 1 1 x y 0=-1 6="0w,-1"\n'
    assert renamed(param, {"in0": "x", "out0": "y"}) == expected


def test_weights_are_stored_in_half_precision_unless_asked(tmp_path):
    module, x = nn.Conv2d(3, 64, 3), torch.zeros(1, 3, 9, 9)
    for half in (True, False):
        convert(module, {"x": x}, ["y"], tmp_path / f"{half}", half)
    sizes = [(tmp_path / f"{half}.bin").stat().st_size for half in (True, False)]
    assert sizes[0] < 0.6 * sizes[1] and sizes[1] >= 4 * 64 * 27


def test_files_that_do_not_load_are_told(bundle, tmp_path):
    record = Manifest.read(bundle).artefacts[0].file("decoder")
    (weights,) = record.weights
    for path, content in ((record.path, b"no"), (weights, b"no")):
        shutil.copytree(bundle / "ncnn", tmp_path / "ncnn", dirs_exist_ok=True)
        (tmp_path / path).write_bytes(content)
        with pytest.raises(CheckpointError, match="does not load in ncnn; export or get it again"):
            File(tmp_path, record)


def test_changed_weights_are_found(bundle, tmp_path):
    copy = shutil.copytree(bundle, tmp_path / "copy")
    (weights,) = Manifest.read(copy).artefacts[0].file("encoder").weights
    (copy / weights).write_bytes(b"other")
    with pytest.raises(ValueError, match=r"image_encoder.bin is not the file that was exported"):
        Manifest.read(copy).check_files(copy)


def test_the_snippet_gives_the_predictors_mask(bundle, root, tmp_path):
    compare_with_predictor(bundle / "ncnn" / "segment.py", root / "examples" / "coffee.jpg", tmp_path / "mask.png")


@pytest.mark.skipif(not shutil.which("g++"), reason="no g++")
def test_the_program_in_cpp_feeds_what_the_runner_feeds(bundle, tmp_path):
    """Compiled with a stand-in for ncnn, whose answers are those of the runner; the photo is twice the model's size."""
    program = tmp_path / "segment"
    source = bundle / "ncnn" / "segment.cpp"
    strict = ["-std=c++11", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["g++", *strict, source, "-I", STANDIN, "-o", program], check=True)

    backend = BundleBackend(bundle)
    side = Manifest.read(bundle).image_size
    small = np.random.default_rng(0).integers(0, 256, (side - 32, side, 3), np.uint8)
    large = small.repeat(2, 0).repeat(2, 1)
    points, labels = np.array([[30.0, 20], [70, 40]]), np.array([1, 0])
    fed, answers = {}, {}
    for file in (backend.runner._encoder, backend.runner._decoder):
        name = "_encoder" if "pixel_values" in file.inputs else "_decoder"
        setattr(backend.runner, name, Recorder(file, fed, answers))
    predictor = ImagePredictor(backend)
    predictor.set_image(small)
    masks, scores, _ = predictor.predict(points, labels)

    for folder in ("fed", "found"):
        (tmp_path / folder).mkdir()
    for name, value in answers.items():
        sides = [*value.shape[1:][::-1], 1, 1][:3]
        (tmp_path / "found" / name).write_text(" ".join(map(str, [*sides, *value.ravel()])))
    (tmp_path / "photo.ppm").write_bytes(b"P6\n%d %d\n255\n" % large.shape[1::-1] + large.tobytes())
    clicks = [f"{2 * x},{2 * y},{label}" for (x, y), label in zip(points, labels, strict=True)]
    command = [program, bundle, tmp_path / "photo.ppm", tmp_path / "mask.pgm", *clicks]
    places = {"NCNN_FED": str(tmp_path / "fed"), "NCNN_FOUND": str(tmp_path / "found")}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **places})
    assert done.returncode == 0, done.stderr

    assert {path.name for path in (tmp_path / "fed").iterdir()} == set(fed)
    for name, value in fed.items():
        found = np.array((tmp_path / "fed" / name).read_text().split(), np.float32)
        np.testing.assert_array_equal(found[:3], [*value.shape[::-1], 1, 1][:3], err_msg=name)
        np.testing.assert_allclose(found[3:], value.ravel(), atol=1e-4, err_msg=name)
    mask = np.asarray(Image.open(tmp_path / "mask.pgm"))[::2, ::2] > 0
    expected = masks[scores.argmax()]
    assert (mask & expected).sum() >= 0.9 * (mask | expected).sum() and expected.any()
    damaged = subprocess.run([program, tmp_path, *command[2:]], capture_output=True, text=True)
    assert damaged.returncode == 1 and "cannot load" in damaged.stderr


class Recorder:
    """A file whose inputs and outputs are noted."""

    def __init__(self, file: File, fed: dict, answers: dict) -> None:
        self.inputs, self.outputs, self._file, self._fed, self._answers = file.inputs, file.outputs, file, fed, answers

    def __call__(self, given: dict) -> dict:
        shapes = {name: tensor.shape for name, tensor in self.inputs.items()}
        self._fed.update({name: np.float32(given[name]).reshape(shape) for name, shape in shapes.items()})
        found = self._file(given)
        self._answers.update(found)
        return found
