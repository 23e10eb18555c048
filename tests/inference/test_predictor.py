"""`SamPredictor`: the original's interface, with expected values by formula."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from sam_hub.errors import ImageError, PromptError
from sam_hub.inference.predictor import SamPredictor
from sam_hub.models.image_processing_sam import SamImageProcessor
from sam_hub.models.modeling_sam import SamModel
from sam_hub.models.processing_sam import SamProcessor

from .small_model import BOX, LABELS, LOW_RES, POINTS, RNG, SIDE, TALL, WIDE, WIDTH, close, tiny_model


def test_an_image_that_is_set(predictor, model):
    assert predictor.is_image_set and predictor.model is model and predictor.device == torch.device("cpu")
    assert predictor.original_size == (40, 60) and predictor.input_size == (43, 64)
    embedding = predictor.get_image_embedding()
    assert embedding.shape == (1, WIDTH, 4, 4) and not embedding.requires_grad
    assert embedding is predictor.features
    inputs = SamImageProcessor(size={"longest_edge": SIDE})(WIDE, return_tensors="pt")
    close(embedding, model.get_image_embeddings(inputs["pixel_values"]))
    predictor.reset_image()
    assert not predictor.is_image_set and predictor.features is None
    assert predictor.original_size is None and predictor.input_size is None


PROMPTS = {
    "nothing": {},
    "points": dict(point_coords=POINTS, point_labels=LABELS),
    "box": dict(box=BOX),
    "points and box": dict(point_coords=POINTS, point_labels=LABELS, box=BOX),
    "mask": dict(mask_input=LOW_RES),
    "everything": dict(point_coords=POINTS, point_labels=LABELS, box=BOX, mask_input=LOW_RES),
}


@torch.no_grad()
@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_masks_of_each_prompt(predictor, model, prompt, multimask):
    """Shapes and types of the original; values by way of the processor and by its formula for the way back."""
    given = PROMPTS[prompt]
    count = 3 if multimask else 1
    logits, scores, low_res = predictor.predict(**given, multimask_output=multimask, return_logits=True)
    assert (logits.shape, logits.dtype) == ((count, 40, 60), np.float32)
    assert (scores.shape, scores.dtype) == ((count,), np.float32)
    assert (low_res.shape, low_res.dtype) == ((count, 16, 16), np.float32)
    masks, _, _ = predictor.predict(**given, multimask_output=multimask)
    assert masks.dtype == bool and np.array_equal(masks, logits > 0)

    inputs = SamProcessor(predictor.processor)(
        WIDE,
        input_points=[[POINTS]] if "point_coords" in given else None,
        input_labels=[[LABELS]] if "point_coords" in given else None,
        input_boxes=[[BOX]] if "box" in given else None,
        input_masks=[LOW_RES] if "mask_input" in given else None,
        return_tensors="pt",
    )
    expected = model(**inputs, multimask_output=multimask)
    assert expected.pred_masks.std() > 0.05
    close(low_res, expected.pred_masks[0, 0])
    close(scores, expected.iou_scores[0, 0])
    x = F.interpolate(expected.pred_masks[0], (64, 64), mode="bilinear", align_corners=False)
    close(logits, F.interpolate(x[..., :43, :64], (40, 60), mode="bilinear", align_corners=False)[0], atol=2e-5)


def test_several_objects_at_once(predictor):
    """`predict_torch` with N prompts gives what `predict` gives for each."""
    boxes = np.array([[5, 6, 50, 33.5], [1, 2, 20, 20], [30, 10, 60, 40]])
    points = RNG.uniform(0, 40, (3, 2, 2))
    labels = np.array([[1, 0], [1, 1], [0, 1]])
    transform, size = predictor.transform, predictor.original_size
    masks, scores, low_res = predictor.predict_torch(
        transform.apply_coords_torch(torch.from_numpy(points), size),
        torch.from_numpy(labels),
        boxes=transform.apply_boxes_torch(torch.from_numpy(boxes), size),
        mask_input=torch.from_numpy(LOW_RES)[None],
        multimask_output=False,
    )
    assert masks.shape == (3, 1, 40, 60) and masks.dtype == torch.bool
    assert scores.shape == (3, 1) and low_res.shape == (3, 1, 16, 16)
    for i in range(3):
        alone = predictor.predict(points[i], labels[i], boxes[i], LOW_RES, multimask_output=False)
        close(low_res[i], alone[2])
        close(scores[i], alone[1])
        assert (masks[i].numpy() != alone[0]).mean() < 1e-3


def test_a_model_in_a_wrapper_of_training(model):
    assert SamPredictor(torch.nn.DataParallel(model)).model is model
    averaged = torch.optim.swa_utils.AveragedModel(torch.nn.DataParallel(model))
    assert SamPredictor(averaged).model is averaged.module.module


def test_objects_without_points(predictor):
    """(N, 0, 2): as no points at all, beside a box or alone."""
    none = torch.zeros(2, 0, 2), torch.zeros(2, 0)
    boxes = torch.tensor([[5.0, 6, 50, 33], [30, 10, 60, 40]])
    close(predictor.predict_torch(*none)[2], np.stack([predictor.predict()[2]] * 2))
    close(predictor.predict_torch(*none, boxes=boxes)[2], predictor.predict_torch(None, None, boxes=boxes)[2])


def test_the_transform_is_the_originals(predictor):
    transform = predictor.transform
    assert transform.target_length == SIDE
    np.testing.assert_array_equal(
        transform.apply_image(WIDE), np.asarray(Image.fromarray(WIDE).resize((64, 43), Image.Resampling.BILINEAR))
    )
    scale = np.array([64 / 60, 43 / 40])
    np.testing.assert_allclose(transform.apply_coords(POINTS, (40, 60)), POINTS * scale, rtol=1e-6)
    np.testing.assert_allclose(transform.apply_boxes(BOX[None], (40, 60))[0], BOX * np.tile(scale, 2), rtol=1e-6)
    for apply, coordinates in (("apply_coords", POINTS), ("apply_boxes", BOX[None])):
        tensor = getattr(transform, f"{apply}_torch")(torch.from_numpy(coordinates), (40, 60))
        assert tensor.dtype == torch.float32
        close(tensor, getattr(transform, apply)(coordinates, (40, 60)), atol=1e-4)


@pytest.mark.parametrize("image", [WIDE, TALL], ids=["wide", "tall"])
def test_a_resized_tensor(predictor, model, image):
    """What `set_image` does inside: the same embedding, to the last bit."""
    other = SamPredictor(model)
    predictor.set_image(image)
    resized = torch.from_numpy(predictor.transform.apply_image(image).copy()).permute(2, 0, 1)[None]
    for tensor in (resized, resized.float()):
        other.set_torch_image(tensor, image.shape[:2])
        assert torch.equal(other.features, predictor.features)
        assert other.original_size == predictor.original_size and other.input_size == predictor.input_size


def test_a_resized_tensor_of_another_image(predictor):
    tensor = torch.zeros(1, 3, 43, 64)
    with pytest.raises(ImageError, match=r"an image of \(60, 40\) pixels resized is \(64, 43\).*height first"):
        predictor.set_torch_image(tensor, (60, 40))
    predictor.set_torch_image(tensor[:, :, :42], (40, 60))  # rounded down by other code


@pytest.mark.parametrize("shape", [(1, WIDTH + 1, 2, 2), (2, WIDTH, 2, 2), (WIDTH, 2, 2)])
def test_features_of_another_model_are_refused(predictor, shape):
    expected = predictor.features
    with pytest.raises(PromptError, match=rf"features must be \(1, {WIDTH}, h, w\)"):
        predictor.features = torch.zeros(shape)
    assert predictor.features is expected


def test_sources_and_channel_orders(predictor, tmp_path):
    expected = predictor.features
    path = tmp_path / "a.png"
    Image.fromarray(WIDE).save(path)
    for source in (Image.fromarray(WIDE), path, str(path), path.read_bytes()):
        predictor.set_image(source)
        assert torch.equal(predictor.features, expected)
    predictor.set_image(WIDE[..., ::-1], image_format="BGR")
    assert torch.equal(predictor.features, expected)
    predictor.set_image(WIDE[..., ::-1])
    assert not torch.equal(predictor.features, expected)
    predictor.set_image(path, image_format="BGR")  # a file knows its order
    assert torch.equal(predictor.features, expected)


def test_feedback_of_the_low_res_mask(predictor):
    _, scores, low_res = predictor.predict(POINTS, LABELS)
    best = low_res[[scores.argmax()]]
    refined = predictor.predict(POINTS, LABELS, mask_input=best, multimask_output=False)
    assert refined[0].shape == (1, 40, 60)
    np.testing.assert_array_equal(refined[2], predictor.predict(POINTS, LABELS, None, best[0], False)[2])


@pytest.mark.parametrize("prompt", [{"box": BOX}, {"point_coords": POINTS, "point_labels": LABELS}])
def test_low_res_masks_alone(predictor, prompt):
    predictor.set_image(WIDE)
    _, iou, low_res = predictor.predict(**prompt, mask_input=LOW_RES)
    again = predictor.predict_low_res(**prompt, mask_input=LOW_RES)
    assert np.array_equal(again[0], iou) and np.array_equal(again[1], low_res)


def test_lists_and_tensors_as_prompts(predictor):
    predictor.predict(box=BOX)  # the first prompt on an image is answered by the plain decoder, to rounding the same
    expected = predictor.predict(POINTS, LABELS, BOX)
    for convert in (np.ndarray.tolist, torch.from_numpy):
        found = predictor.predict(convert(POINTS), convert(LABELS), convert(BOX))
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(predictor.predict(box=BOX[None])[2], predictor.predict(box=BOX)[2])


@pytest.mark.parametrize("side", [32, 96])
def test_other_input_sizes(side):
    predictor = SamPredictor(tiny_model(side))
    predictor.set_image(TALL)
    masks, _, low_res = predictor.predict(point_coords=[[3, 80]], point_labels=[1])
    assert masks.shape == (3, 90, 31) and low_res.shape == (3, side // 4, side // 4)
    assert predictor.input_size == (side, round(side * 31 / 90))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype, monkeypatch):
    model = tiny_model().to(dtype)
    seen = []
    forward = model.prompt_encoder.forward
    monkeypatch.setattr(model.prompt_encoder, "forward", lambda *a, **k: (seen.append(a), forward(*a, **k))[1])
    predictor = SamPredictor(model)
    predictor.set_image(WIDE)
    assert predictor.features.dtype == dtype
    half = predictor.predict(POINTS, LABELS, BOX, LOW_RES, return_logits=True)
    ((_, _, points, _, boxes, _),) = seen
    assert points.dtype == boxes.dtype == torch.float32
    full = SamPredictor(tiny_model())
    full.set_image(WIDE)
    for a, b in zip(half, full.predict(POINTS, LABELS, BOX, LOW_RES, return_logits=True), strict=True):
        assert a.dtype == np.float32
        assert np.linalg.norm(a - b) < 0.05 * np.linalg.norm(b)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_under_every_gradient_mode(model, mode):
    predictor = SamPredictor(model)
    with mode():
        predictor.set_image(WIDE)
        inside = predictor.predict(POINTS, LABELS)
    outside = predictor.predict(POINTS, LABELS)
    predictor.set_image(TALL)
    predictor.set_image(WIDE)
    again = predictor.predict(POINTS, LABELS)
    for a, b, c in zip(inside, outside, again, strict=True):
        close(a, b)  # the first prompt on an image is answered by the plain decoder, the second by the fast one
        np.testing.assert_array_equal(a, c)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_model_made_in_inference_mode():
    """Its tensors have no version counter."""
    with torch.inference_mode():
        predictor = SamPredictor(tiny_model())
    predictor.set_image(WIDE)
    assert predictor.predict(box=BOX)[0].shape == (3, 40, 60)


@pytest.mark.parametrize("processor", [SamImageProcessor, lambda **k: SamProcessor(SamImageProcessor(**k))])
def test_a_processor_of_ones_own(model, processor):
    settings = dict(size={"longest_edge": 32}, image_mean=[0, 0, 0], image_std=[1, 1, 1])
    predictor = SamPredictor(model, processor(**settings))
    predictor.set_image(WIDE)
    assert predictor.input_size == (21, 32) and predictor.features.shape == (1, WIDTH, 2, 2)
    assert predictor.predict(box=BOX)[2].shape == (3, 8, 8)


def test_the_processor_beside_the_model_is_found(model, tmp_path):
    model.save_pretrained(tmp_path)
    assert SamPredictor(SamModel.from_pretrained(tmp_path)).processor.image_mean == (0.485, 0.456, 0.406)
    SamProcessor(SamImageProcessor(size={"longest_edge": SIDE}, image_mean=[0.1, 0.2, 0.3])).save_pretrained(tmp_path)
    assert SamPredictor(SamModel.from_pretrained(tmp_path)).processor.image_mean == (0.1, 0.2, 0.3)


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("before", [0, 2])
def test_no_objects_are_no_masks(model, before, multimask):
    predictor, count = SamPredictor(model), 3 if multimask else 1
    predictor.set_image(WIDE)
    for _ in range(before):
        predictor.predict(POINTS, LABELS)
    for prompts in (
        (None, None, torch.zeros(0, 4)),
        (torch.zeros(0, 1, 2), torch.zeros(0, 1, dtype=torch.int64), None),
        (torch.zeros(0, 0, 2), torch.zeros(0, 0, dtype=torch.int64), torch.zeros(0, 4)),
        (None, None, torch.zeros(0, 4), torch.zeros(0, 1, 16, 16)),
    ):
        masks, scores, low_res = predictor.predict_torch(*prompts, multimask_output=multimask)
        assert masks.shape == (0, count, *WIDE.shape[:2]) and masks.dtype == torch.bool
        assert scores.shape == (0, count) and low_res.shape == (0, count, 16, 16)
