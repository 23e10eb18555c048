"""Text prompts with detectors and a CLIP with random weights: all code runs, the results are meaningless."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    BertTokenizer,
    CLIPConfig,
    CLIPModel,
    CLIPTokenizer,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoProcessor,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2Processor,
)
from transformers.models.grounding_dino.image_processing_pil_grounding_dino import GroundingDinoImageProcessorPil
from transformers.models.owlv2.image_processing_pil_owlv2 import Owlv2ImageProcessorPil
from typer.testing import CliRunner, Result

from sam_hub.cli import app
from sam_hub.errors import ModelNotFoundError, PromptError
from sam_hub.inference.predictor import SamPredictor
from sam_hub.inference.text import ClipText, TextDetector
from sam_hub.models.configuration_sam import SamConfig
from sam_hub.models.modeling_sam import SamModel
from sam_hub.models.text_prompt import clip_embedding_inside
from sam_hub.training.text import add_text_projection

from ..models.conftest import randomise, tiny_config

LETTERS = [chr(c) for c in range(97, 123)]
WORDS = [*LETTERS, *(f"{c}</w>" for c in LETTERS), "<|startoftext|>", "<|endoftext|>"]
TEXT = dict(
    hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=16,
    vocab_size=len(WORDS), bos_token_id=len(WORDS) - 2, eos_token_id=len(WORDS) - 1,
)  # fmt: skip
VISION = dict(hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2)


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return CLIPTokenizer(vocab={w: i for i, w in enumerate(WORDS)}, merges=[], model_max_length=16)


@pytest.fixture(scope="module")
def clip() -> CLIPModel:
    torch.manual_seed(0)
    return CLIPModel(
        CLIPConfig(text_config=TEXT, vision_config={**VISION, "image_size": 32, "patch_size": 8}, projection_dim=12)
    ).eval()


def owl(folder: Path, tokenizer: CLIPTokenizer) -> None:
    config = Owlv2Config(
        text_config=TEXT, vision_config={**VISION, "image_size": 48, "patch_size": 16}, projection_dim=16
    )
    Owlv2ForObjectDetection(config).save_pretrained(folder)
    processor = Owlv2ImageProcessorPil(size={"height": 48, "width": 48})
    Owlv2Processor(image_processor=processor, tokenizer=tokenizer).save_pretrained(folder)


def grounding_dino(folder: Path, tokenizer: CLIPTokenizer) -> None:
    """With a BERT vocabulary of letters, where the marks that split phrases have the numbers that the model expects."""
    words = {i: f"[unused{i}]" for i in range(1030)}
    words |= {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: ".", 1029: "?"}
    words |= {200 + i: c for i, c in enumerate(LETTERS)} | {300 + i: f"##{c}" for i, c in enumerate(LETTERS)}
    letters = BertTokenizer(vocab={word: i for i, word in words.items()}, model_max_length=32)
    layers = dict(num_hidden_layers=2, num_attention_heads=2, hidden_size=16, intermediate_size=20)
    config = GroundingDinoConfig(
        backbone_config=dict(
            model_type="swin", image_size=64, patch_size=4, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2],
            window_size=4, out_indices=[2, 3, 4],
        ),
        text_config=dict(model_type="bert", vocab_size=len(words), max_position_embeddings=32, **layers),
        d_model=32, encoder_layers=2, decoder_layers=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
        encoder_attention_heads=2, decoder_attention_heads=2, num_queries=12, max_text_len=32,
    )  # fmt: skip
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    processor = GroundingDinoImageProcessorPil(size={"height": 128, "width": 128})
    GroundingDinoProcessor(image_processor=processor, tokenizer=letters).save_pretrained(folder)


@pytest.fixture(scope="module", params=[owl, grounding_dino])
def detector(
    request: pytest.FixtureRequest, tokenizer: CLIPTokenizer, tmp_path_factory: pytest.TempPathFactory
) -> TextDetector:
    """One that was saved and loaded."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("detector")
    request.param(folder, tokenizer)
    return TextDetector.from_pretrained(str(folder), threshold=0.0)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)


