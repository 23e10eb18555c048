"""`OnnxPredictor` is `SamPredictor` without torch: the same masks, errors and everything mode."""

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sam_hub.exporters.bundle import export_bundle

from sam_hub import SamAutomaticMaskGenerator, SamImageProcessor, SamModel
from sam_hub.errors import CheckpointError, DeviceError, ImageError, ModelNotFoundError, PromptError
from sam_hub.inference.predictor import SamPredictor
from sam_hub.inference.runtime import OnnxPredictor, is_onnx_folder

from ..models.conftest import randomise, tiny_config
from ..test_packaging import call, clean_place, wheel  # noqa: F401 fixtures


def both_with_a_photo(model: SamModel, bundle: Path, root: Path) -> tuple[SamPredictor, OnnxPredictor]:
    both = SamPredictor(model), OnnxPredictor(bundle)
    for predictor in both:
        predictor.set_image(root / "examples" / "cat.jpg")
    return both


@pytest.fixture(scope="module")
def pair(repvit_bundle, root) -> tuple[SamPredictor, OnnxPredictor]:
    """Both, with the same photo set."""
    return both_with_a_photo(*repvit_bundle, root)


POINTS, LABELS = np.array([[225.0, 150], [40.5, 20]]), np.array([1, 0])
BOX = np.array([60.0, 20, 440, 290])


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize(
    "prompt",
    [
        dict(point_coords=POINTS[:1], point_labels=LABELS[:1]),
        dict(point_coords=POINTS, point_labels=LABELS),
        dict(box=BOX),
        dict(point_coords=POINTS, point_labels=LABELS, box=BOX),
        dict(box=BOX, mask_input="rough"),
        dict(mask_input="rough"),
    ],
    ids=lambda prompt: "+".join(prompt),
)
def test_answers_are_those_of_the_torch_predictor(pair, prompt, multimask):
    side = pair[0].processor.frame_size["longest_edge"] // 4
    rough = np.random.default_rng(0).normal(0, 5, (1, side, side)).astype(np.float32)
    prompt = {name: rough if isinstance(value, str) else value for name, value in prompt.items()}
    expected = pair[0].predict(**prompt, multimask_output=multimask, return_logits=True)
    found = pair[1].predict(**prompt, multimask_output=multimask, return_logits=True)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, atol=2e-4 * max(1, np.abs(b).max()))
    masks = pair[1].predict(**prompt, multimask_output=multimask)[0]
    assert masks.dtype == bool
    np.testing.assert_array_equal(masks, found[0] > 0)


def test_prompts_count_in_a_frame_larger_than_the_image(tmp_path, root):
    """As in EfficientViT-SAM's L0 to L2: encoded at one size, prompted at twice that."""
    config = tiny_config("sam_hub_efficientvit", image_size=64, patch_size=8)
    config.prompt_encoder_config.image_size = 128
    config.mask_decoder_config.num_hidden_layers = 1
    model = randomise(SamModel(config)).eval()
    processor = SamImageProcessor.for_config(config)
    export_bundle("l0", tmp_path / "l0", {"onnx": ("fp32",)}, {}, model=model, processor=processor)
    ours, found = both_with_a_photo(model, tmp_path / "l0", root)
    assert ours.input_size == found.input_size == (85, 128)
    for prompt in (dict(point_coords=POINTS, point_labels=LABELS), dict(box=BOX)):
        for a, b in zip(
            found.predict(**prompt, return_logits=True), ours.predict(**prompt, return_logits=True), strict=True
        ):
            np.testing.assert_allclose(a, b, atol=2e-4 * max(1, np.abs(b).max()))


def test_everything_mode_runs_over_it(pair, root):
    settings = dict(
        points_per_side=3, pred_iou_thresh=-9.0, stability_score_thresh=0.0, box_nms_thresh=1.0, output_mode="coco_rle"
    )
    expected, found = (SamAutomaticMaskGenerator(p, **settings).generate(root / "examples" / "cat.jpg") for p in pair)
    for predictor in pair:
        predictor.set_image(root / "examples" / "cat.jpg")
    assert len(found) == len(expected) > 3
    areas = sorted(r["area"] for r in expected)
    np.testing.assert_allclose(sorted(r["area"] for r in found), areas, rtol=0.02, atol=20)


def test_images_are_prepared_to_the_last_bit(pair, root):
    for name in ("astronaut", "cat", "coffee"):
        image = np.asarray(Image.open(root / "examples" / f"{name}.jpg"))
        expected = pair[0].processor(image, return_tensors="np")
        found = pair[1].preparation(image)
        np.testing.assert_array_equal(found.pixel_values, expected["pixel_values"])
        assert list(found.original_size) == expected["original_sizes"][0].tolist()
        assert list(found.frame_size) == expected["reshaped_input_sizes"][0].tolist()


