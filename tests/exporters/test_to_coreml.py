"""Core ML packages of tiny models: exported, verified, read back, and deliberately broken."""

import re
import runpy
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import coremltools as ct
import numpy as np
import pytest
import torch
from PIL import Image
from sam_hub.exporters.bundle import export_bundle, verify_bundle
from sam_hub.exporters.format import Tolerance
from sam_hub.exporters.formats import FORMATS
from sam_hub.exporters.formats.coreml import export as to_coreml
from sam_hub.exporters.formats.coreml.mil.evaluate import Evaluator
from sam_hub.exporters.formats.coreml.mil.package import read_package
from sam_hub.exporters.formats.coreml.runner import NOT_ON_DEVICE, CoreMlRunner
from sam_hub.exporters.gate import ExportMismatch, prove
from sam_hub.exporters.manifest import Manifest
from sam_hub.exporters.proof import Proof
from sam_hub.exporters.snippets import write_snippets

from sam_hub.errors import ExportError
from sam_hub.inference.runtime import read_preparation
from sam_hub.models.encoders import EncoderOutput
from sam_hub.models.image_processing_sam import SamImageProcessor
from sam_hub.models.modeling_sam import SamModel
from sam_hub.ops.preparation import Preparation

from ..models.conftest import randomise, tiny_config
from .conftest import run_predict_py


def tiny(vision: str) -> SamModel:
    model = randomise(SamModel(tiny_config(vision))).eval()
    config = model.config.prompt_encoder_config
    assert config.image_embedding_size == model.config.vision_config.image_size // config.patch_size
    return model


def bundle_of(model: SamModel, out: Path, wanted: dict[str, tuple[str, ...]]) -> Path:
    processor = SamImageProcessor.for_config(model.config)
    export_bundle("some/tiny-model", out, wanted, {"slots": 9}, model=model, processor=processor)
    return out


@pytest.fixture(scope="module")
def bundle(once: Callable) -> Path:
    """EdgeSAM's shape, which resizes bicubically, in two variants."""
    wanted = {"coreml": ("fp32", "fp16")}
    return once("coreml", lambda out: bundle_of(tiny("sam_hub_repvit"), out, wanted))


def runner_of(folder: Path, variant: str) -> CoreMlRunner:
    return FORMATS["coreml"].open_runner(folder, Manifest.read(folder).find("coreml", variant))


def test_the_bundle_verifies_from_its_files(bundle):
    seen = dict(verify_bundle(bundle))
    assert seen.keys() == {"coreml fp32", "coreml fp16"}
    assert seen["coreml fp32"]["iou_mean"] > 0.9999 and seen["coreml fp32"]["difference"] < 1e-4
    assert seen["coreml fp16"]["prompts"] == 21


def test_files_names_and_metadata(bundle):
    artefact = Manifest.read(bundle).find("coreml", "fp16")
    assert [record.path for record in artefact.files] == [
        f"coreml/fp16/TinyModel{part}.mlpackage" for part in ("ImageEncoder", "PromptEncoder", "MaskDecoder")
    ]
    specs = {record.role: ct.utils.load_spec(str(bundle / record.path)) for record in artefact.files}
    names = {
        role: ([i.name for i in spec.description.input], [o.name for o in spec.description.output])
        for role, spec in specs.items()
    }
    assert names == {
        "encoder": (["image"], ["image_embedding"]),
        "prompt_encoder": (
            ["points", "labels", "mask_input", "has_mask_input"],
            ["sparse_embeddings", "dense_embeddings", "token_mask"],
        ),
        "decoder": (
            ["image_embedding", "sparse_embeddings", "dense_embeddings", "token_mask"],
            ["low_res_masks", "scores", "single_mask", "single_score"],
        ),
    }
    for record in artefact.files:
        spec = specs[record.role]
        assert [t.name for t in record.inputs] == names[record.role][0]
        assert spec.specificationVersion == 8  # iOS 17
        meta = spec.description.metadata
        assert "Segment Anything" in meta.author and meta.license == "unknown" and meta.versionString
        assert all(f.shortDescription for f in (*spec.description.input, *spec.description.output))
        assert meta.userDefined["sam_hub.slots"] == "9"
    image = specs["encoder"].description.input[0].type.imageType
    assert (image.width, image.height) == (96, 96)
    assert type(image).ColorSpace.Name(image.colorSpace) == "RGB"
    if ct.utils._is_macos():
        assert NOT_ON_DEVICE not in artefact.runtime
    else:
        assert NOT_ON_DEVICE in artefact.runtime and artefact.notes == [NOT_ON_DEVICE]


