"""`SamPredictor`: the original's interface, written out where a value is expected."""

import copy
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from sam_hub.errors import CheckpointError, ImageError, PromptError
from sam_hub.inference.predictor import SamPredictor
from sam_hub.inference.weights_watch import checksum, checksums
from sam_hub.models.configuration_sam import SamConfig
from sam_hub.models.image_processing_sam import SamImageProcessor
from sam_hub.models.modeling_sam import SamModel
from sam_hub.models.processing_sam import SamProcessor

SIDE, WIDTH = 64, 16
RNG = np.random.default_rng(5)
WIDE = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)
TALL = RNG.integers(0, 256, (90, 31, 3), dtype=np.uint8)
POINTS, LABELS, BOX = np.array([[30.5, 20], [3, 4]]), np.array([1, 0]), np.array([5, 6, 50, 33.5])
LOW_RES = (RNG.normal(size=(1, 16, 16)) * 3).astype(np.float32)


def tiny_model(side: int = SIDE) -> SamModel:
    torch.manual_seed(0)
    vision = dict(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=side,
        output_channels=WIDTH,
        global_attn_indexes=[1],
        window_size=2,
        mlp_dim=48,
        num_pos_feats=WIDTH // 2,
    )
    decoder = dict(hidden_size=WIDTH, mlp_dim=32, num_attention_heads=2, iou_head_hidden_dim=16)
    prompts = dict(hidden_size=WIDTH, image_size=side)
    config = SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)
    model = SamModel(config).eval()
    with torch.no_grad():  # random throughout, and masks of a healthy range
        for parameter in model.parameters():
            parameter.mul_(2) if parameter.dim() > 1 else parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def model() -> SamModel:
    return tiny_model()


@pytest.fixture
def predictor(model) -> SamPredictor:
    predictor = SamPredictor(model)
    predictor.set_image(WIDE)
    return predictor


class Counted:
    """Counts how often the encoder runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, model: SamModel) -> None:
        self.calls = 0
        encode = model.encode

        def counting(*arguments: object, **named: object) -> object:
            self.calls += 1
            return encode(*arguments, **named)

        monkeypatch.setattr(model, "encode", counting)


def close(a, b, atol: float = 1e-5) -> None:
    torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), rtol=1e-5, atol=atol)


# ---------------------------------------------------------------- the original's interface


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


# ---------------------------------------------------------------- sizes, types, modes


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


# ---------------------------------------------------------------- the cache


def test_an_image_is_encoded_once(model, monkeypatch):
    counted = Counted(monkeypatch, model)
    predictor = SamPredictor(model)
    for image in (WIDE, WIDE.copy(), Image.fromarray(WIDE), WIDE):
        predictor.set_image(image)
        predictor.predict(POINTS, LABELS)
    assert counted.calls == 1
    for image in (TALL, TALL, WIDE, TALL):
        predictor.set_image(image)
    assert counted.calls == 2
    assert predictor.original_size == (90, 31) and predictor.input_size == (64, 22)
    changed = WIDE.copy()
    changed[0, 0, 0] ^= 1
    predictor.set_image(changed)
    predictor.set_image(WIDE.reshape(20, 120, 3))  # the same bytes in another shape
    assert counted.calls == 4


@pytest.mark.parametrize("size", [0, 1, 3])
def test_the_cache_is_bounded_and_forgets_the_oldest_use(model, monkeypatch, size):
    counted = Counted(monkeypatch, model)
    predictor = SamPredictor(model, cache_size=size)
    images = [np.full((8, 8, 3), i, np.uint8) for i in range(4)]
    for i in (0, 1, 2, 0, 3):  # with room for three, 1 is the one to go
        predictor.set_image(images[i])
        assert len(predictor._cache) <= size
    kept = {0: [], 1: [3], 3: [2, 0, 3]}[size]
    before = counted.calls
    for i in kept:
        predictor.set_image(images[i])
    assert counted.calls == before
    predictor.set_image(images[1])
    assert counted.calls == before + 1


def test_what_the_cache_holds(model, monkeypatch):
    """What a decoder may read, not each layer's states, even where the configuration asks the model for them."""
    for config in (model.config, model.config.vision_config):
        monkeypatch.setattr(config, "output_hidden_states", True)
    features = torch.ones(1, 2)
    encode = model.encode
    monkeypatch.setattr(model, "encode", lambda *a, **k: replace(encode(*a, **k), features={"early": features}))
    predictor = SamPredictor(model)
    predictor.set_image(WIDE)
    predictor.set_image(TALL)
    predictor.set_image(WIDE)
    held = predictor.encoded
    assert held.hidden_states is None and held.attentions is None and held.features["early"] is features


