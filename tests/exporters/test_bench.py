"""`sam-hub bench`: rows contain the measured times, on a clock that the test controls."""

import dataclasses
import io
import json
import shutil

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image
from sam_hub.exporters.manifest import BundleError, Manifest
from sam_hub.exporters.proof import Answer, Proof
from typer.testing import CliRunner

from sam_hub.cli import app
from sam_hub.diagnostics import bench
from sam_hub.diagnostics.bench import Contender, Row, chart, contenders, draw_chart, measure, measure_in_own_process
from sam_hub.errors import SamHubError
from sam_hub.models.image_processing_sam import SamImageProcessor
from sam_hub.models.modeling_sam import SamModel

from ..models.conftest import randomise, tiny_config


def row(name: str = "a", **values: object) -> Row:
    numbers = {f.name: 1.0 for f in dataclasses.fields(Row) if f.type is float or f.type == "float"}
    return Row(**{**numbers, "name": name, "runtime": "onnxruntime", **values})


def test_a_bundle_brings_all_its_files_and_a_name_one_model(repvit_bundle, tmp_path):
    _, bundle = repvit_bundle
    assert contenders(["pocket", str(bundle)]) == [
        Contender("pocket, PyTorch fp32", "pocket"),
        Contender("sam_hub_repvit, onnx fp32 (transformersjs)", str(bundle), 0),
        Contender("sam_hub_repvit, onnx fp16 (transformersjs)", str(bundle), 1),
    ]
    (tmp_path / "export.json").write_text("{")
    with pytest.raises(BundleError, match="is damaged"):
        contenders([str(tmp_path)])


@pytest.fixture
def turned(repvit_bundle, monkeypatch) -> Row:
    """A row of a runner with known times: 100 ms for the first photo, 10, 20, 30 for the next, and so on."""
    proof = Proof.load(repvit_bundle[1])
    clock = [0.0]
    encodes, clicks = iter([100, 10, 20, 30, *[0] * 99]), iter([50, 7, 1, 8, 2, 9, 3])

    class Runner:
        masks, runtime = "all", "a clock"

        def encode(self, image: object) -> int:
            clock[0] += next(encodes) / 1000
            return next(i for i, case in enumerate(proof.cases) if case.image is image)

        def click(self, embedded: int, prompt: object) -> None:
            clock[0] += next(clicks) / 1000

        def decode(self, embedded: int, prompt: object) -> Answer:
            case = proof.cases[embedded]
            answer = case.answers[next(i for i, p in enumerate(case.prompts) if p is prompt)]
            return Answer(-answer.low_res, answer.scores) if embedded == 0 else answer

    def opened(*_: object) -> tuple:
        clock[0] += 0.5
        return Runner(), lambda: proof, 3_500_000

    monkeypatch.setattr(bench, "_bundle", opened)
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    return measure(Contender("x", "nowhere", 0), runs=3)


def test_times_go_to_their_columns(turned):
    expected = {
        "load_ms": 500,
        "encode_cold_ms": 100,
        "encode_p50_ms": 20,
        "encode_p95_ms": 29,
        "click_cold_ms": 50,
        "first_click_p50_ms": 8,
        "click_p50_ms": 2,
        "click_p95_ms": 2.9,
        "size_mb": 3.5,
        "photo_and_click_ms": 28,
    }
    assert {name: pytest.approx(getattr(turned, name)) for name in expected} == expected
    assert turned.peak_mb > 50


def test_masks_are_compared_and_not_assumed(turned):
    """The runner turns the logits of one of the three photos round."""
    assert turned.iou_worst < 0.1 and turned.iou_mean == pytest.approx(2 / 3, abs=0.02)


