"""`sam-hub demo --static`: the files written, and the errors."""

import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from sam_hub.demo import static_page, web_runtime
from typer.testing import CliRunner

from sam_hub.cli import app
from sam_hub.errors import CheckpointError, OutputError


def model_folder(folder: Path, *suffixes: str, ours: bool = True) -> Path:
    """A transformers.js folder with dummy files, as written by this package or by others."""
    (folder / "onnx").mkdir(parents=True)

    def value(name: str, *shape: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)

    encoder = helper.make_graph(
        [helper.make_node("Identity", ["pixel_values"], ["image_embeddings"])],
        "encoder",
        [value("pixel_values", 1, 3, 64, 64)],
        [value("image_embeddings", 1, 3, 64, 64)],
    )
    decoder = helper.make_graph(
        [helper.make_node("Identity", ["mask_input"], ["pred_masks"])],
        "decoder",
        [value("image_embeddings", 1, 3, 64, 64), value("mask_input", 1, 1, 16, 16), value("input_boxes", 1, 4)],
        [value("pred_masks", 1, 1, 16, 16)],
        [
            numpy_helper.from_array(np.zeros((1, 1, 16, 16), np.float32), "mask_input"),
            numpy_helper.from_array(np.zeros((1, 4), np.float32), "input_boxes"),
        ],
    )
    for suffix in suffixes:
        onnx.save(helper.make_model(encoder), folder / "onnx" / f"vision_encoder{suffix}.onnx")
        onnx.save(helper.make_model(decoder), folder / "onnx" / f"prompt_encoder_mask_decoder{suffix}.onnx")
    settings = {"size": {"longest_edge": 64}, "pad_size": {"height": 64, "width": 64}}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    config = {"model_type": "sam", **({"sam_hub_version": "0"} if ours else {})}
    (folder / "config.json").write_text(json.dumps(config))
    if ours:
        (folder / "export.json").write_text(json.dumps({"model": "mine", "low_res": 16}))
    return folder


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """An unpacked npm package of the runtime with dummy contents, whose hashes are expected."""
    folder = tmp_path / "package"
    for name in web_runtime.HASHES:
        path = folder / "dist" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
        monkeypatch.setitem(web_runtime.HASHES, name, static_page.sha256(path))
    return folder


def test_the_folder(package, tmp_path):
    """All files that the page refers to exist, with their size and hash; the decoder takes a mask prompt."""
    bundle = model_folder(tmp_path / "bundle", "_quantized", "_fp16")
    out = tmp_path / "page"
    static_page.write_static(out, [str(bundle)], package)
    facts = json.loads((out / "app.json").read_text())
    (model,) = facts["models"]
    assert facts["about"]["default"] == model["name"] == "mine"
    assert model["variants"]["wasm"]["variant"] == "int8" and model["variants"]["webgpu"]["variant"] == "fp16"
    records = [r for build in facts["runtime"].values() for r in build.values()]
    records += [v[role] for v in model["variants"].values() for role in ("encoder", "decoder")]
    for record in records:
        path = out / record["file"]
        assert path.stat().st_size == record["bytes"] and static_page.sha256(path) == record["sha256"]
    decoder = onnx.load(out / model["variants"]["wasm"]["decoder"]["file"])
    fed = {i.name for i in decoder.graph.input} - {t.name for t in decoder.graph.initializer}
    assert fed == {"image_embeddings", "mask_input"}  # boxes come as points
    kept = json.loads((out / "sw.js").read_text().split("FILES = ")[1].split(";\n")[0])
    assert kept[0] == "./" and all((out / name).is_file() for name in kept[1:])
    assert not any(name.endswith((".onnx", ".wasm")) for name in kept)  # fetched, checked and kept by the worker
    assert "local as compute" in (out / "page" / "compute.js").read_text()
    assert not list(out.rglob("server.js")) and "sdk: static" in (out / "README.md").read_text()
    manifest = json.loads((out / "manifest.webmanifest").read_text())
    assert all((out / icon["src"]).is_file() for icon in manifest["icons"])


def test_a_name_is_exported_with_weights_of_8_bits(package, tmp_path, monkeypatch):
    """As the bundle of `pocket` is that the tests of the page share."""
    asked = []

    def export(name: str, out: Path, *wanted: object, **_: object) -> None:
        asked.append((name, *wanted))
        model_folder(out, "_quantized")

    monkeypatch.setattr("sam_hub.exporters.bundle.export_bundle", export)
    out = tmp_path / "page"
    static_page.write_static(out, ["pocket"], package)
    assert asked == [("pocket", {"onnx": ["int8"]}, {"layouts": ("transformersjs",)})]
    (model,) = json.loads((out / "app.json").read_text())["models"]
    assert model["name"] == "pocket" and model["variants"]["wasm"]["variant"] == "int8"