def test_a_change_of_weights_type_or_settings_makes_it_void(monkeypatch):
    model = tiny_model()
    counted = Counted(monkeypatch, model)
    predictor = SamPredictor(model)

    def encodes(change) -> bool:
        change()
        before = counted.calls
        predictor.set_image(WIDE)
        return counted.calls > before

    weight = model.vision_encoder.neck.conv1.weight
    optimizer = torch.optim.SGD([weight], lr=0.1)
    weight.grad = torch.ones_like(weight)
    assert encodes(lambda: None)
    assert encodes(optimizer.step)
    assert not encodes(lambda: None)
    assert encodes(lambda: model.load_state_dict(model.state_dict()))
    assert encodes(lambda: model.to(torch.bfloat16))
    assert encodes(lambda: setattr(predictor.processor, "image_mean", (0.5, 0.5, 0.5)))
    assert not encodes(lambda: None)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("call", ["predict", "get_image_embedding"])
def test_no_image_is_set(model, call):
    with pytest.raises(RuntimeError, match="no image is set; call set_image first"):
        getattr(SamPredictor(model), call)()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((None,), "cannot be read from a NoneType"),
        (("/no/such.png",), "does not exist"),
        ((np.zeros((3, 9, 9)),), r"move the bands \(channels\) to the end"),
        ((WIDE, "GBR"), 'image_format must be "RGB" or "BGR"; got \'GBR\''),
    ],
)
def test_a_wrong_image_leaves_none_set(predictor, arguments, reason):
    with pytest.raises(ImageError, match=reason):
        predictor.set_image(*arguments)
    assert not predictor.is_image_set


@pytest.mark.parametrize("shape", [(1, 3, 63, 40), (1, 1, 64, 40), (2, 3, 64, 40), (3, 64, 40), (1, 3, 40, 65)])
def test_a_tensor_of_the_wrong_shape(predictor, shape):
    with pytest.raises(ImageError, match=r"must be \(1, 3, h, w\) with a long side of 64; got"):
        predictor.set_torch_image(torch.zeros(shape), (40, 60))
    assert not predictor.is_image_set


WRONG = {
    "labels missing": (dict(point_coords=POINTS), "point_labels are missing"),
    "points missing": (dict(point_labels=LABELS), "given without point_coords"),
    "fewer labels": (dict(point_coords=POINTS, point_labels=[1]), "2 points have 1 labels"),
    "label 7": (dict(point_coords=POINTS, point_labels=[1, 7]), "label 7 is unknown"),
    "outside": (dict(point_coords=[[61, 2]], point_labels=[1]), "outside the image, which is 60 x 40 pixels"),
    "nan": (dict(point_coords=[[np.nan, 2]], point_labels=[1]), "is not a number"),
    "one point without its list": (dict(point_coords=[3, 4], point_labels=[1]), "point_coords must have 2 dimensions"),
    "three coordinates": (dict(point_coords=[[1, 2, 3]], point_labels=[1]), "point_coords must be (P, 2)"),
    "nested labels": (dict(point_coords=POINTS, point_labels=[LABELS]), "point_labels must have 1 dimensions"),
    "no points": (dict(point_coords=np.zeros((0, 2)), point_labels=[]), "point_coords must have"),
    "text": (dict(point_coords="here", point_labels=[1]), "point_coords must be an array of numbers"),
    "reversed": (dict(box=[50, 6, 5, 33]), "reversed or empty"),
    "wholly outside": (dict(box=[70, 6, 90, 33]), "is outside the image"),
    "several boxes": (dict(box=[BOX, BOX]), "box must be one box, (4,); got (2, 4) (predict_torch takes several)"),
    "half a box": (dict(box=[1, 2]), "box must be one box"),
    "ragged": (dict(box=[[1, 2], [3]]), "box must be an array of numbers"),
    "a mask of the image": (dict(mask_input=np.zeros((40, 60))), "low-res logits of 16 x 16"),
    "two masks": (dict(mask_input=np.zeros((2, 16, 16))), "mask_input must be one mask, (1, h, w); got (2, 16, 16)"),
    "a mask of nan": (dict(mask_input=np.full((16, 16), np.nan)), "finite logits"),
}


