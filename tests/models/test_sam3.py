"""SAM 3's click predictor: cases that ``transformers`` gets wrong, and its three kinds of folders."""

import copy
import json
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from sam_hub.errors import CheckpointError, PromptError
from sam_hub.inference.predictor import SamPredictor
from sam_hub.models.modeling_sam import SamModel
from sam_hub.models.processing_sam import SamProcessor

from . import tiny_sam3
from .conftest import randomise
from .test_sam2 import tiny_config
from .tiny_sam3 import SIDE, WIDTH

CLICK = {"input_points": torch.tensor([[[[50.0, 40.0]]]])}


def reference(eps: float = 1e-6) -> transformers.Sam3TrackerModel:
    """``transformers.Sam3TrackerModel`` as it comes: with four levels of the neck."""
    vision = tiny_sam3.concept_settings(layer_norm_eps=eps)["vision_config"]
    config = transformers.Sam3TrackerConfig(
        vision_config=vision,
        prompt_encoder_config={"hidden_size": WIDTH, "image_size": SIDE, "patch_size": tiny_sam3.PATCH},
        mask_decoder_config={
            "hidden_size": WIDTH, "mlp_dim": 48, "num_attention_heads": 4, "iou_head_hidden_dim": 28,
        },
    )  # fmt: skip
    return randomise(transformers.Sam3TrackerModel(config)).eval()


@pytest.fixture(scope="module")
def theirs() -> transformers.Sam3TrackerModel:
    return reference()


@pytest.fixture(scope="module")
def ours(theirs, tmp_path_factory) -> SamModel:
    folder = tmp_path_factory.mktemp("theirs")
    theirs.save_pretrained(folder)
    return SamModel.from_pretrained(folder).eval()


def pixels(images: int = 1) -> torch.Tensor:
    return torch.randn(images, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(5))


@torch.no_grad()
def test_the_no_memory_embedding_is_added(ours, theirs):
    """``Sam3TrackerModel`` adds it to the fourth level, which is then dropped."""
    for model, moves in ((ours, True), (theirs, False)):
        before = model(pixel_values=pixels(), **CLICK).pred_masks
        model.no_memory_embedding += 100
        after = model(pixel_values=pixels(), **CLICK).pred_masks
        model.no_memory_embedding -= 100
        assert (not torch.equal(before, after)) is moves


@torch.no_grad()
def test_the_norms_of_the_trunk_have_the_authors_eps(ours, theirs):
    """``transformers`` uses 1e-6; with 1e-5 and its no-memory embedding in place the two agree."""
    assert theirs.vision_encoder.backbone.layers[0].layer_norm1.eps == 1e-6
    assert ours.vision_encoder.backbone.layers[0].layer_norm1.eps == ours.vision_encoder.backbone.layer_norm.eps == 1e-5
    right = reference(eps=1e-5)
    right.load_state_dict(theirs.state_dict())
    for model, agrees in ((right, True), (theirs, False)):
        maps = model.get_image_embeddings(pixels())
        embedding = maps[2] + model.no_memory_embedding.reshape(1, -1, 1, 1)
        found = ours.encode(pixels()).embedding
        worst = ((found - embedding).norm() / embedding.norm()).item()
        assert (worst <= 2e-6) is agrees, worst


@torch.no_grad()
def test_a_folder_written_here_is_right_in_transformers(ours, tmp_path):
    """It says three levels, and 1e-5."""
    ours.save_pretrained(tmp_path)
    again, info = transformers.Sam3TrackerModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    a, b = (model(pixel_values=pixels(), **CLICK).pred_masks for model in (ours, again.eval()))
    assert (a - b).norm() <= 1e-5 * b.norm()
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "sam3_tracker"


def test_low_res_masks_have_four_pixels_to_a_patch_of_14(ours):
    processor = SamProcessor.for_config(ours.config)
    assert processor.image_processor.mask_stride == 3.5
    assert processor.image_processor.preparation().mask_side == 32
    photo = np.zeros((40, 60, 3), np.uint8)
    inputs = processor(photo, input_points=[[[[20, 20]]]], input_masks=np.zeros((1, 32, 32)), return_tensors="pt")
    assert torch.allclose(inputs["input_points"], torch.tensor([20 * SIDE / 60, 20 * SIDE / 40]))
    predictor = SamPredictor(ours)
    predictor.set_image(photo)
    masks, _, low_res = predictor.predict(np.array([[20, 20]]), np.array([1]), mask_input=np.ones((1, 32, 32)))
    assert masks.shape == (3, 40, 60) and low_res.shape == (3, 32, 32)
    with pytest.raises(PromptError, match="32 x 32"):
        predictor.predict(np.array([[20, 20]]), np.array([1]), mask_input=np.ones((1, 28, 28)))
    assert predictor.predict_each(np.zeros((0, 1, 2)), np.zeros((0, 1)))[2].shape == (0, 3, 32, 32)