def test_nothing_in_the_page_names_another_place(root):
    """No file of the page refers to a URL outside the folder."""
    allowed = ("http://www.w3.org/",)
    for path in [*(root / "demo" / "page").iterdir(), *(root / "demo" / "alone").iterdir()]:
        if path.suffix in (".js", ".html", ".css"):
            text = path.read_text("utf-8")
            for scheme in ("http://", "https://"):
                for part in text.split(scheme)[1:]:
                    assert f"{scheme}{part}".startswith(allowed), f"{path.name}: {scheme}{part[:40]}"


def test_a_folder_of_somebody_else_understands_clicks(package, tmp_path):
    """In transformers.js's layout, without the files that this package adds."""
    bundle = model_folder(tmp_path / "bundle", "_quantized", ours=False)
    out = tmp_path / "page"
    static_page.write_static(out, [str(bundle)], package)
    (model,) = json.loads((out / "app.json").read_text())["models"]
    assert model["name"] == "bundle" and model["prompts"] == ["points"]


@pytest.mark.parametrize("name", [5, ["x"], {}, None, "../../out"])
def test_a_folder_with_a_name_that_is_none(package, tmp_path, name):
    """The model name in a foreign export.json becomes a folder inside the page, never outside."""
    bundle = model_folder(tmp_path / "bundle", "_quantized")
    (bundle / "export.json").write_text(json.dumps({"model": name, "low_res": 16}))
    out = tmp_path / "page"
    static_page.write_static(out, [str(bundle)], package)
    (folder,) = (out / "models").iterdir()
    assert folder.name == ("out" if isinstance(name, str) else "bundle")


def test_failures_leave_nothing_behind(package, tmp_path):
    bundle = model_folder(tmp_path / "bundle", "_fp16")
    out = tmp_path / "page"
    with pytest.raises(CheckpointError, match="without a GPU"):
        static_page.write_static(out, [str(bundle)], package)
    (package / "dist" / "ort.wasm.min.mjs").write_text("other")
    with pytest.raises(OutputError, match="npm pack onnxruntime-web@"):
        static_page.write_static(out, [str(bundle)], package)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bundle", "package"]


def test_without_a_registry_one_sentence_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(web_runtime, "HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:9")
    done = CliRunner().invoke(app, ["demo", "--static", str(tmp_path / "page")])
    assert done.exit_code == 1 and "connect once, or pass --runtime" in done.output
    assert not (tmp_path / "page").exists()
    done = CliRunner().invoke(app, ["demo", "--runtime", "x.tgz"])
    assert done.exit_code == 2 and "--runtime needs --static" in done.output


def test_a_wrong_runtime_is_one_sentence_and_leaves_the_kept_one(tmp_path, package, monkeypatch):
    """No file, not an archive, a truncated one, another package, another version; then the right one."""
    monkeypatch.setattr(web_runtime, "HF_HOME", str(tmp_path / "cache"))

    def packed(name: str, change: bytes = b"") -> Path:
        with tarfile.open(tmp_path / name, "w:gz") as archive:
            for file in web_runtime.HASHES:
                content = file.encode() + change
                info = tarfile.TarInfo(f"package/dist/{file}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return tmp_path / name

    right = packed("right.tgz")
    assert all(path.read_bytes() == name.encode() for name, path in web_runtime.runtime_files(right).items())
    (tmp_path / "text.tgz").write_text("not an archive")
    (tmp_path / "cut.tgz").write_bytes(right.read_bytes()[:-20])
    with tarfile.open(tmp_path / "other.tgz", "w:gz") as archive:
        archive.add(tmp_path / "text.tgz", "package/x")
    for name, words in (
        ("nowhere.tgz", "neither a file nor a folder"),
        ("text.tgz", "is not npm's package"),
        ("cut.tgz", "not whole"),
        ("other.tgz", "is not npm's package"),
        (packed("older.tgz", b"older").name, f"is not onnxruntime-web {web_runtime.VERSION}"),
    ):
        done = CliRunner().invoke(app, ["demo", "--static", str(tmp_path / "page"), "--runtime", str(tmp_path / name)])
        output = " ".join(done.output.split())
        assert done.exit_code == 1 and words in output and "npm pack onnxruntime-web@" in output, output
        assert not (tmp_path / "page").exists() and "Traceback" not in output
    assert web_runtime.runtime_files()  # what was kept is whole


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(OutputError, match="not an empty folder"):
        static_page.write_static(tmp_path, ["pocket"])
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
    shutil.rmtree(tmp_path)