@pytest.mark.parametrize(("prompts", "reason"), WRONG.values(), ids=WRONG)
def test_wrong_prompts_get_a_sentence(predictor, prompts, reason):
    with pytest.raises(PromptError) as e:
        predictor.predict(**prompts)
    assert reason in str(e.value) and "\n" not in str(e.value)


N = torch.ones
WRONG_TENSORS = {
    "labels missing": ((N(1, 2, 2), None), "belong together"),
    "points missing": ((None, N(1, 2)), "belong together"),
    "points without objects": ((N(2, 2), N(2)), r"point_coords must be \(N, P, 2\)"),
    "labels of another shape": ((N(2, 2, 2), N(2, 3)), r"point_labels \(N, P\); got"),
    "box without objects": ((None, None, N(4)), r"boxes must be \(N, 4\); got \(4,\)"),
    "boxes for others": ((N(2, 1, 2), N(2, 1), N(3, 4)), "different numbers of objects"),
    "mask without channel": ((None, None, None, N(2, 16, 16)), r"mask_input must be \(N, 1, h, w\)"),
    "masks for others": ((None, None, N(3, 4), N(2, 1, 16, 16)), "different numbers of objects"),
}


@pytest.mark.parametrize(("prompts", "reason"), WRONG_TENSORS.values(), ids=WRONG_TENSORS)
def test_wrong_tensors_get_a_sentence(predictor, prompts, reason):
    with pytest.raises(PromptError, match=reason):
        predictor.predict_torch(*prompts)


def test_a_box_that_pokes_out_is_cut(predictor):
    _, a, b = (predictor.predict(box=box)[2] for box in (BOX, [-5, 6, 50, 400], [0, 6, 50, 40]))
    np.testing.assert_array_equal(a, b)


# ---------------------------------------------------------------- models that change after an image


def raise_unseen(tensor: torch.Tensor) -> None:
    tensor.data.add_(1)


def one_number_unseen(tensor: torch.Tensor) -> None:
    tensor.data.view(-1)[0] += 1


@pytest.mark.parametrize("change", [raise_unseen, one_number_unseen])
def test_writes_that_torch_does_not_count_make_the_cache_void(monkeypatch, change):
    model = tiny_model()
    counted = Counted(monkeypatch, model)
    predictor = SamPredictor(model)
    for tensor in (*model.vision_encoder.parameters(), *model.vision_encoder.buffers()):
        if tensor.is_floating_point():
            predictor.set_image(WIDE)
            before = counted.calls
            predictor.set_image(WIDE)
            assert counted.calls == before
            change(tensor)
            predictor.set_image(WIDE)
            assert counted.calls == before + 1


def test_other_tensors_in_place_of_the_weights_make_the_cache_void(monkeypatch):
    model = tiny_model()
    counted = Counted(monkeypatch, model)
    predictor = SamPredictor(model)
    predictor.set_image(WIDE)
    model.load_state_dict({k: v.clone() for k, v in model.state_dict().items()}, assign=True)
    predictor.set_image(WIDE)
    assert counted.calls == 2
    model.vision_encoder.train()
    predictor.set_image(WIDE)
    assert counted.calls == 3


