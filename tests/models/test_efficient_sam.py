"""EfficientSAM: six slots of prompts, what it cannot do, and stretched images. The goldens prove the numbers."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sam_hub.errors import PromptError
from sam_hub.inference.predictor import SamPredictor
from sam_hub.models.configuration_sam import EfficientSamMaskDecoderConfig, EfficientSamPromptEncoderConfig
from sam_hub.models.image_processing_sam import SamImageProcessor
from sam_hub.models.modeling_sam import SamModel
from sam_hub.models.processing_sam import SamProcessor

SIZE = 128  # a power of two, like 1024: the positions of the resize are then exact in float32
SLOTS = 6
WIDTH = 64


@pytest.fixture(scope="module")
def model(make_config, randomised):
    config = make_config("sam_hub_efficient_sam", image_size=SIZE)
    config.prompt_encoder_config = EfficientSamPromptEncoderConfig(hidden_size=WIDTH, image_size=SIZE)
    config.mask_decoder_config = EfficientSamMaskDecoderConfig(
        hidden_size=WIDTH, mlp_dim=48, num_attention_heads=4, iou_head_hidden_dim=28
    )
    return randomised(SamModel(config)).eval()


@pytest.fixture(scope="module")
def pixels():
    return torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def slot(model, x, y, label):
    """The formula: a random Fourier code of the position, and what the label adds to it."""
    prompts = model.prompt_encoder
    matrix = model.shared_image_embedding.positional_embedding
    angle = 2 * torch.pi * ((2 * (torch.tensor([x, y]) + 0.5) / SIZE - 1) @ matrix)
    added = {
        -1: prompts.invalid_points,
        1: prompts.point_embeddings,
        2: prompts.bbox_top_left_embeddings,
        3: prompts.bbox_bottom_right_embeddings,
    }
    return torch.cat([angle.sin(), angle.cos()]) + added[label].weight[0]


def slots(model, *filled):
    empty = [(-1.0, -1.0, -1)] * (SLOTS - len(filled))
    return torch.stack([slot(model, *values) for values in [*filled, *empty]])


@torch.no_grad()
def test_corners_then_points_then_empty_slots(model):
    sparse, dense = model.get_prompt_embeddings(
        input_points=torch.tensor([[[[30.0, 40.0], [-3.0, 50.0]]]]),
        input_labels=torch.tensor([[[1, 1]]]),
        input_boxes=torch.tensor([[[10.0, 20, 60, 70]]]),
    )
    # a coordinate left of or above the image becomes -1, as in the original
    expected = slots(model, (10, 20, 2), (60, 70, 3), (30, 40, 1), (-1, 50, 1))
    assert torch.allclose(sparse[0, 0], expected, atol=1e-5)
    assert not dense.any()


@torch.no_grad()
def test_padding_is_an_empty_slot(model):
    points = torch.full((1, 3, 7, 2), -10.0)
    labels = torch.full((1, 3, 7), -10)
    points[0, 0, 0], labels[0, 0, 0] = torch.tensor([30.0, 40.0]), 1
    points[0, 1, 4:6], labels[0, 1, 4:6] = torch.tensor([[5.0, 6.0], [7.0, 8.0]]), 1
    boxes = torch.full((1, 3, 4), -10.0)
    boxes[0, 2] = torch.tensor([10.0, 20, 60, 70])
    sparse, _ = model.get_prompt_embeddings(points, labels, boxes)
    assert sparse.shape == (1, 3, SLOTS, WIDTH)  # nine columns, of which no object uses more than two
    for i, filled in enumerate([[(30, 40, 1)], [(5, 6, 1), (7, 8, 1)], [(10, 20, 2), (60, 70, 3)]]):
        assert torch.allclose(sparse[0, i], slots(model, *filled), atol=1e-5)


def test_what_it_cannot_do_is_refused(model, pixels):
    point = torch.tensor([[[[30.0, 40.0]]]])
    with pytest.raises(PromptError, match="does not understand background points"):
        model(pixels, point, torch.tensor([[[0]]]))
    with pytest.raises(PromptError, match="does not understand masks"):
        model(pixels, point, input_masks=torch.zeros(1, 1, SIZE // 4, SIZE // 4))
    with pytest.raises(PromptError, match="at least one point or a box"):
        model(pixels)
    six = torch.rand(1, 1, 6, 2) * SIZE
    assert model(pixels, six).pred_masks.isfinite().all()
    with pytest.raises(PromptError, match="at most 6 points for an object, of which a box uses 2; got 8"):
        model(pixels, six, input_boxes=torch.tensor([[[10.0, 20, 60, 70]]]))


@torch.no_grad()
def test_the_number_of_masks(model, pixels):
    point = torch.tensor([[[[30.0, 40.0]]]])
    three, one = (model(pixels, point, multimask_output=many) for many in (True, False))
    everything, iou, _ = model.predict_masks(model.encode(pixels).embedding, point)
    assert torch.allclose(three.pred_masks, everything[:, :, 1:]) and torch.allclose(three.iou_scores, iou[:, :, 1:])
    assert torch.allclose(one.pred_masks, everything[:, :, :1]) and torch.allclose(one.iou_scores, iou[:, :, :1])


@pytest.fixture(scope="module")
def photo():
    return np.random.default_rng(0).integers(0, 256, (50, 120, 3), dtype=np.uint8)


def test_images_are_stretched(model, photo):
    processor = SamProcessor(SamImageProcessor.for_config(model.config))
    inputs = processor(photo, input_points=[[[[60, 25]]]], input_boxes=[[[12, 5, 108, 45]]], return_tensors="pt")
    x = torch.from_numpy(photo).permute(2, 0, 1)[None] / 255
    x = F.interpolate(x, (SIZE, SIZE), mode="bilinear", align_corners=False)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    assert torch.allclose(inputs["pixel_values"], (x - mean) / std, atol=5e-6)
    assert inputs["original_sizes"].tolist() == [[50, 120]]
    assert inputs["reshaped_input_sizes"].tolist() == [[SIZE, SIZE]]
    assert inputs["input_points"].flatten().tolist() == [60 * SIZE / 120, 25 * SIZE / 50]
    expected = [12 * SIZE / 120, 5 * SIZE / 50, 108 * SIZE / 120, 45 * SIZE / 50]
    assert np.allclose(inputs["input_boxes"].flatten(), expected)

    low_res = torch.randn(1, 2, 3, SIZE // 4, SIZE // 4)
    masks = processor.post_process_masks(low_res, [[50, 120]], [[SIZE, SIZE]], binarize=False)[0]
    assert torch.allclose(masks, F.interpolate(low_res[0], (50, 120), mode="bicubic", align_corners=False), atol=1e-6)


def test_labels_are_stretched_too(model, photo):
    processor = SamImageProcessor.for_config(model.config)
    right_half = np.zeros((50, 120), np.uint8)
    right_half[:, 60:] = 1
    labels = processor(photo, segmentation_maps=right_half, return_tensors="pt")["labels"]
    assert labels.shape == (1, SIZE // 4, SIZE // 4)
    assert torch.equal(labels[0], (torch.arange(SIZE // 4) >= SIZE // 8).long().expand(SIZE // 4, -1))


def test_the_processor_is_saved_with_its_way(model, tmp_path):
    SamProcessor(SamImageProcessor.for_config(model.config)).save_pretrained(tmp_path)
    loaded = SamImageProcessor.from_pretrained(tmp_path)
    assert (loaded.resize_mode, loaded.mask_resize) == ("stretch_float", "bicubic")
    with pytest.raises(ValueError, match="one of longest_side, stretch, stretch_float, stretch_smooth; got 'squash'"):
        SamImageProcessor(resize_mode="squash")


@torch.no_grad()
def test_the_predictor_agrees_with_model_and_processor(model, photo):
    predictor = SamPredictor(model)
    predictor.set_image(photo)
    masks, scores, low_res = predictor.predict(np.array([[60, 25]]), np.array([1]), return_logits=True)
    processor = SamProcessor(SamImageProcessor.for_config(model.config))
    inputs = processor(photo, input_points=[[[[60, 25]]]], return_tensors="pt")
    output = model(**inputs)
    sizes = inputs["original_sizes"], inputs["reshaped_input_sizes"]
    expected = processor.post_process_masks(output.pred_masks, *sizes, binarize=False)[0][0]
    assert masks.shape == (3, 50, 120) and np.allclose(masks, expected, atol=1e-4)
    assert np.allclose(scores, output.iou_scores[0, 0], atol=1e-5)
    assert np.allclose(low_res, output.pred_masks[0, 0], atol=1e-4)
    with pytest.raises(PromptError, match="background points"):
        predictor.predict(np.array([[60, 25]]), np.array([0]))
    assert predictor.transform.apply_coords(np.array([60.0, 25.0]), (50, 120)).tolist() == [SIZE / 2, SIZE / 2]


@torch.no_grad()
def test_a_compiled_model_refuses_too(model):
    """Its graph cannot look at the values of prompts, but checks them when it runs."""
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    points = torch.full((1, 1, 7, 2), 20.0)
    with pytest.raises(RuntimeError, match="at most 6 points"):
        compiled(torch.zeros(1, 3, SIZE, SIZE), input_points=points, input_labels=torch.ones(1, 1, 7, dtype=torch.long))
    labels = torch.tensor([[[1, 0, 1, 1, 1, -10, -10]]])
    with pytest.raises(RuntimeError, match="does not understand background points"):
        compiled(torch.zeros(1, 3, SIZE, SIZE), input_points=points, input_labels=labels)