def test_an_image_is_encoded_once(repvit_bundle, root, monkeypatch):
    predictor = OnnxPredictor(repvit_bundle[1], variant="fp16", threads=1, cache_size=1)
    calls = []
    encode = predictor.model.encode
    monkeypatch.setattr(predictor.model, "encode", lambda image: calls.append(1) or encode(image))
    for name in ("cat", "cat", "coffee", "cat"):
        predictor.set_image(root / "examples" / f"{name}.jpg")
    assert len(calls) == 3
    assert predictor.is_image_set and predictor.features.shape[0] == 1
    predictor.reset_image()
    assert not predictor.is_image_set


def test_a_copy_for_another_process_opens_the_files_again(pair, root):
    """As `test_threads` has it for `SamPredictor`: with the image that was set."""
    prompt = dict(point_coords=POINTS, point_labels=LABELS)
    expected = pair[1].predict(**prompt)
    found = pickle.loads(pickle.dumps(pair[1]))
    for a, b in zip(found.predict(**prompt), expected, strict=True):
        np.testing.assert_array_equal(a, b)
    assert found.model.decoder is not pair[1].model.decoder and found.files == pair[1].files


def test_channels_may_come_in_the_other_order(pair, root):
    image = np.asarray(Image.open(root / "examples" / "cat.jpg"))
    before = pair[1].get_image_embedding()
    pair[1].set_image(image[..., ::-1], image_format="BGR")
    np.testing.assert_array_equal(pair[1].get_image_embedding(), before)


def test_what_is_wrong_is_refused_with_a_sentence(pair, repvit_bundle, tmp_path):
    predictor = pair[1]
    with pytest.raises(PromptError, match="outside the image"):
        predictor.predict(np.array([[999, 9]]), np.array([1]))
    with pytest.raises(PromptError, match="low-res logits of"):
        predictor.predict(box=BOX, mask_input=np.zeros((1, 3, 3)))
    predictor.prompt_kinds = ("boxes",)
    with pytest.raises(PromptError, match="does not understand points"):
        predictor.predict(POINTS, LABELS)
    predictor.prompt_kinds = None
    with pytest.raises(ImageError, match="image_format"):
        OnnxPredictor(repvit_bundle[1]).set_image(np.zeros((4, 4, 3), np.uint8), "HSV")
    with pytest.raises(RuntimeError, match="set_image"):
        OnnxPredictor(repvit_bundle[1]).predict(box=BOX)
    with pytest.raises(ModelNotFoundError, match="fp32, fp16"):
        OnnxPredictor(repvit_bundle[1], variant="int8")
    with pytest.raises(ModelNotFoundError, match="sam-hub export"):
        OnnxPredictor(tmp_path)
    with pytest.raises(DeviceError, match="only on cpu"):
        OnnxPredictor(repvit_bundle[1], provider="cuda")
    shutil.copytree(repvit_bundle[1], tmp_path / "damaged")
    (tmp_path / "damaged" / "onnx" / "vision_encoder.onnx").write_bytes(b"no graph")
    with pytest.raises(CheckpointError, match="does not load"):
        OnnxPredictor(tmp_path / "damaged")
    assert is_onnx_folder(repvit_bundle[1]) and not is_onnx_folder(tmp_path)


WITHOUT_TORCH = """
import sys
for name in ("torch", "transformers", "safetensors", "huggingface_hub", "onnx"):
    sys.modules[name] = None  # importing it raises
from sam_hub.cli import main
sys.argv = ["sam-hub", *{arguments!r}]
main()
"""


def test_the_wheel_segments_and_verifies_without_torch(repvit_bundle, clean_place, root, tmp_path):  # noqa: F811
    """The wheel in a separate environment, where importing torch or transformers raises an error."""
    model, bundle = repvit_bundle
    photo = shutil.copy(root / "examples" / "coffee.jpg", tmp_path)

    def sam_hub(*arguments: object) -> str:
        code = WITHOUT_TORCH.format(arguments=[str(a) for a in arguments])
        return call(clean_place / "python", "-c", code, cwd=tmp_path)

    sam_hub("segment", photo, "--box", "172,17,412,310", "--model", bundle, "--out", "out")
    mask = np.asarray(Image.open(tmp_path / "out" / "coffee.mask.png")) > 0
    predictor = SamPredictor(model)
    predictor.set_image(photo)
    expected = predictor.predict(box=np.array([172, 17, 412, 310]), multimask_output=False)[0][0]
    assert (mask != expected).mean() < 1e-3 and 0 < mask.mean() < 1
    answer = json.loads(sam_hub("verify", bundle, "--json"))
    assert [a["passed"] for a in answer["artefacts"]] == [True, True]


def test_nothing_lies_about_being_a_bundle(tmp_path: Path):
    done = subprocess.run([sys.executable, "-m", "sam_hub", "verify", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 1 and "not an exported bundle" in done.stderr
