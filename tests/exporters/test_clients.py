"""Third-party clients run the files: transformers.js in Node, and the original's notebook."""

import contextlib
import functools
import http.server
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from sam_hub.inference.predictor import SamPredictor
from sam_hub.inference.runtime import OnnxPredictor
from sam_hub.models.modeling_sam import SamModel

CLICK = {"points": [[225.0, 150.0]], "labels": [1]}
PROMPTS = [CLICK, {"points": [[225, 150], [40, 20]], "labels": [1, 0]}]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def predictor(root) -> SamPredictor:
    found = SamPredictor(SamModel.from_pretrained("pocket").eval())
    found.set_image(root / "examples" / "cat.jpg")
    return found


@pytest.fixture(scope="module")
def node(tmp_path_factory, root) -> Path:
    """A folder with transformers.js in it, installed from the registry (no install scripts: its binaries ship)."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("no node and npm: transformers.js and onnxruntime-web are not tried")
    folder = Path(os.environ.get("SAM_HUB_NODE") or tmp_path_factory.mktemp("node"))
    if not (folder / "node_modules" / "@huggingface" / "transformers").is_dir():
        shutil.copy(root / "tests" / "exporters" / "node" / "package.json", folder)
        command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    shutil.copy(root / "tests" / "exporters" / "node" / "segment.mjs", folder)
    return folder


def in_transformers_js(
    node: Path, bundle: Path, photo: Path, prompts: list[dict], dtype: str = "fp32"
) -> list[tuple[dict, np.ndarray]]:
    """The results of transformers.js for each prompt (dims, scores), and all masks' pixels, concatenated."""
    out = photo.with_name("found.json")
    done = subprocess.run(
        ["node", "segment.mjs", str(bundle), str(photo), str(out), dtype],
        cwd=node,
        input=json.dumps(prompts),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    return [(said, np.fromfile(f"{out}.{i}", np.uint8)) for i, said in enumerate(found)]


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max((a | b).sum(), 1))


@pytest.mark.parametrize(("dtype", "variant"), [("fp32", None), ("q8", "int8")])
def test_transformers_js_gives_the_same_masks(pocket_bundle, node, root, tmp_path, dtype, variant):
    """As PyTorch for fp32, as `OnnxPredictor` for q8.

    The photo has the size of the input: transformers.js resizes otherwise in Node, which moves masks by two percent.
    """
    photo = tmp_path / "cat.png"
    Image.open(root / "examples" / "cat.jpg").resize((512, 341), Image.Resampling.BILINEAR).save(photo)
    predictor = (
        OnnxPredictor(pocket_bundle, variant) if variant else SamPredictor(SamModel.from_pretrained("pocket").eval())
    )
    predictor.set_image(photo)
    answers = in_transformers_js(node, pocket_bundle, photo, PROMPTS, dtype)
    for prompt, (found, given) in zip(PROMPTS, answers, strict=True):
        expected, scores, _ = predictor.predict(np.array(prompt["points"]), np.array(prompt["labels"]))
        assert found["dims"] == [1, 3, 341, 512]
        # Dynamic int8 rounds activations, so another build of onnxruntime moves scores in the third decimal.
        np.testing.assert_allclose(found["scores"], scores, atol=2e-2 if variant else 2e-3)
        masks = given.reshape(expected.shape) > 0
        best = int(scores.argmax())
        assert 0.05 < expected[best].mean() < 0.95
        assert iou(masks[best], expected[best]) >= 0.99