def test_boxes_lie_in_the_photo_best_first(detector, photo):
    boxes, scores = detector.find(photo, " a  cat ")
    assert len(boxes) == len(scores) > 1 and (np.diff(scores) <= 0).all()
    assert (boxes >= 0).all() and (boxes <= [60, 40, 60, 40]).all() and (boxes[:, 2:] > boxes[:, :2]).all()
    assert np.array_equal(detector.find(photo, "a cat")[0], boxes)
    assert not np.array_equal(detector.find(photo, "zebu")[1], scores)  # the words are read


def test_nothing_above_the_threshold(detector, photo):
    strict = TextDetector(detector.model, detector.processor, threshold=1.1)
    assert strict.find(photo, "a cat")[0].shape == (0, 4)
    with pytest.raises(PromptError, match="'a cat'"):
        strict.best(photo, "a cat")
    with pytest.raises(PromptError, match="empty"):
        detector.find(photo, "  ")


def test_the_predictor_prompts_with_the_best_box(detector, photo):
    model = randomise(SamModel(tiny_config(image_size=64))).eval()
    predictor = SamPredictor(model, text=detector)
    predictor.set_image(photo)
    boxes, _ = predictor.find_text("a cat")
    by_text = predictor.predict(text="a cat", multimask_output=False)
    by_box = predictor.predict(box=boxes[0], multimask_output=False)
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(by_text, by_box, strict=True))
    clicks = dict(point_coords=[[30, 20]], point_labels=[1])
    assert not np.array_equal(predictor.predict(text="a cat", **clicks)[2], predictor.predict(text="a cat")[2])
    with pytest.raises(PromptError, match="either text or a box"):
        predictor.predict(text="a cat", box=boxes[0])
    predictor.reset_image()
    with pytest.raises(RuntimeError, match="no image"):
        predictor.predict(text="a cat")


def test_a_detector_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(ModelNotFoundError, match="OWLv2"):
        TextDetector.from_pretrained(str(tmp_path / "nowhere"))


def test_clip_sees_only_what_the_mask_shows(clip):
    crops = torch.randn(2, 3, 32, 32)
    everything = torch.ones(2, 32, 32, dtype=torch.bool)
    with torch.no_grad():
        whole = clip.get_image_features(pixel_values=crops)
        whole = getattr(whole, "pooler_output", whole)
        assert torch.allclose(clip_embedding_inside(clip, crops, everything), whole, atol=1e-5)
        assert torch.allclose(clip_embedding_inside(clip, crops, ~everything), whole, atol=1e-5)
        left = everything.clone()
        left[:, :, 8:] = False
        part = clip_embedding_inside(clip, crops, left)
        assert (part - whole).abs().max() > 1e-4
        # Only the last layer is barred, so with a single layer what lies outside cannot matter at all.
        clip.vision_model.encoder.layers, kept = clip.vision_model.encoder.layers[-1:], clip.vision_model.encoder.layers
        other = crops.clone()
        other[:, :, :, 8:] += 1
        same = [clip_embedding_inside(clip, c, left) for c in (crops, other)]
        clip.vision_model.encoder.layers = kept
    assert torch.allclose(*same, atol=1e-6)


def test_words_are_a_prompt_of_a_model_that_learnt_them(clip, tokenizer, photo, tmp_path):
    model = add_text_projection(randomise(SamModel(tiny_config(image_size=64))), clip).eval()
    model.save_pretrained(tmp_path)
    again = SamModel.from_pretrained(tmp_path)
    assert again.config.text_embedding_size == 12 and SamConfig.from_pretrained(tmp_path).model_type == "sam_hub"
    words = ClipText(clip, tokenizer)
    results = []
    for which in (model, again):
        predictor = SamPredictor(which.eval(), text=words)
        predictor.set_image(photo)
        results.append([predictor.predict(text=t)[2] for t in ("a cat", "zebu")])
    assert np.array_equal(results[0], results[1]) and not np.array_equal(*results[0])
    assert results[0][0].shape == (3, 16, 16)
    clicked = predictor.predict([[30, 20]], [1], text="a cat")[2]
    assert not np.array_equal(clicked, results[0][0])
    with pytest.raises(PromptError, match="CLIP finds no boxes"):
        predictor.find_text("a cat")
    plain = SamPredictor(randomise(SamModel(tiny_config(image_size=64))).eval(), text=words)
    plain.set_image(photo)
    with pytest.raises(PromptError, match="takes no text"):
        plain.predict(text="a cat")
    assert words.embed("a cat").shape == (1, 1, 12)
    with pytest.raises(PromptError, match="empty"):
        words.embed("")


