"""The layouts ``anylabeling`` and ``cvat``: files for these tools, and one sentence for unsupported models.

AnyLabeling's loader runs from its wheel (``pip install --no-deps anylabeling``, 0.4.43 was tried) and is skipped
without it. What CVAT's page does with a decoder is restated from its ``inference.worker.ts``.
"""

import importlib.util
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from PIL import Image
from sam_hub.exporters.bundle import export_bundle
from sam_hub.exporters.formats.onnx.tools import add_bounds, check_fit

from sam_hub import SamImageProcessor, SamModel, SamPredictor
from sam_hub.errors import ExportError
from sam_hub.ops.preparation import Preparation

from ..models.conftest import randomise, tiny_config


def sized_as_the_tools_are(encoder: str = "sam_hub_tiny_vit", **prompts: object) -> SamModel:
    """Embeddings of 256 x 64 x 64 from an input of 1024, and little else."""
    config = tiny_config(encoder, 1024, output_channels=256).to_dict()
    config["prompt_encoder_config"] |= {"hidden_size": 256, **prompts}
    config["mask_decoder_config"] |= {"hidden_size": 256, "num_hidden_layers": 1}
    return randomise(SamModel(SamModel.config_class.from_dict(config))).eval()


@pytest.fixture(scope="module")
def exported(once: Callable) -> tuple[SamModel, Path]:
    model = sized_as_the_tools_are()
    processor = SamImageProcessor.for_config(model.config)
    wanted, options = {"onnx": ("fp32",)}, {"layouts": ("anylabeling", "cvat")}
    told: list[str] = []

    def export(out: Path) -> None:
        export_bundle("it/self", out, wanted, options, tell=told.append, model=model, processor=processor)
        assert [line for line in told if "decoder" in line] == ["onnx, anylabeling: the decoder"]  # traced for both

    return model, once("tools", export)


@pytest.fixture
def photo(root: Path) -> np.ndarray:
    return np.asarray(Image.open(root / "examples" / "cat.jpg").convert("RGB"))