def test_half_precision_keeps_statistics_and_coordinates(bundle):
    artefact = Manifest.read(bundle).find("coreml", "fp16")
    kinds: dict[str, set[str]] = {}
    for record in artefact.files:
        for op in read_package(bundle / record.path).operations:
            if op.op_type in ("layer_norm", "reduce_mean", "conv", "sin"):
                few = "small " * (op.op_type == "conv" and op.weight.val.size < to_coreml.FEW_WEIGHTS)
                dtype = ct.converters.mil.mil.types.builtin_to_string(op.outputs[0].dtype)
                kinds.setdefault(f"{record.role} {few}{op.op_type}", set()).add(dtype)
    assert kinds == {
        "encoder conv": {"fp16"},
        "encoder small conv": {"fp32"},
        "encoder layer_norm": {"fp32"},
        "encoder reduce_mean": {"fp32"},
        "prompt_encoder small conv": {"fp32"},
        "prompt_encoder layer_norm": {"fp32"},
        "prompt_encoder sin": {"fp32"},
        "decoder layer_norm": {"fp32"},
    }


@pytest.mark.parametrize("vision", ["sam_vision_model", "sam_hub_tiny_vit", "sam_hub_efficientvit", "sam_hub_pocket"])
def test_every_encoder_converts(vision, tmp_path, capfd):
    """In float32 the package computes what the encoder does, from grey levels; no axis beyond the fourth."""
    model = tiny(vision)
    preparation = Preparation.from_settings(SamImageProcessor.for_config(model.config).to_dict())
    part = to_coreml.parts_of(model, preparation, 8)[0]
    converted = to_coreml.convert(part, half=False)
    assert capfd.readouterr() == ("", "")
    converted.save(str(tmp_path / "encoder.mlpackage"))
    package = read_package(tmp_path / "encoder.mlpackage")
    assert max(len(out.shape) for op in package.operations for out in op.outputs) <= 4
    pixels = np.random.default_rng(3).integers(0, 256, (64, 96, 3)).astype(np.uint8)
    square = Image.new("RGB", (96, 96), tuple(to_coreml.fill_colour(preparation)))
    square.paste(Image.fromarray(pixels), (0, 0))
    found = Evaluator(package).predict({"image": square})["image_embedding"]
    prepared = preparation(pixels)
    expected = model.get_image_embeddings(torch.from_numpy(prepared.pixel_values)).numpy()
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize(("variant", "most"), [("int8", 0.03), ("p6", 0.3), ("p4", 0.6)])
def test_compressed_weights_are_read_back(bundle, tmp_path, variant, most):
    """The evaluator decompresses what the file holds: near the weights, and not equal to them."""
    path = bundle / Manifest.read(bundle).find("coreml", "fp16").file("decoder").path
    small = to_coreml.compressed(ct.models.MLModel(str(path), skip_model_load=True), variant, 64)
    small.save(str(tmp_path / "small.mlpackage"))
    before, after = (
        {op.outputs[0].name: op.weight for op in read_package(p).operations if op.op_type == "linear"}
        for p in (path, tmp_path / "small.mlpackage")
    )
    changed = [name for name, weight in after.items() if weight.op.op_type.startswith("constexpr_")]
    assert len(changed) > 5
    for name in changed:
        found, expected = after[name].op.materialized_val_inference(), before[name].val
        error = np.abs(found.astype(np.float64) - expected).max() / np.abs(expected).max()
        assert 0 < error < most
        if variant != "int8":
            assert len(np.unique(found.astype(np.float32))) <= 2 ** to_coreml.WEIGHT_BITS[variant]


