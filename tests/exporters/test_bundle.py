"""A bundle is complete and unchanged since its export, or the error says what is wrong."""

import importlib.util
import json
import re
import shutil
from importlib.util import find_spec

import pytest
from sam_hub.exporters import bundle as bundles
from sam_hub.exporters.bundle import export_bundle, verify_bundle
from sam_hub.exporters.formats import FORMATS, ExportJob
from sam_hub.exporters.gate import ExportMismatch
from sam_hub.exporters.manifest import BundleError, Manifest, sha256_and_size
from sam_hub.exporters.presets import PRESETS
from sam_hub.exporters.proof import Proof
from typer.testing import CliRunner

from sam_hub.cli import app
from sam_hub.cli.export import plan
from sam_hub.errors import ExportError, ImageError, OutputError, WrongUsage
from sam_hub.models.image_processing_sam import SamImageProcessor


@pytest.fixture
def copy(repvit_bundle, tmp_path):
    return shutil.copytree(repvit_bundle[1], tmp_path / "copy")


def test_verify_repeats_the_proof(copy):
    seen = verify_bundle(copy)
    assert [name for name, _ in seen] == ["onnx fp32 (transformersjs)", "onnx fp16 (transformersjs)"]
    assert all(facts["passed"] for _, facts in seen)


@pytest.mark.parametrize("name", ["onnx/vision_encoder_fp16.onnx", "preprocessor_config.json", "proof/proof.npz"])
def test_a_changed_file_is_found(copy, name):
    path = copy / name
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(BundleError, match=f"{name} is not the file"):
        verify_bundle(copy)


def test_a_missing_file_is_found(copy):
    (copy / "config.json").unlink()
    with pytest.raises(BundleError, match=r"config\.json is missing"):
        verify_bundle(copy)


def test_files_of_another_model_fail_though_their_hashes_are_right(copy):
    """Not only the hashes are checked: two files are swapped and the manifest is rewritten."""
    manifest = Manifest.read(copy)
    proof = Proof.load(copy)
    for case in proof.cases:
        for answer in case.answers:
            answer.low_res = -answer.low_res
    proof.save(copy)
    manifest.write(copy)
    with pytest.raises(ExportMismatch):
        verify_bundle(copy)


def test_the_manifest_tells_what_is_wrong_with_it(copy, tmp_path):
    path = copy / "export.json"
    content = json.loads(path.read_text())
    for damaged, what in (
        ("{", "is damaged"),
        ("[]", "is damaged"),
        (json.dumps(content | {"version": 9}), "version 9"),
    ):
        path.write_text(damaged)
        with pytest.raises(BundleError, match=what):
            Manifest.read(copy)
    path.write_text(json.dumps({**content, "artefacts": [{}]}))
    with pytest.raises(BundleError, match="is damaged"):
        Manifest.read(copy)
    with pytest.raises(BundleError, match="not an exported bundle"):
        Manifest.read(tmp_path / "nowhere")


def test_what_the_manifest_says_survives_writing_and_reading(repvit_bundle):
    manifest = Manifest.read(repvit_bundle[1])
    assert manifest.find("onnx", "fp16").file("encoder").path == "onnx/vision_encoder_fp16.onnx"
    with pytest.raises(BundleError, match="it has onnx fp32"):
        manifest.find("coreml")
    record = manifest.find("onnx").file("decoder")
    assert (record.sha256, record.bytes) == sha256_and_size(repvit_bundle[1] / record.path)
    assert {t.name for t in record.inputs} > {"input_points", "mask_input"}
    assert "preprocessor_config.json" in manifest.others


def test_a_folder_has_a_hash_of_its_names_and_files(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "inner").mkdir(parents=True)
        (tmp_path / name / "inner" / "file").write_text("same")
    assert sha256_and_size(tmp_path / "a") == sha256_and_size(tmp_path / "b")
    (tmp_path / "b" / "inner" / "file").rename(tmp_path / "b" / "inner" / "other")
    assert sha256_and_size(tmp_path / "a")[0] != sha256_and_size(tmp_path / "b")[0]