def test_fusing_makes_the_cache_void(pocket_shaped, monkeypatch):
    model = copy.deepcopy(pocket_shaped)
    predictor = SamPredictor(model)
    predictor.set_image(WIDE)
    predictor.predict(POINTS, LABELS)
    model.fuse()
    counted = Counted(monkeypatch, model)
    predictor.set_image(WIDE)
    fresh = SamPredictor(model)
    fresh.set_image(WIDE)
    assert counted.calls == 2
    for a, b in zip(predictor.predict(POINTS, LABELS), fresh.predict(POINTS, LABELS), strict=True):
        np.testing.assert_array_equal(a, b)


def test_nothing_is_kept_where_something_is_hooked_in(monkeypatch):
    model = tiny_model()
    counted = Counted(monkeypatch, model)
    predictor = SamPredictor(model)
    handle = model.vision_encoder.neck.conv1.register_forward_hook(lambda *a: None)
    for _ in range(2):
        predictor.set_image(WIDE)
    assert counted.calls == 2
    handle.remove()
    for _ in range(2):
        predictor.set_image(WIDE)
    assert counted.calls == 3


def test_nothing_is_kept_while_every_module_is_hooked_or_where_layers_are_quantised(monkeypatch):
    model = tiny_model()
    counted = Counted(monkeypatch, model)
    predictor = SamPredictor(model)
    predictor.set_image(WIDE)
    before = predictor.features
    handle = torch.nn.modules.module.register_module_forward_hook(
        lambda m, given, out: out * 1.5 if isinstance(m, torch.nn.LayerNorm) else None
    )
    try:
        predictor.set_image(WIDE)
    finally:
        handle.remove()
    assert counted.calls == 2 and not torch.allclose(predictor.features, before)
    predictor.set_image(WIDE)
    assert counted.calls == 2 and torch.equal(predictor.features, before)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        model.vision_encoder = torch.ao.quantization.quantize_dynamic(model.vision_encoder, {torch.nn.Linear})
    counted = Counted(monkeypatch, model)
    for _ in range(2):
        predictor.set_image(WIDE)
    assert counted.calls == 2


def test_a_patched_class_is_another_encoder(monkeypatch):
    model = tiny_model()
    predictor = SamPredictor(model)
    predictor.set_image(WIDE)
    before, forward = predictor.features, torch.nn.LayerNorm.forward
    monkeypatch.setattr(torch.nn.LayerNorm, "forward", lambda self, x: forward(self, x) * 1.5)
    predictor.set_image(WIDE)
    assert not torch.allclose(predictor.features, before)


def test_a_model_that_is_cast_or_moved_encodes_the_image_anew():
    model = tiny_model()
    predictor = SamPredictor(model)
    predictor.set_image(WIDE)
    for dtype in (torch.bfloat16, torch.float64):
        model.to(dtype)
        fresh = SamPredictor(model)
        fresh.set_image(WIDE)
        expected = fresh.predict(POINTS, LABELS)
        for _ in range(2):
            for a, b in zip(predictor.predict(POINTS, LABELS), expected, strict=True):
                np.testing.assert_array_equal(a, b)
        assert predictor.features.dtype == dtype


def test_without_the_photo_a_cast_model_says_so():
    model = tiny_model()
    predictor = SamPredictor(model)
    image = torch.zeros(1, 3, 64, 64)
    predictor.set_torch_image(image, (64, 64))
    model.to(torch.bfloat16)
    with pytest.raises(RuntimeError, match=r"now on cpu in torch\.bfloat16, and the embedding was"):
        predictor.predict(POINTS, LABELS)


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


# ---------------------------------------------------------------- saved embeddings


def test_an_embedding_comes_back_from_a_file(model, tmp_path):
    predictor, other = SamPredictor(model), SamPredictor(model)
    predictor.set_image(WIDE)
    predictor.save_embedding(tmp_path / "wide.safetensors")
    other.load_embedding(str(tmp_path / "wide.safetensors"))
    assert (other.orig_h, other.orig_w) == WIDE.shape[:2] and other.is_image_set
    for a, b in zip(predictor.predict(POINTS, LABELS), other.predict(POINTS, LABELS), strict=True):
        np.testing.assert_array_equal(a, b)