@pytest.mark.parametrize("family", ["sam2", "edgetam", "sam3"])
def test_transformers_js_runs_the_families_of_sam_2(family, fine_bundle, node, root, tmp_path):
    """A tiny random model, exported and run unmodified; the photo has the size of the input, as above."""
    model, bundle = fine_bundle(family)
    photo = tmp_path / "cat.png"
    Image.open(root / "examples" / "cat.jpg").resize((96, 96), Image.Resampling.BILINEAR).save(photo)
    predictor = SamPredictor(model)
    predictor.set_image(photo)
    prompts = [{"points": [[50.0, 40]], "labels": [1]}, {"points": [[50, 40], [10, 80]], "labels": [1, 0]}]
    answers = in_transformers_js(node, bundle, photo, prompts)
    for prompt, (found, given) in zip(prompts, answers, strict=True):
        expected, scores, _ = predictor.predict(np.array(prompt["points"]), np.array(prompt["labels"]))
        assert found["dims"] == [1, 3, 96, 96]
        np.testing.assert_allclose(found["scores"], scores, atol=2e-3)
        masks = given.reshape(expected.shape) > 0
        assert any(0.05 < mask.mean() < 0.95 for mask in expected)
        assert (masks == expected).mean() > 0.995


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """A folder over HTTP on this machine, for as long as the block lasts."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_original_notebooks_calls_work(pocket_bundle, root, predictor):
    """``onnx_model_example.ipynb`` of the original, word for word where it touches the decoder."""
    ort_session = onnxruntime.InferenceSession(
        pocket_bundle / "meta" / "mask_decoder.onnx", providers=["CPUExecutionProvider"]
    )
    finer = predictor.model.mask_decoder.feature_maps  # beyond the original, whose decoder reads the embedding alone
    assert [i.name for i in ort_session.get_inputs()] == [
        "image_embeddings",
        "point_coords",
        "point_labels",
        "mask_input",
        "has_mask_input",
        *finer,
        "orig_im_size",
    ]
    assert [o.name for o in ort_session.get_outputs()] == ["masks", "iou_predictions", "low_res_masks"]
    image = np.asarray(Image.open(root / "examples" / "cat.jpg"))
    image_embedding = predictor.encoded.embedding.cpu().numpy()

    input_point, input_label = np.array([[225, 150]]), np.array([1])
    onnx_coord = np.concatenate([input_point, np.array([[0.0, 0.0]])], axis=0)[None, :, :]
    onnx_label = np.concatenate([input_label, np.array([-1])], axis=0)[None, :].astype(np.float32)
    onnx_coord = predictor.transform.apply_coords(onnx_coord, image.shape[:2]).astype(np.float32)
    ort_inputs = {
        **{name: predictor.encoded.features[name].cpu().numpy() for name in finer},
        "image_embeddings": image_embedding,
        "point_coords": onnx_coord,
        "point_labels": onnx_label,
        "mask_input": np.zeros((1, 1, 128, 128), dtype=np.float32),
        "has_mask_input": np.zeros(1, dtype=np.float32),
        "orig_im_size": np.array(image.shape[:2], dtype=np.float32),
    }
    masks, scores, low_res_logits = ort_session.run(None, ort_inputs)
    assert masks.shape == (1, 1, 300, 451) and low_res_logits.shape == (1, 1, 128, 128)
    expected, iou_scores, _ = predictor.predict(input_point, input_label, return_logits=True)
    best = iou_scores.argmax()
    np.testing.assert_allclose(scores[0, 0], iou_scores[best], atol=1e-4)
    np.testing.assert_allclose(masks[0, 0], expected[best], atol=2e-3 * np.abs(expected[best]).max())

    # The notebook's second prompt: a box, a point in it and the mask before; the box has no (0, 0, -1).
    input_box, input_point, input_label = np.array([60, 20, 440, 290]), np.array([[225, 150]]), np.array([1])
    onnx_box_coords = input_box.reshape(2, 2)
    onnx_coord = np.concatenate([input_point, onnx_box_coords], axis=0)[None, :, :]
    onnx_label = np.concatenate([input_label, np.array([2, 3])], axis=0)[None, :].astype(np.float32)
    ort_inputs |= {
        "point_coords": predictor.transform.apply_coords(onnx_coord, image.shape[:2]).astype(np.float32),
        "point_labels": onnx_label,
        "mask_input": low_res_logits,
        "has_mask_input": np.ones(1, dtype=np.float32),
    }
    masks, scores, _ = ort_session.run(None, ort_inputs)
    expected, single, _ = predictor.predict(input_point, input_label, input_box, low_res_logits[0], False, True)
    np.testing.assert_allclose(scores[0], single, atol=1e-4)
    np.testing.assert_allclose(masks[0], expected, atol=2e-3 * np.abs(expected).max())
    assert iou(masks[0, 0] > 0, expected[0] > 0) > 0.999