def test_a_place_that_is_taken_is_refused_before_any_work(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr(bundles, "make_proof", lambda *_: pytest.fail("worked"))
    with pytest.raises(OutputError, match="already exists"):
        export_bundle("pocket", tmp_path, {"onnx": ("fp32",)})


@pytest.mark.parametrize("photo", ["photos", "calibration"])
def test_what_cannot_be_written_or_read_is_told_before_any_work(photo, tmp_path, monkeypatch):
    monkeypatch.setattr(bundles, "make_proof", lambda *_: pytest.fail("worked"))
    (tmp_path / "file").write_text("no photo")
    wanted = {"onnx": ("int8-static",)}
    with pytest.raises(OutputError, match=r"cannot write .*file/new/x: Not a directory"):
        export_bundle("pocket", tmp_path / "file" / "new" / "x", wanted)
    for name, error in (("absent.jpg", "does not exist"), ("file", "not an image")):
        with pytest.raises(ImageError, match=error):
            export_bundle("pocket", tmp_path / "new" / "x", wanted, **{photo: [tmp_path / name]})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_place_that_takes_no_folder_is_told(repvit_bundle, tmp_path, monkeypatch):
    model, _ = repvit_bundle
    monkeypatch.setattr(bundles, "make_proof", lambda *_: None)

    def refuse(**_: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("sam_hub.ops.files.mkdtemp", refuse)
    processor = SamImageProcessor.for_config(model.config)
    with pytest.raises(OutputError, match=r"cannot write .*out: Permission denied"):
        export_bundle("tiny", tmp_path / "out", {"onnx": ("fp32",)}, model=model, processor=processor)


def test_a_stop_in_the_middle_leaves_nothing(repvit_bundle, tmp_path, monkeypatch):
    model, _ = repvit_bundle
    monkeypatch.setattr(bundles, "make_proof", lambda *_: None)

    def stopped(_: object, job: ExportJob) -> list:
        (job.out / "onnx").mkdir()
        (job.out / "onnx" / "half.onnx").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(type(FORMATS["onnx"]), "run_export", stopped)
    processor = SamImageProcessor.for_config(model.config)
    with pytest.raises(KeyboardInterrupt):
        export_bundle("tiny", tmp_path / "out", {"onnx": ("fp32",)}, model=model, processor=processor)
    assert not list(tmp_path.iterdir())


def test_a_format_without_its_libraries_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ExportError, match=r"pip install '.\[onnx\]'"):
        export_bundle("pocket", tmp_path / "out", {"onnx": ("fp32",)})


def test_plan_reads_formats_and_variants():
    assert plan(["onnx"], []) == {"onnx": FORMATS["onnx"].default}
    assert plan(["onnx", "coreml"], ["fp16"]) == {"onnx": ("fp16",), "coreml": ("fp16",)}
    assert set(plan(["all"], [])) == {name for name in FORMATS if all(map(find_spec, FORMATS[name].packages))}
    with pytest.raises(WrongUsage, match="TensorFlow Lite is now LiteRT; use --format litert"):
        plan(["tflite"], [])
    with pytest.raises(WrongUsage, match="did you mean onnx"):
        plan(["onx"], [])
    with pytest.raises(WrongUsage, match="did you mean fp16"):
        plan(["onnx"], ["fp-16"])
    with pytest.raises(WrongUsage, match="executorch has no variant q4"):
        plan(["onnx", "executorch"], ["q4"])


@pytest.mark.parametrize("name", PRESETS)
def test_presets_ask_for_what_there_is_and_say_why(name):
    preset = PRESETS[name]
    assert len(preset.why) > 40
    for format in preset.wanted:  # a figure with where it is from, or that there is none
        assert re.search(rf"{FORMATS[format].title}: [^;]*(benchmarks/\w+\.py|not run on)", preset.measured)
    for format, variants in preset.wanted.items():
        assert set(variants) <= set(FORMATS[format].variants)


def test_all_formats_are_those_that_are_installed(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *a: None if n == "executorch" else find_spec(n, *a))
    assert "executorch" not in plan(["all"], []) and "onnx" in plan(["all"], [])
    assert "left out: executorch needs executorch: install it with" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("--format", "coreml", "--layout", "meta"), "--layout has no effect on Core ML, only on ONNX; leave it out"),
        (("--slots", "9"), "--slots has no effect on ONNX, only on Core ML, ExecuTorch, LiteRT, ncnn; leave it out"),
        (("--format", "openvino", "--calibration", "x.jpg"), "--calibration has no effect on OpenVINO, only on"),
        (
            ("--format", "coreml", "--calibration", "x.jpg"),
            "no effect on these variants; add mixed or mixed4, or leave",
        ),
        (("--variant", "fp32", "--calibration", "x.jpg"), "variants; add int8-static or mixed or mixed4, or leave"),
        (("--opset", "0"), "'--opset': Input should be greater than or equal to 18"),
        (("--masks", "single"), "--masks is for the meta layout; add --layout meta"),
        (("--no-upscale", "--layout", "cvat"), "--no-upscale is for the meta layout; add --layout meta"),
        (("--layout", "nope"), "Error: Invalid value for '--layout': 'nope' is not one of"),
    ],
)
def test_an_option_without_effect_is_refused(tmp_path, monkeypatch, arguments, said):
    monkeypatch.setattr(bundles, "make_proof", lambda *_: pytest.fail("worked"))
    done = CliRunner().invoke(app, ["export", "pocket", "--out", str(tmp_path / "x"), *arguments])
    assert done.exit_code == 2 and said in done.output
    assert not list(tmp_path.iterdir())


def test_an_option_that_no_format_has_is_named(tmp_path):
    with pytest.raises(ExportError, match="there is no option slot; there are calibration, grey_levels, "):
        export_bundle("pocket", tmp_path / "x", {"coreml": ("fp16",)}, {"slot": 9})


def test_photos_to_calibrate_are_for_variants_that_are_calibrated(tmp_path, monkeypatch):
    monkeypatch.setattr(bundles, "make_proof", lambda *_: pytest.fail("worked"))
    with pytest.raises(
        ExportError, match="no effect on these variants; add int8-static or mixed or mixed4, or leave it"
    ):
        export_bundle("pocket", tmp_path / "x", {"onnx": ("fp32", "int8")}, calibration=[tmp_path / "photo.jpg"])
