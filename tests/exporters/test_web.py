"""`sam-hub export --web`: the page of `demo --static` inside a bundle."""

import json

import pytest
from sam_hub.demo import static_page, web_runtime
from sam_hub.exporters.bundle import export_bundle, verify_bundle
from sam_hub.exporters.manifest import BundleError, Manifest
from typer.testing import CliRunner

from sam_hub.cli import app
from sam_hub.cli.export import page_writer
from sam_hub.errors import OutputError, WrongUsage
from sam_hub.models.image_processing_sam import SamImageProcessor


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An unpacked npm package of the runtime with dummy contents, whose hashes are expected."""
    folder = tmp_path / "package"
    folder.mkdir()
    for name in web_runtime.HASHES:
        (folder / name).write_bytes(name.encode())
        monkeypatch.setitem(web_runtime.HASHES, name, static_page.sha256(folder / name))
    return folder


def test_the_page_is_part_of_the_bundle(repvit_bundle, made_before, package, tmp_path):
    """Complete, under the model's own name, and covered by the hashes of the bundle; its graphs were made before."""
    model, before = repvit_bundle
    made_before(before)
    wanted, bundle = {"onnx": ("fp32",)}, tmp_path / "bundle"
    finish = page_writer(wanted, {}, package, lambda line: None)
    processor = SamImageProcessor.for_config(model.config)
    export_bundle("sam_hub_repvit", bundle, wanted, model=model, processor=processor, finish=finish)
    facts = json.loads((bundle / "web" / "app.json").read_text())
    (model,) = facts["models"]
    assert model["name"] == "sam_hub_repvit" and model["variants"]["wasm"]["variant"] == "fp32"
    assert all((bundle / "web" / f["file"]).is_file() for f in facts["runtime"]["wasm"].values())
    assert "http" not in (bundle / "web" / "index.html").read_text().replace("http-equiv", "").replace("www.w3.org", "")
    assert "web/index.html" in Manifest.read(bundle).others
    (bundle / "web" / "page" / "main.js").write_text("")
    with pytest.raises(BundleError, match=r"web/page/main\.js"):
        verify_bundle(bundle)


def test_what_the_page_needs_is_said_before_anything_is_exported(tmp_path, package, monkeypatch):
    for wanted, options, words in (
        ({"onnx": ("fp16",)}, {}, "add --variant int8"),
        ({"coreml": ("fp16",)}, {}, "ONNX files; add --format onnx"),
        ({"onnx": ("int8",)}, {"layouts": ("meta",)}, "--layout transformersjs"),
    ):
        with pytest.raises(WrongUsage, match=words):
            page_writer(wanted, options, package, lambda line: None)
    (package / next(iter(web_runtime.HASHES))).unlink()
    with pytest.raises(OutputError, match="npm pack onnxruntime-web@"):
        page_writer({"onnx": ("int8",)}, {}, package, lambda line: None)
    done = CliRunner().invoke(app, ["export", "pocket", "--out", str(tmp_path / "x"), "--runtime", "y.tgz"])
    assert done.exit_code == 2 and "--runtime needs --web" in " ".join(done.output.split())
    assert not (tmp_path / "x").exists()