def test_embeddings_of_others_are_refused(model, tmp_path):
    path = tmp_path / "wide.safetensors"
    predictor = SamPredictor(model)
    predictor.set_image(WIDE)
    predictor.save_embedding(path)
    stranger, other_mean = copy.deepcopy(model), SamImageProcessor.for_config(model.config)
    other_mean.image_mean = (0.5, 0.5, 0.5)
    with torch.no_grad():
        stranger.vision_encoder.neck.conv1.weight.mul_(1.1)
    with pytest.raises(CheckpointError, match="another model"):
        SamPredictor(stranger).load_embedding(path)
    with pytest.raises(CheckpointError, match="another image preparation"):
        SamPredictor(model, other_mean).load_embedding(path)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="was changed"):
        predictor.load_embedding(path)
    assert not predictor.is_image_set
    path.write_bytes(b"no file of safetensors")
    with pytest.raises(CheckpointError, match="damaged"):
        predictor.load_embedding(path)
    with pytest.raises(CheckpointError, match="does not exist"):
        predictor.load_embedding(tmp_path / "nowhere")


def test_attributes_of_the_original_can_be_assigned(model):
    predictor, other = SamPredictor(model), SamPredictor(model)
    predictor.set_image(WIDE)
    names = "features", "original_size", "input_size", "is_image_set"
    for name in names:
        assert not other.is_image_set
        with pytest.raises(RuntimeError, match="no image is set"):
            other.predict(POINTS, LABELS)
        if name != "is_image_set":
            setattr(other, name, getattr(predictor, name))
        if name == "input_size":
            break
    other.is_image_set = True
    for a, b in zip(predictor.predict(POINTS, LABELS), other.predict(POINTS, LABELS), strict=True):
        np.testing.assert_array_equal(a, b)
    other.is_image_set = False
    with pytest.raises(RuntimeError, match="no image is set"):
        other.predict(POINTS, LABELS)


def swap_rows(t: torch.Tensor) -> None:
    t.data[:] = t.data.flip(0).clone()


def swap_two_values(t: torch.Tensor) -> None:
    flat = t.data.view(-1)
    flat[0], flat[5] = flat[5].item(), flat[0].item()


def nudge_one_value(t: torch.Tensor) -> None:
    flat = t.data.view(-1)
    flat[-1] = torch.nextafter(flat[-1], torch.tensor(9.0))


@pytest.mark.parametrize("write", [swap_rows, swap_two_values, nudge_one_value])
def test_a_write_that_keeps_the_sum_is_seen_too(model, write):
    """Writes through ``.data`` raise no counter."""
    model = copy.deepcopy(model)
    predictor = SamPredictor(model)
    predictor.set_image(WIDE)
    weight = model.vision_encoder.patch_embed.projection.weight
    write(weight)
    predictor.set_image(WIDE)
    fresh = SamPredictor(model)
    fresh.set_image(WIDE)
    assert torch.equal(predictor.features, fresh.features)
    state = predictor.backend.state()
    assert state == predictor.backend.state()
    write(weight)
    assert state != predictor.backend.state()


@pytest.mark.parametrize("length", [1, 3, 8, (1 << 17) + 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_a_checksum_tells_bits_apart(length, dtype):
    t = torch.arange(length).to(dtype)
    whole = torch.cat([t[:1], t])
    same = whole[1:]  # at another place in memory, no multiple of 8 bytes from the start
    assert checksum(t) == checksum(same)
    for at in {0, length // 2, length - 1}:
        other = t.clone()
        other.view(torch.uint8)[at * t.element_size()] ^= 1
        assert checksum(other) != checksum(t)
        assert [*map(int, checksums([t, other]))] != [*map(int, checksums([t, t]))]
    if length > 1:
        assert checksum(t.flip(0)) != checksum(t)


def test_predict_torch_wants_tensors(predictor):
    with pytest.raises(PromptError, match="boxes must be a tensor here; `predict_each`"):
        predictor.predict_torch(None, None, BOX[None])