def opened(path: str | Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def anylabeling() -> ModuleType:
    """Its loader of SAM's files alone: the package itself opens a window system."""
    try:
        there = distribution("anylabeling")
    except PackageNotFoundError:
        pytest.skip("anylabeling is not installed: pip install --no-deps anylabeling")
    package = "anylabeling_alone"
    sys.modules[package] = ModuleType(package)
    runtime = sys.modules[f"{package}.runtime"] = ModuleType("runtime")
    runtime.create_inference_session = lambda path: onnxruntime.InferenceSession(
        path, providers=["CPUExecutionProvider"]
    )
    path = there.locate_file("anylabeling/services/auto_labeling/sam_onnx.py")
    spec = importlib.util.spec_from_file_location(f"{package}.sam_onnx", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_anylabeling_gives_the_masks_of_the_model(exported, photo):
    loader, (model, out) = anylabeling(), exported
    tool = loader.SegmentAnythingONNX(*(str(out / "anylabeling" / f"{role}.onnx") for role in ("encoder", "decoder")))
    click = (photo.shape[1] * 0.5, photo.shape[0] * 0.45)
    found = tool.predict_masks(tool.encode(photo), [{"type": "point", "data": click, "label": 1}])
    assert found.shape == (1, 1, *photo.shape[:2])
    # It fits photos into 684 x 1024; the model gets the photo as it makes it.
    scale = min(684 / photo.shape[0], 1024 / photo.shape[1])
    import cv2

    small = cv2.warpAffine(photo, np.array([[scale, 0, 0], [0, scale, 0]]), (1024, 684), flags=cv2.INTER_LINEAR)
    predictor = SamPredictor(model, SamImageProcessor.for_config(model.config))
    predictor.set_image(small)
    point = np.array([[click[0] * scale, click[1] * scale]])
    masks, scores, _ = predictor.predict(point, np.array([1]), multimask_output=True, return_logits=True)
    best = cv2.warpAffine(masks[scores.argmax()], np.array([[1 / scale, 0, 0], [0, 1 / scale, 0]]), photo.shape[1::-1])
    a, b = found[0, 0] > 0, best > 0
    assert 0.01 < a.mean() < 0.99
    assert (a & b).sum() / (a | b).sum() > 0.999


def test_anylabeling_settings_name_files_that_are_beside_them(exported):
    lines = (exported[1] / "anylabeling" / "config.yaml").read_text().splitlines()
    settings = dict(line.split(": ", 1) for line in lines if not line.startswith("#"))
    assert settings["type"] == "segment_anything" and settings["name"] == "it-self" and settings["input_size"] == "1024"
    for name in ("encoder_model_path", "decoder_model_path"):
        assert (exported[1] / "anylabeling" / settings[name]).is_file()


def test_cvat_gets_the_mask_within_its_bounds(exported, photo):
    """As its worker expects: one uint8 mask, integer bounds, and low-res logits to feed back."""
    model, out = exported
    encoder, decoder = (opened(out / "cvat" / f"{role}.onnx") for role in ("encoder", "decoder"))
    processor = SamImageProcessor.for_config(model.config)
    height, width = photo.shape[:2]
    scale = 1024 / max(height, width)
    resized = Image.fromarray(photo).resize((round(width * scale), round(height * scale)), Image.Resampling.BILINEAR)
    embedding = encoder.run(None, {encoder.get_inputs()[0].name: np.asarray(resized, np.float32)})[0]
    clicks = np.array([[width * 0.5, height * 0.45], [width * 0.6, height * 0.5], [3, 4]], np.float32)
    fed = {
        "image_embeddings": embedding.reshape(1, 256, 64, 64),
        "point_coords": np.append(clicks * scale, [[0, 0]], 0)[None].astype(np.float32),
        "point_labels": np.array([[1, 1, 0, -1]], np.float32),
        "orig_im_size": np.array([height, width], np.float32),
        "mask_input": np.zeros((1, 1, 256, 256), np.float32),
        "has_mask_input": np.zeros(1, np.float32),
    }
    found = dict(zip((o.name for o in decoder.get_outputs()), decoder.run(None, fed), strict=True))
    xtl, ytl, xbr, ybr = (int(found[name][0]) for name in ("xtl", "ytl", "xbr", "ybr"))
    assert found["masks"].dtype == np.uint8 and set(np.unique(found["masks"])) <= {0, 1}
    assert found["masks"].size == (xbr - xtl + 1) * (ybr - ytl + 1)  # the page computes the sides from the bounds
    whole = np.zeros((height, width), bool)
    whole[ytl : ybr + 1, xtl : xbr + 1] = found["masks"][0, 0]

    predictor = SamPredictor(model, processor)
    predictor.set_image(photo)
    masks, _, low_res = predictor.predict(clicks, np.array([1, 1, 0]), multimask_output=False)
    assert 0.01 < masks[0].mean() < 0.99
    assert (whole & masks[0]).sum() / (whole | masks[0]).sum() > 0.999
    # Not the last digits: the page scales y as x, whatever the height was rounded to.
    assert np.corrcoef(found["low_res_masks"].ravel(), low_res.ravel())[0, 1] > 0.9999


@pytest.mark.parametrize("spots", [[(2, 3), (6, 4)], [(0, 0)], [(7, 9)], []])
def test_bounds_are_those_of_the_mask(spots):
    logits = np.full((1, 1, 8, 10), -1, np.float32)
    for row, column in spots:
        logits[0, 0, row, column] = 1
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 1, "h", "w"]) for n in ("x", "masks")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["masks"])], "nothing", values[:1], values[1:])
    model = add_bounds(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8))
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    masks, xtl, ytl, xbr, ybr = session.run(None, {"x": logits})
    rows, columns = np.nonzero(logits[0, 0] > 0) if spots else ([0], [0])
    assert [int(v[0]) for v in (xtl, ytl, xbr, ybr)] == [min(columns), min(rows), max(columns), max(rows)]
    part = logits[..., min(rows) : max(rows) + 1, min(columns) : max(columns) + 1] > 0
    np.testing.assert_array_equal(masks, part)


def tiny(image_size: int = 96) -> SamModel:
    return SamModel(tiny_config("sam_hub_tiny_vit", image_size))


REFUSED = {
    "further maps": (lambda: SamModel.from_pretrained("pocket"), "feeds the decoder one embedding and no further maps"),
    "size": (tiny, "counts points in a frame of 1024 pixels"),
    "width": (lambda: tiny(1024), "takes embeddings of 256 x 64 x 64"),
    "no mask prompts": (lambda: sized_as_the_tools_are(prompt_kinds=["points", "boxes"]), "always feeds a mask prompt"),
}


@pytest.mark.parametrize("layout", ["anylabeling", "cvat"])
@pytest.mark.parametrize("why", REFUSED)
def test_models_that_a_tool_cannot_feed_are_refused_in_one_sentence(why, layout, tmp_path):
    make, reason = REFUSED[why]
    model, wanted = make(), ({"onnx": ("fp32",)}, {"layouts": (layout,)})
    processor = SamImageProcessor.for_config(model.config)
    with pytest.raises(ExportError, match=f"--layout {layout}: .*{reason}.*mobile-sam.*--layout meta$"):
        export_bundle("x", tmp_path / "x", *wanted, model=model, processor=processor)
    assert not (tmp_path / "x").exists()


def test_models_that_stretch_photos_are_refused():
    stretches = Preparation(1024, (1024, 1024), 1024, resize_mode="stretch")
    with pytest.raises(ExportError, match="keeps the proportions"):
        check_fit(sized_as_the_tools_are(), stretches, "cvat")