def test_files_and_models_are_measured(repvit_bundle, tmp_path):
    _, bundle = repvit_bundle
    artefact = Manifest.read(bundle).find("onnx", "fp16")
    found = measure(contenders([str(bundle)])[1], runs=1)
    assert found.size_mb == pytest.approx(sum((bundle / f.path).stat().st_size for f in artefact.files) / 1e6)
    assert found.iou_mean == pytest.approx(artefact.gate["iou_mean"], abs=1e-3) and found.iou_worst < 1
    assert found.runtime.startswith("onnxruntime ")
    model = randomise(SamModel(tiny_config("sam_hub_pocket"))).eval()
    model.save_pretrained(tmp_path)
    SamImageProcessor.for_config(model.config).save_pretrained(tmp_path)
    found = measure(contenders([str(tmp_path)])[0], runs=1)
    assert found.size_mb == pytest.approx(4e-6 * sum(p.numel() for p in model.parameters()))
    assert found.iou_worst > 0.999 and found.runtime.startswith("torch ")


def test_the_command_measures_in_a_process_of_its_own(repvit_bundle, tmp_path):
    only = tmp_path / "bundle"
    shutil.copytree(repvit_bundle[1], only)
    manifest = Manifest.read(only)
    del manifest.artefacts[1]
    manifest.write(only)
    done = CliRunner().invoke(app, ["bench", str(only), "--runs", "1", "--threads", "1", "--json"])
    assert done.exit_code == 0, done.output
    (found,) = json.loads(done.stdout)
    assert found["iou_worst"] > 0.999 and found["encode_p50_ms"] > 0 and found["peak_mb"] > 50


def test_what_fails_there_is_told_here_in_a_sentence():
    with pytest.raises(SamHubError) as caught:
        measure_in_own_process(Contender("pokcet, PyTorch fp32", "pokcet"), 1, None)
    assert str(caught.value) == (
        "pokcet, PyTorch fp32 could not be measured: no model is called 'pokcet'; did you mean pocket?"
    )


def test_table_json_and_chart(tmp_path, monkeypatch):
    rows = {"a": row("a", encode_p50_ms=30.25), "b": row("b", runtime="evaluated, not run on device")}
    monkeypatch.setattr(bench, "measure_in_own_process", lambda contender, *_: rows[contender.target])
    command = ["bench", "a", "b", "--out", str(tmp_path / "new" / "rows.json"), "--chart", str(tmp_path / "c.png")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    heading, first, second, *paths = done.stdout.splitlines()
    assert heading.split()[:3] == ["name", "load", "encode"] and first.split()[:3] == ["a", "1", "30"]
    assert second.startswith("b") and [p.endswith(("rows.json", "c.png")) for p in paths] == [True, True]
    assert "say nothing about a device: b" in done.stderr
    written = json.loads((tmp_path / "new" / "rows.json").read_text())
    assert [r["photo_and_click_ms"] for r in written] == [31.25, 2.0]
    assert Image.open(tmp_path / "c.png").size[0] > 1000


def test_numbers_and_names_of_a_crowded_chart_can_be_read():
    """Twenty rows, most of them nearly equal: texts do not overlap or leave the image."""
    rng = np.random.default_rng(0)
    rows = [row(f"pocket, onnx int8-static (transformersjs) {i}", size_mb=9 + rng.random() / 9) for i in range(19)]
    rows.append(row("sam-vit-h, PyTorch fp32", size_mb=2564.0, encode_p50_ms=9000.0, iou_mean=0.99))
    figure = chart(rows)
    figure.draw_without_rendering()
    texts = [t for axes in figure.axes[:2] for t in axes.texts]
    boxes = [Text.get_window_extent(text) for text in texts]
    assert len(texts) == 40 and {t.get_text() for t in texts[:20]} == {str(i + 1) for i in range(20)}
    assert not [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]
    width, height = figure.canvas.get_width_height()
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height for box in boxes)
    axes = figure.axes[0]
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert "PNG" in Image.open(io.BytesIO(draw_chart(rows[:2]))).format


def test_a_folder_is_no_place_for_rows(tmp_path, monkeypatch):
    def measure(*_, **__):
        raise AssertionError("measured first")

    monkeypatch.setattr(bench, "measure_in_own_process", measure)
    for option in ("--out", "--chart"):
        result = CliRunner().invoke(app, ["bench", "pocket", option, str(tmp_path)])
        assert result.exit_code == 1 and "it is a folder; give the name of a file in it" in result.stderr
        assert "measuring" not in result.stderr