def test_words_in_a_shell(clip, tokenizer, photo, tmp_path):
    """Train with a CLIP, then prompt with text; every misuse gives one sentence."""

    def sam_hub(*arguments: object) -> Result:
        return CliRunner().invoke(app, [*map(str, arguments)])

    learnt, spoken, data = tmp_path / "learnt", tmp_path / "clip", tmp_path / "data"
    clip.save_pretrained(spoken)
    tokenizer.save_pretrained(spoken)
    plain = tmp_path / "plain"
    randomise(SamModel(tiny_config(image_size=64))).save_pretrained(plain)
    for kind in ("images", "masks"):
        (data / kind).mkdir(parents=True)
    square = np.zeros((40, 60), np.uint8)
    square[10:30, 10:40] = 1
    for i in range(4):
        Image.fromarray(photo).save(data / "images" / f"{i}.png")
        Image.fromarray(square).save(data / "masks" / f"{i}.png")
    train = ("train", "--data", data, "--model", plain, "--out", learnt, "--steps", 2, "--views", 1, "--batch", 1)
    result = sam_hub(*train, "--clip", spoken)
    assert result.exit_code == 0, result.stderr
    assert SamModel.from_pretrained(learnt).config.text_embedding_size == 12

    picture, out = data / "images" / "0.png", tmp_path / "out"
    asked = ("segment", picture, "--out", out, "--text", "a cat", "--clip", spoken, "--model")
    result = sam_hub(*asked, learnt, "--format", "json", "--multimask")
    assert result.exit_code == 0, result.stderr
    records = json.loads((out / "0.mask.json").read_text())["annotations"]
    assert len(records) == 3 and records[0]["input_text"] == "a cat"
    for wrong, code, said in (
        ((*asked, plain), 1, "takes no text"),
        ((*asked[:-2], tmp_path / "nowhere", "--model", learnt), 1, "CLIP"),
        ((*asked[:4], "--point", "3,3", "--clip", spoken), 2, "--text"),
    ):
        result = sam_hub(*wrong)
        assert result.exit_code == code and said in result.stderr and "Traceback" not in result.stderr


def test_a_model_learns_from_pictures_of_objects(clip):
    from sam_hub.models.loss import LossWeights
    from sam_hub.training.episodes import ViewPreparation
    from sam_hub.training.recipe import PromptRecipe
    from sam_hub.training.text import TextStep, object_crops

    model = randomise(SamModel(tiny_config(image_size=64)))
    step = TextStep(model, clip, ViewPreparation(64, 64, (127.0,) * 3, (128.0,) * 3), PromptRecipe(), LossWeights())
    labels = torch.zeros(1, 2, 16, 16)
    labels[0, 0, 2:8, 3:9] = labels[0, 1, 8:15, 9:15] = 1
    pixels = torch.randn(1, 3, 64, 64)
    step(labels, torch.tensor([3]), ("first", "click"), pixel_values=pixels)["loss"].backward()
    assert model.text_projection.linear.weight.grad.abs().sum() > 0
    assert not [p for p in clip.parameters() if p.grad is not None]
    assert not [n for n in step.state_dict() if "clip" in n]
    # The crop: centred on the object, square, black outside of the image and, half the time, outside of the mask.
    image = torch.ones(1, 3, 64, 64)
    crops, inside = object_crops(image.expand(40, -1, -1, -1), labels.expand(40, -1, -1, -1), 32, [
        torch.Generator().manual_seed(i) for i in range(40)
    ])  # fmt: skip
    assert crops.shape == (40, 2, 3, 32, 32) and inside[:, :, 16, 16].all()
    blank = ((crops[:, :, 0] > 0) <= inside).flatten(2).all(-1)
    assert 0.3 < blank.float().mean() < 0.7
    share = inside[:, 0].float().mean((1, 2))  # a square object: 1 / factor^2, the factor from 1 to 2
    assert share.min() > 0.2 and share.max() <= 1 and share.std() > 0.1
