"""The suite of every device format, including one outside the package: export, run, verify, snippet, commands.

The toy format is found by an entry point, as a user's would be; no other code mentions it.
"""

import ast
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sam_hub.exporters import formats
from sam_hub.exporters.backend import BundleBackend
from sam_hub.exporters.bundle import check_installed, verify_bundle
from sam_hub.exporters.format import EXACT, HALF, Format
from sam_hub.exporters.formats import FORMATS, default_format, register_format
from sam_hub.exporters.gate import ExportMismatch
from sam_hub.exporters.manifest import BundleError, Manifest
from sam_hub.exporters.presets import PRESETS
from sam_hub.exporters.proof import Proof
from typer.testing import CliRunner

from sam_hub.cli import app
from sam_hub.diagnostics.bench import contenders, measure
from sam_hub.errors import ExportError, PromptError
from sam_hub.inference.image_predictor import ImagePredictor
from sam_hub.inference.predictor import SamPredictor
from sam_hub.models.image_processing_sam import SamImageProcessor
from sam_hub.models.modeling_sam import SamModel

from .conftest import one_block

TOY = Path(__file__).parent / "toy"
OURS = tuple(FORMATS)


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the path in which the toy format is installed, with its entry point."""
    site = tmp_path_factory.mktemp("site")
    shutil.copytree(TOY, site / "toy", ignore=shutil.ignore_patterns("__pycache__"))
    facts = site / "toy_format-1.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-format\nVersion: 1\n")
    (facts / "entry_points.txt").write_text(f"[{formats.GROUP}]\ntoy = toy:FORMAT\n")
    return site


@pytest.fixture(scope="module")
def found_outside(outside: Path) -> Iterator[None]:
    """The toy format, found as any other in this process."""
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(outside))
    patch.setattr(FORMATS, "_found", {})
    patch.setattr(FORMATS, "_complete", False)
    yield
    patch.undo()
    for name in [n for n in sys.modules if n.split(".")[0] == "toy"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def model() -> SamModel:
    return one_block()


@pytest.fixture(scope="module", params=[*OURS, "toy"])
def exported(request, found_outside, bundle_of) -> tuple[Format, Path]:
    """Each format in turn, and a bundle of its first variant."""
    format = FORMATS[request.param]
    try:
        check_installed(format.name)
    except ExportError as e:
        pytest.skip(str(e))
    return format, bundle_of(format.name)


def test_export_proves_and_records(exported):
    format, out = exported
    (artefact,) = Manifest.read(out).artefacts
    assert (artefact.format, artefact.variant) == (format.name, format.default[0])
    assert artefact.gate["passed"] and artefact.gate["prompts"] == 21 and artefact.runtime
    assert artefact.gate["tolerance"] == vars(format.tolerances[artefact.variant])
    assert {record.role for record in artefact.files} >= {"encoder", "decoder"}


def test_verify_repeats_the_proof_and_finds_what_changed(exported, tmp_path):
    format, out = exported
    ((name, facts),) = verify_bundle(out)
    assert name.startswith(format.name) and facts["passed"]
    copy = shutil.copytree(out, tmp_path / "copy")
    manifest, proof = Manifest.read(copy), Proof.load(copy)
    for case in proof.cases:
        for answer in case.answers:
            answer.low_res = -answer.low_res
    proof.save(copy)
    manifest.write(copy)
    with pytest.raises(ExportMismatch):
        verify_bundle(copy)
    path = copy / manifest.artefacts[0].file("decoder").path
    shutil.rmtree(path) if path.is_dir() else path.write_bytes(b"other")
    with pytest.raises(BundleError):
        verify_bundle(copy)


def test_snippets_are_filled_and_listed(exported):
    format, out = exported
    manifest = Manifest.read(out)
    for snippet in format.snippets:
        if snippet.layout != manifest.artefacts[0].layout:
            continue
        text = (out / snippet.path).read_text()
        assert snippet.path in manifest.others and not re.search(r"@[\w.-]+\.[\w.-]+@|@[A-Z_]+@", text)
        assert snippet.shared or manifest.artefacts[0].file("encoder").path in text


def test_one_predictor_runs_it(exported, model, root):
    """As PyTorch, for clicks, boxes, a mask before, and many clicks at once."""
    format, out = exported
    ours = ImagePredictor(BundleBackend(out))
    theirs = SamPredictor(model)
    loss = {"iou": 0.98} if format.tolerances[format.default[0]] is HALF else {"iou": 0.999}
    for predictor in (ours, theirs):
        predictor.set_image(root / "examples" / "cat.jpg")
    click = {"point_coords": np.array([[225.0, 150]]), "point_labels": np.array([1])}
    rough = theirs.predict(**click)[2][:1]
    prompts = [
        click,
        {**click, "multimask_output": False},
        {"box": np.array([60, 20, 440, 290]), "multimask_output": False},
        {**click, "mask_input": rough, "multimask_output": False},
    ]
    for prompt in prompts:
        found, scores, low_res = ours.predict(**prompt)
        masks, expected, logits = theirs.predict(**prompt)
        assert found.shape == masks.shape and low_res.shape == logits.shape and scores.shape == expected.shape
        both = (found & masks).sum() / max((found | masks).sum(), 1)
        assert both >= loss["iou"]
        np.testing.assert_allclose(scores, expected, atol=format.tolerances[format.default[0]].score * 2)
    points = np.array([[225.0, 150], [40, 20]])
    found, which, low_res = ours.click_each(points, lambda s: s > -9)
    expected, also, _ = theirs.click_each(points, lambda s: s > -9)
    np.testing.assert_array_equal(which, also)
    assert found.shape == expected.shape and low_res.shape == (len(which), *rough.shape[1:])
    embedding = ours.backend.to_arrays(ours.backend.encode(ours.preparation(np.zeros((8, 8, 3), np.uint8))))
    assert set(embedding) >= {"image_embeddings"}
    again = pickle.loads(pickle.dumps(ours.backend))  # as for another process: opens the files again
    found = again.to_arrays(again.encode(again.preparation(np.zeros((8, 8, 3), np.uint8))))
    assert found.keys() == embedding.keys()
    assert all(np.array_equal(found[name], value) for name, value in embedding.items())


def test_what_does_not_fit_the_slots_is_told(exported):
    _, out = exported
    if "slots" not in Manifest.read(out).artefacts[0].file("decoder").facts:
        return  # any number of points
    predictor = ImagePredictor(BundleBackend(out))
    predictor.set_image(np.zeros((60, 80, 3), np.uint8))
    with pytest.raises(PromptError, match="do not fit the 8 slots"):
        predictor.predict(np.zeros((9, 2)), np.ones(9))


def test_bench_measures_it(exported):
    _, out = exported
    found = measure(contenders([str(out)])[0], runs=1)
    assert found.iou_worst > 0.97 and found.size_mb > 0


def test_commands_take_its_folder(exported, root, tmp_path):
    _, out = exported
    runner = CliRunner()
    done = runner.invoke(app, ["verify", str(out)])
    assert done.exit_code == 0, done.output
    photo, to = str(root / "examples" / "cat.jpg"), str(tmp_path / "mask.png")
    done = runner.invoke(app, ["segment", photo, "--model", str(out), "--point", "225,150", "--out", to])
    assert done.exit_code == 0, done.output
    assert Path(to).is_file()


def test_a_format_outside_reaches_the_command_line(outside, forks, tmp_path):
    """In separate processes: found, listed, chosen by a preset, exported, diagnosed."""
    model = one_block()
    model.save_pretrained(tmp_path / "tiny")
    SamImageProcessor.for_config(model.config).save_pretrained(tmp_path / "tiny")

    def run(*line: str) -> str:
        paths = os.pathsep.join(filter(None, (str(outside), os.environ.get("PYTHONPATH"))))
        done = forks.command(*line, cwd=tmp_path, env={**forks.environment, "PYTHONPATH": paths})
        assert done.returncode == 0, done.stderr
        return done.stdout

    listed = run("export", "--formats")
    assert "toy: Toy, show that a format is one folder; variants fp32" in listed and "--preset toaster: toy" in listed
    manifest = json.loads(run("export", "tiny", "--out", "bundle", "--preset", "toaster", "--slots", "8", "--json"))
    assert manifest["artefacts"][0]["format"] == "toy" and manifest["artefacts"][0]["gate"]["passed"]
    assert "toy/use.py" in manifest["others"]
    done = subprocess.run([sys.executable, "bundle/toy/use.py", "bundle"], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == "[1, 64, 6, 6]", done.stderr
    checks = json.loads(run("doctor", "--json"))["checks"]
    assert "show that a format is one folder" in next(c["detail"] for c in checks if c["name"] == "format toy")


def test_a_format_that_is_not_here_is_told(exported, tmp_path):
    copy = shutil.copytree(exported[1], tmp_path / "copy")
    manifest = Manifest.read(copy)
    manifest.artefacts[0].format = "betamax"
    manifest.write(copy)
    with pytest.raises(BundleError, match="is of no known format"):
        verify_bundle(copy)
    with pytest.raises(ExportError, match="format 'betamax' is not installed, only onnx"):
        BundleBackend(copy)


def test_names_are_taken_once_and_the_default_is_first(found_outside):
    assert set(FORMATS) == {*OURS, "toy"} and default_format().is_default
    assert [format.is_default for format in FORMATS.values()].count(True) == 1
    assert register_format(FORMATS["toy"]) is FORMATS["toy"]
    with pytest.raises(ValueError, match="two formats called 'toy'"):
        register_format(Format(**{**vars(FORMATS["toy"]), "title": "Another"}))


def test_a_format_that_does_not_load_stops_nothing(outside, tmp_path, monkeypatch):
    facts = tmp_path / "broken_format-1.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-format\nVersion: 1\n")
    (facts / "entry_points.txt").write_text(f"[{formats.GROUP}]\nbroken = no_such_module:FORMAT\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    fresh = type(FORMATS)()
    with pytest.warns(UserWarning, match="the format broken of no_such_module:FORMAT does not load"):
        assert set(fresh) >= set(OURS)


ACCEPTED = {
    "onnx": {
        "int8": (0.5, 0.98, 0.985, 0.8, 0.1),
        "int8-dynamic": (0.5, 0.98, 0.985, 0.8, 0.1),
        "int8-static": (0.5, 0.98, 0.97, 0.8, 0.1),
        "uint8": (0.5, 0.98, 0.985, 0.8, 0.1),
        "q4": (0.7, 0.95, 0.97, 0.7, 0.15),
        "q4f16": (0.7, 0.95, 0.97, 0.7, 0.15),
        "mixed": (0.7, 0.95, 0.97, 0.7, 0.15),
        "mixed4": (0.7, 0.95, 0.95, 0.6, 0.2),
    },
    "coreml": {
        "int8": (0.5, 0.98, 0.985, 0.8, 0.1),
        "p6": (0.5, 0.98, 0.98, 0.8, 0.1),
        "p4": (0.7, 0.95, 0.97, 0.7, 0.15),
        "mixed": (0.7, 0.95, 0.97, 0.7, 0.15),
        "mixed4": (0.7, 0.95, 0.95, 0.6, 0.2),
    },
    "openvino": {"int8": (0.5, 0.98, 0.985, 0.8, 0.1)},
    "litert": {"int8": (0.5, 0.98, 0.985, 0.8, 0.1)},
    "mnn": {"int8": (0.5, 0.98, 0.985, 0.8, 0.1)},
    "executorch": {"coreml": (0.05, 0.999, 0.998, 0.98, 0.01), "int8": (0.5, 0.98, 0.97, 0.8, 0.1)},
}
"""The bounds of published files; they may become stricter, never looser."""


@pytest.mark.parametrize("name", OURS)
def test_bounds_are_not_loosened(name):
    assert tuple(vars(EXACT).values()) == (1e-4, 0.999999, 0.9999, 0.999, 1e-4)
    assert tuple(vars(HALF).values()) == (0.05, 0.999, 0.998, 0.98, 0.01)
    for variant, found in FORMATS[name].tolerances.items():
        bound = {"fp32": EXACT, "fp16": HALF}.get(variant)
        if bound is not None:
            assert found == bound
        elif name in ACCEPTED:
            most, *least, score = ACCEPTED[name][variant]
            assert found.difference <= most and found.score <= score
            assert (found.cosine >= least[0]) and (found.iou_mean >= least[1]) and (found.iou_worst >= least[2])


def test_presets_join_the_choices_of_formats(found_outside):
    assert PRESETS["android"].wanted == {"executorch": ("fp32",), "onnx": ("int8",)}
    assert PRESETS["android"].why.startswith("ExecuTorch's") and ", and the ONNX files" in PRESETS["android"].why
    assert PRESETS["toaster"].wanted == {"toy": ("fp32",)}


def named_formats(source: str, names: set[str]) -> list[str]:
    """Formats that a module names in code: as a text of its own, an argument or a part of an import."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found += [node.value] * (node.value in names)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            base = f"{node.module or ''}." if isinstance(node, ast.ImportFrom) else ""
            modules = [base + alias.name for alias in node.names]
            parts = [m.split(".") for m in modules]
            found += [".".join(p) for p in parts if "formats" in p and names & set(p[p.index("formats") :])]
    return found


KEPT = {"exporters/transformers_backend.py"}
"""A public address of a part of one format."""


def test_nothing_outside_names_a_format(root):
    names = set(OURS)
    modules = [
        *(root / "exporters").glob("*.py"),
        *(root / "exporters" / "formats").glob("*.py"),
        *(root / "sam_hub" / "cli").glob("*.py"),
        *(root / "sam_hub" / name for name in ("bench.py", "doctor.py", "cards.py", "publishing.py")),
        root / "benchmarks" / "exported.py",
    ]
    modules = [m for m in modules if m.exists()]
    assert len(modules) > 20
    seen = {m.relative_to(root).as_posix(): found for m in modules if (found := named_formats(m.read_text(), names))}
    assert set(seen) - KEPT == set(), seen


@pytest.mark.parametrize(
    "source",
    ['if format == "onnx":\n    pass', "from .formats.coreml.export import a", "from ..exporters.formats import onnx"],
)
def test_a_name_outside_is_found(source):
    assert named_formats(source, set(OURS))