@pytest.mark.filterwarnings("ignore:no mask is left")
def test_clicks_on_the_whole_of_a_photo_that_is_not_square(ours):
    """``transformers`` scales the grid of everything mode by the longer side although the photo is squashed."""
    predictor = SamPredictor(ours)
    predictor.set_image(np.zeros((400, 600, 3), np.uint8))
    seen = []
    click = type(predictor.backend).click_each

    def spy(backend, held, points, select, frame):
        seen.append(points)
        return click(backend, held, points, select, frame)

    from sam_hub.inference.amg import SamAutomaticMaskGenerator

    predictor.backend.click_each = spy.__get__(predictor.backend)
    SamAutomaticMaskGenerator(predictor, points_per_side=4).generate(np.zeros((400, 600, 3), np.uint8))
    points = np.concatenate(seen)
    assert np.allclose(points.max(axis=0), SIDE * 7 / 8, atol=1) and np.allclose(points.min(axis=0), SIDE / 8, atol=1)


def test_the_detector_alone_takes_no_clicks(tmp_path):
    tiny_sam3.reference().save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"no clicks: load it with sam_hub\.ConceptFinder\.from_pretrained"):
        SamModel.from_pretrained(tmp_path)


LATER = {
    "of a later SAM": {"model_type": "sam4_tracker"},
    "with a later encoder": {
        "model_type": "sam3_tracker",
        "vision_config": {"model_type": "sam3_vision_model", "backbone_config": {"model_type": "sam4_vit_model"}},
    },
}


@pytest.mark.parametrize("case", LATER)
def test_a_configuration_of_a_later_version(case, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LATER[case]))
    sentence = r"of the type 'sam4_\w+', which this version of sam-hub does not know: update it"
    with pytest.raises(CheckpointError, match=sentence):
        SamModel.from_pretrained(tmp_path)


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """A folder as SAM 3 is published: detector and tracker of videos, and a tokenizer."""
    folder = tmp_path_factory.mktemp("published")
    tiny_sam3.save_video_folder(folder, tiny_sam3.reference())
    tiny_sam3.save_tokenizer(folder)
    return folder


def test_the_published_folder(published, tmp_path):
    video = import_module("transformers.models.sam3_video.modeling_sam3_video").Sam3VideoModel.from_pretrained(
        published
    )
    model = SamModel.from_pretrained(published)
    assert model.config.capabilities.concepts and model.config.capabilities.text
    weights = model.state_dict()
    expected = {
        **{
            f"vision_encoder.backbone.{k}": v
            for k, v in video.detector_model.vision_encoder.backbone.state_dict().items()
        },
        **{f"vision_encoder.neck.{k}": v for k, v in video.tracker_neck.state_dict().items() if "layers.3" not in k},
        **{k: v for k, v in video.tracker_model.state_dict().items() if k in weights},
    }
    assert weights.keys() == expected.keys()
    assert all(torch.equal(value, weights[key]) for key, value in expected.items())
    with pytest.warns(UserWarning, match="the text part is not saved"):
        model.save_pretrained(tmp_path)
    again = SamModel.from_pretrained(tmp_path)
    assert not again.config.capabilities.concepts
    assert all(torch.equal(value, weights[key]) for key, value in again.state_dict().items())


def test_clicks_and_words_share_one_encoded_photo(published):
    photo = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    predictor = SamPredictor(published)
    calls = []
    predictor.model.vision_encoder.backbone.register_forward_hook(lambda *_: calls.append(1))
    predictor.set_image(photo)
    predictor.predict(np.array([[20, 20]]), np.array([1]))
    cats, dogs = predictor.find(["cat", "dog"], threshold=0.0)
    predictor.find(boxes=[[9, 6, 45, 30]], threshold=0.0)
    assert len(calls) == 1 and len(cats) == len(dogs) == 12
    assert predictor.backend.words.model.vision_encoder.backbone is predictor.model.vision_encoder.backbone
    other = copy.copy(predictor)
    assert len(other.find("cat", threshold=0.0)) == 12 and other.backend.words is predictor.backend.words

    from sam_hub.inference.concepts import ConceptFinder

    alone = ConceptFinder.from_pretrained(published, threshold=0.0).find(photo, "cat")
    np.testing.assert_allclose(cats.scores, alone.scores, atol=1e-5)
    assert (cats.masks != alone.masks).mean() < 1e-3
    boxes, scores = predictor.find_text("cat")
    assert len(boxes) == len(scores) == (alone.scores > 0.5).sum()


def test_words_on_a_saved_embedding(published, tmp_path):
    photo = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    predictor = SamPredictor(published)
    predictor.set_image(photo)
    expected = predictor.find("cat", threshold=0.0)
    predictor.save_embedding(tmp_path / "photo.safetensors")
    predictor.reset_image()
    predictor.load_embedding(tmp_path / "photo.safetensors")
    np.testing.assert_array_equal(predictor.find("cat", threshold=0.0).masks, expected.masks)
    predictor.model.to(torch.bfloat16)
    predictor.set_image(photo)
    assert len(predictor.find("cat", threshold=0.0)) == 12


def test_a_model_that_was_not_loaded():
    config = tiny_config("sam3")
    config.vision_config.output_trunk = True
    predictor = SamPredictor(SamModel(config).eval())
    predictor.set_image(np.zeros((40, 60, 3), np.uint8))
    with pytest.raises(PromptError, match="give a ConceptFinder"):
        predictor.find("cat")
