"""`ImagePredictor` with a minimal numpy backend, and parts that must not load torch."""

import subprocess
import sys

import numpy as np
import pytest

from sam_hub.errors import PromptError
from sam_hub.inference import opening
from sam_hub.inference.amg import SamAutomaticMaskGenerator
from sam_hub.inference.backends import Backend, Capabilities, Prompts
from sam_hub.inference.image_predictor import ImagePredictor
from sam_hub.inference.opening import FolderFormat, open_predictor
from sam_hub.ops.preparation import Preparation


class Disks(Backend):
    """Every click or box is answered by disks of three sizes around its middle; the embedding is the mean colour."""

    preparation = Preparation(longest=64, padded=(64, 64), frame=64)
    capabilities = Capabilities(encoder="disks")

    def __init__(self) -> None:
        self.encoded, self.asked = 0, []

    def encode(self, image):
        self.encoded += 1
        return image.resized.mean((0, 1))

    def decode(self, held, prompts, multimask_output=True, hq_token_only=False):
        self.asked.append(prompts)
        points = prompts.as_points()[0]
        middle = points.mean(1)  # (N, 2)
        y, x = np.mgrid[:16, :16] * 4 + 2.0
        away = np.hypot(x - middle[:, 0, None, None], y - middle[:, 1, None, None])
        radii = np.array([8.0, 16, 24] if multimask_output else [16.0])
        low_res = radii[None, :, None, None] - away[:, None]
        return low_res.astype(np.float32), np.tile(radii / 32, (len(points), 1)).astype(np.float32)

    def to_arrays(self, encoded):
        return {"image_embeddings": encoded}

    def from_arrays(self, arrays):
        return arrays["image_embeddings"]


PHOTO = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
CLICK = np.array([[24.0, 16]]), np.array([1])


@pytest.fixture
def predictor() -> ImagePredictor:
    predictor = ImagePredictor(Disks())
    predictor.set_image(PHOTO)
    return predictor


def test_a_backend_of_two_methods_is_a_predictor(predictor):
    masks, scores, low_res = predictor.predict(*CLICK)
    assert masks.shape == (3, 32, 48) and masks.dtype == bool and low_res.shape == (3, 16, 16)
    assert masks[0, 16, 24] and not masks[0, 0, 0] and np.diff(masks.sum((1, 2))).min() > 0
    assert scores.tolist() == [0.25, 0.5, 0.75]
    logits = predictor.predict(*CLICK, return_logits=True)[0]
    np.testing.assert_array_equal(logits > 0, masks)
    iou, again = predictor.predict_low_res(*CLICK)
    np.testing.assert_array_equal(again, low_res)
    np.testing.assert_array_equal(iou, scores)
    for _ in range(2):
        predictor.set_image(PHOTO)
    assert predictor.backend.encoded == 1


def test_prompts_reach_it_in_the_frame_of_the_resized_image(predictor):
    predictor.predict(*CLICK, box=np.array([3.0, 6, 9, 12]), multimask_output=False)
    asked = predictor.backend.asked[-1]
    np.testing.assert_allclose(asked.points, [[[32, 16 * 43 / 32]]])
    np.testing.assert_allclose(asked.boxes, [[4, 6 * 43 / 32, 12, 12 * 43 / 32]])
    points, labels = asked.as_points()
    assert points.shape == (1, 3, 2) and labels.tolist() == [[1, 2, 3]]


def test_many_objects_are_as_each_alone(predictor):
    xy = np.array([[[24.0, 16]], [[3, 30]]])
    masks, scores, low_res = predictor.predict_each(xy, np.ones((2, 1)))
    for i in range(2):
        alone = predictor.predict(xy[i], [1])
        for one, many in zip(alone, (masks, scores, low_res), strict=True):
            np.testing.assert_array_equal(one, many[i])


@pytest.mark.parametrize("multimask", [True, False])
def test_no_objects_are_no_masks(predictor, multimask):
    count = 3 if multimask else 1
    nothing = (dict(boxes=np.zeros((0, 4))), dict(point_coords=np.zeros((0, 1, 2)), point_labels=np.zeros((0, 1))))
    for prompts in nothing:
        masks, scores, low_res = predictor.predict_each(**prompts, multimask_output=multimask)
        assert masks.shape == (0, count, 32, 48) and masks.dtype == bool
        assert scores.shape == (0, count) and low_res.shape == (0, count, 16, 16)
    scores, which, low_res = predictor.click_each(np.zeros((0, 2)), lambda s: s > 0)
    assert scores.shape == (0, 3) and which.shape == (0, 2) and low_res.shape == (0, 16, 16)


def test_everything_mode_runs_over_it(predictor):
    found = SamAutomaticMaskGenerator(
        predictor, points_per_side=2, pred_iou_thresh=0.6, stability_score_thresh=0.5
    ).generate(PHOTO)
    assert found and all(record["predicted_iou"] == 0.75 for record in found)


def test_masks_are_ranked_by_stability_where_the_iou_was_not_trained(predictor, monkeypatch):
    monkeypatch.setattr(Disks, "capabilities", Capabilities(rank_by="stability"))
    scores, low_res = predictor.predict_low_res(*CLICK)
    inner, outer = (low_res > 1).sum((1, 2)), (low_res > -1).sum((1, 2))
    np.testing.assert_allclose(scores, inner / outer, rtol=1e-6)


def test_what_it_was_not_trained_on_is_refused(predictor, monkeypatch):
    monkeypatch.setattr(Disks, "capabilities", Capabilities(prompt_kinds=("points", "boxes")))
    with pytest.raises(PromptError, match="does not understand background points"):
        predictor.predict(CLICK[0], [0])
    with pytest.raises(PromptError, match="does not understand masks"):
        predictor.predict(*CLICK, mask_input=np.zeros((1, 16, 16)))
    with pytest.raises(PromptError, match="give either text or a box"):
        predictor.predict(text="a cat", box=np.array([1, 2, 3, 4]))
    with pytest.raises(ValueError, match="HQ token"):
        predictor.predict(*CLICK, hq_token_only=True)


def test_one_prompt_of_several():
    prompts = Prompts(
        points=np.arange(8.0).reshape(2, 2, 2), labels=np.ones((2, 2), np.int64), masks=np.zeros((1, 1, 4, 4))
    )
    one = prompts.one(1)
    assert len(prompts) == 2 and len(one) == 1
    np.testing.assert_array_equal(one.points, prompts.points[1:])
    assert one.masks is prompts.masks and one.boxes is None


def test_a_registered_format_is_opened_by_its_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "FOLDER_FORMATS", {})
    (tmp_path / "disks.txt").touch()
    asked = []
    opening.register_folder_format(
        FolderFormat("disks", lambda f: (f / "disks.txt").is_file(), lambda *a: asked.append(a) or Disks())
    )
    assert not opening.needs_torch(str(tmp_path)) and opening.needs_torch("pocket")
    predictor = open_predictor(str(tmp_path), "cpu", cache_size=2, threads=1)
    assert isinstance(predictor.backend, Disks) and predictor.cache_size == 2
    assert asked == [(tmp_path, "cpu", 1)]


WITHOUT_TORCH = """
import sys
for name in ("torch", "transformers", "safetensors", "huggingface_hub", "onnx"):
    sys.modules[name] = None  # importing it raises
from sam_hub.inference import amg, backends, image_predictor, opening, runtime
"""


def test_predictors_over_files_need_no_torch():
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