def channels_of_normalisation_swapped(encoder: torch.nn.Module) -> None:
    for values in (encoder.grey, encoder.gain):
        values.copy_(values.flip(1).clone())


def one_deviation_for_all_channels(encoder: torch.nn.Module) -> None:
    encoder.gain.fill_(float(encoder.gain.mean()))


def bilinear_for_bicubic(encoder: torch.nn.Module) -> None:
    linear = torch.nn.functional.interpolate(torch.eye(3)[None, None], size=(6, 3), mode="bilinear")[0, 0]

    class Bilinear(type(encoder.encoder.encoder)):
        def forward(self, pixel_values: torch.Tensor, *_: bool) -> EncoderOutput:
            features = [pixel_values]
            for block in self.features:
                features.append(block(features[-1]))
            fine = features[self.stage_ends[-2] + 1]
            coarse = linear @ self.fuse_stage3(features[-1]) @ linear.T
            return EncoderOutput(self.neck(self.fuse_stage2(fine) + coarse))

    encoder.encoder.encoder.__class__ = Bilinear


def slots_not_masked(decoder: torch.nn.Module) -> None:
    sound = decoder.forward
    decoder.forward = lambda image, sparse, dense, token_mask: sound(image, sparse, dense, 0 * token_mask)


def with_package(bundle: Path, copy: Path, variant: str, role: str, package: object) -> Path:
    """A copy of the bundle in which one package is another."""
    shutil.copytree(bundle, copy)
    path = copy / Manifest.read(bundle).find("coreml", variant).file(role).path
    shutil.rmtree(path)
    package.save(str(path))
    return path


@pytest.mark.parametrize(
    ("part", "damage"),
    [
        (0, channels_of_normalisation_swapped),
        (0, one_deviation_for_all_channels),
        (0, bilinear_for_bicubic),
        (2, slots_not_masked),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_broken_graph_is_caught(bundle, tmp_path, part, damage):
    model = tiny("sam_hub_repvit")
    preparation = Preparation.from_settings(SamImageProcessor.for_config(model.config).to_dict())
    damaged = to_coreml.parts_of(model, preparation, 9)[part]
    damage(damaged.module)
    package = to_coreml.convert(damaged, half=False)
    with_package(bundle, tmp_path / "b", "fp32", to_coreml.ROLES[damaged.name], package)
    with pytest.raises(ExportMismatch, match="does not compute what the model does"):
        prove(runner_of(tmp_path / "b", "fp32"), Proof.load(bundle), FORMATS["coreml"].tolerances["fp32"], "broken")


def test_a_palette_that_is_too_small_is_caught(bundle, tmp_path, monkeypatch):
    monkeypatch.setitem(to_coreml.WEIGHT_BITS, "p4", 1)
    path = bundle / Manifest.read(bundle).find("coreml", "fp16").file("decoder").path
    small = to_coreml.compressed(ct.models.MLModel(str(path), skip_model_load=True), "p4", 64)
    with_package(bundle, tmp_path / "b", "fp16", "decoder", small)
    with pytest.raises(ExportMismatch, match="does not compute what the model does"):
        prove(runner_of(tmp_path / "b", "fp16"), Proof.load(bundle), FORMATS["coreml"].tolerances["p4"], "small")


def test_an_eps_that_no_mask_shows_is_read_off_the_package(bundle):
    """1e-6 instead of 1e-5, a known mistake, moves logits by less than float32 rounding."""
    path = bundle / Manifest.read(bundle).find("coreml", "fp16").file("decoder").path
    decoder = to_coreml.SlotMaskDecoder(tiny("sam_hub_repvit"))
    to_coreml.check_norms(path, decoder)
    for norm in decoder.modules():
        if isinstance(norm, torch.nn.LayerNorm):
            norm.eps = 1e-6
    with pytest.raises(ExportMismatch, match=r"have an eps of 1\.00e-05 and 1\.00e-06, but the model's 1\.00e-06"):
        to_coreml.check_norms(path, decoder)


def test_an_export_that_fails_leaves_nothing(bundle, made_before, tmp_path, monkeypatch):
    made_before(bundle)
    wanted, model = {"coreml": ("fp32",)}, tiny("sam_hub_repvit")
    whole = bundle_of(model, tmp_path / "whole", wanted)
    assert Manifest.read(whole).find("coreml", "fp32").gate["passed"]
    shutil.rmtree(whole)
    monkeypatch.setitem(FORMATS["coreml"].tolerances, "fp32", Tolerance(1e-9, 1, 1, 1, 0))
    with pytest.raises(ExportMismatch, match="nothing was kept"):
        bundle_of(model, tmp_path / "bundle", wanted)
    assert not list(tmp_path.iterdir())


def test_a_damaged_package_is_refused(bundle, tmp_path):
    record = Manifest.read(bundle).find("coreml", "fp32").file("decoder")
    shutil.copytree(bundle / record.path, tmp_path / "a.mlpackage")
    with pytest.raises(ExportError, match="the inputs are"):
        Evaluator(read_package(tmp_path / "a.mlpackage")).predict({"image": 1})
    (tmp_path / "a.mlpackage" / "Data" / "com.apple.CoreML" / "model.mlmodel").write_bytes(b"no")
    with pytest.raises(ExportError, match="export the model again"):
        read_package(tmp_path / "a.mlpackage")


def test_too_few_slots_are_refused(tmp_path):
    model = tiny("sam_hub_pocket")
    processor = SamImageProcessor.for_config(model.config)
    with pytest.raises(ExportError, match="--slots must be 8 at least"):
        export_bundle("x", tmp_path / "b", {"coreml": ("fp16",)}, {"slots": 2}, model=model, processor=processor)


def test_swift_and_python_use_the_names_that_the_files_have(bundle):
    manifest = Manifest.read(bundle)
    artefact = manifest.find("coreml", "fp16")
    features = {}
    for record in artefact.files:
        spec = ct.utils.load_spec(str(bundle / record.path))
        features[record.role] = {f.name for f in (*spec.description.input, *spec.description.output)}
    everything = set().union(*features.values())
    for name in ("Segment.swift", "predict.py"):
        text = (bundle / "macos" / name).read_text()
        assert "@" not in text.replace("@main", "")
        quoted = set(re.findall(r'"([a-z]+_[a-z_]+|points|labels|scores|image)"', text))
        assert quoted - everything == ({"store_true"} if name == "predict.py" else set())
        assert {"image", "low_res_masks", "scores"} <= quoted
        assert all(record.path in text for record in artefact.files)
        assert f"macos/{name}" in manifest.others
    swift = (bundle / "macos" / "Segment.swift").read_text()
    assert "CreateThumbnailWithTransform: true" in swift and "upright(URL" in swift  # applies the EXIF orientation
    assert "for name in encoded.featureNames" in swift  # the decoder may read more than the embedding
    width, height = re.findall(r"let [wh] = stretch \? Double\(side\) : \(Double\(photo\.(width|height)\)", swift)
    assert (width, height) == ("width", "height") and "let stretch = false" in swift


@pytest.mark.parametrize("mode", ["longest_side", "stretch"])
def test_snippets_resize_as_the_processor_does(bundle, root, tmp_path, mode):
    """MedSAM stretches photos."""
    preparation = replace(read_preparation(bundle), resize_mode=mode)
    write_snippets(tmp_path, Manifest.read(bundle), preparation)
    stretches = mode == "stretch"
    assert f"let stretch = {str(stretches).lower()} " in (tmp_path / "macos" / "Segment.swift").read_text()
    square = runpy.run_path(str(tmp_path / "macos" / "predict.py"))["square"]
    photo = Image.open(root / "examples" / "cat.jpg").crop((0, 0, 300, 140))
    expected = preparation(np.asarray(photo)).resized
    assert (expected.shape[0] == expected.shape[1]) == stretches
    np.testing.assert_array_equal(np.asarray(square(photo))[: expected.shape[0], : expected.shape[1]], expected)


def test_the_python_script_runs(bundle):
    ious = run_predict_py(bundle)
    assert ious.shape == (21, 3) and ious.min() > 0.9 and ious.mean() > 0.99
