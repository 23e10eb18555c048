"""Finding every instance of a concept: `ConceptFinder`."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sam_hub.errors import ModelNotFoundError, PromptError
from sam_hub.inference.concepts import ConceptFinder, enlarged

from ..models import tiny_sam3
from ..models.conftest import tiny_config

SIZE = (60, 90)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("words")
    tiny_sam3.reference().save_pretrained(path)
    tiny_sam3.save_tokenizer(path)
    return path


@pytest.fixture
def finder(folder) -> ConceptFinder:
    return ConceptFinder.from_pretrained(str(folder), threshold=0.0)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def outputs(finder: ConceptFinder, photo: np.ndarray, text: str, **boxes: torch.Tensor):
    """Straight from the model."""
    pixels = np.asarray(tiny_sam3.squashed(photo))
    ids = finder.tokenizer([text], padding="max_length", max_length=32, return_tensors="pt")
    with torch.no_grad():
        return finder.model(pixel_values=torch.from_numpy(pixels)[None], **ids, **boxes)


def test_every_instance_best_first(finder, photo):
    found = finder.find(photo, "cat with black ears")
    expected = tiny_sam3.instances_of_transformers(outputs(finder, photo, "cat with black ears"), SIZE, 0.0)
    order = expected["scores"].argsort(descending=True)
    assert len(found) == 12 and found.masks.shape == (12, *SIZE) and found.masks.dtype == bool
    np.testing.assert_allclose(found.scores, expected["scores"][order], atol=1e-6)
    inside = expected["boxes"][order].clip(torch.zeros(4), torch.tensor([90.0, 60, 90, 60]))
    np.testing.assert_allclose(found.boxes, inside, atol=1e-3)
    assert all(mask.shape == SIZE and box.shape == (4,) and 0 < score < 1 for mask, score, box in found)


def test_the_threshold(finder, photo):
    everything = finder.find(photo, "cat")
    middle = float(np.median(everything.scores))
    some = finder.find(photo, "cat", threshold=middle)
    assert 0 < len(some) < len(everything) and some.scores.min() > middle
    finder.threshold = middle
    assert len(finder.find(photo, "cat")) == len(some)


def test_nothing_found_has_the_shapes_of_the_photo(finder, photo):
    """``transformers`` gives masks of the decoder's size then."""
    found = finder.find(photo, "cat", threshold=1.0)
    assert (found.masks.shape, found.scores.shape, found.boxes.shape) == ((0, *SIZE), (0,), (0, 4))
    assert list(found) == []
    theirs = tiny_sam3.instances_of_transformers(outputs(finder, photo, "cat"), SIZE, 1.0)
    assert theirs["masks"].shape == (0, 32, 32)


def test_masks_are_enlarged_as_logits(finder, photo):
    """``transformers`` enlarges probabilities, which moves outlines from where logits are steep."""
    found, raw = finder.find(photo, "cat"), outputs(finder, photo, "cat")
    theirs = tiny_sam3.instances_of_transformers(raw, SIZE, 0.0)
    order = theirs["scores"].argsort(descending=True)
    logits = F.interpolate(raw.pred_masks, SIZE, mode="bilinear", align_corners=False)[0, order]
    sure = logits.abs() > 1e-3
    assert (torch.from_numpy(found.masks) == (logits > 0))[sure].all()
    assert (theirs["masks"][order].bool() != (logits > 0))[sure].sum() > 100
    steep = torch.tensor([[[-1.0, 8.0]]])
    assert enlarged(steep, (1, 8)).sum() == 6 and (F.interpolate(steep.sigmoid(), 8, mode="linear") > 0.5).sum() == 5


def test_several_texts_on_one_photo_encode_it_once(finder, photo):
    calls = []
    finder.model.vision_encoder.backbone.register_forward_hook(lambda *_: calls.append(1))
    first = finder.find(photo, "cat")
    assert not np.array_equal(finder.find(photo, "dog").scores, first.scores)
    np.testing.assert_array_equal(finder.find(photo, "cat").masks, first.masks)
    assert len(calls) == 1
    finder.find(photo[:, ::-1], "cat")
    assert len(calls) == 2


def test_example_boxes(finder, photo):
    boxes, labels = [[9, 6, 45, 30], [50, 20, 88, 58]], [1, 0]
    found = finder.find(photo, "cat", boxes, labels)
    centred = torch.tensor([[[0.3, 0.3, 0.4, 0.4], [69 / 90, 39 / 60, 38 / 90, 38 / 60]]])
    raw = outputs(finder, photo, "cat", input_boxes=centred, input_boxes_labels=torch.tensor([labels]))
    expected = (raw.pred_logits.sigmoid() * raw.presence_logits.sigmoid())[0].sort(descending=True).values
    np.testing.assert_allclose(found.scores, expected, atol=1e-6)
    other = finder.find(photo, "cat", boxes)  # all of them are examples
    assert np.abs(other.scores - found.scores).max() > 1e-4


def test_boxes_alone_stand_for_the_word_visual(finder, photo):
    box = [[9, 6, 45, 30]]
    np.testing.assert_array_equal(finder.find(photo, boxes=box).scores, finder.find(photo, "visual", box).scores)


def test_long_texts_are_cut(finder, photo):
    """``transformers`` pads to 32 tokens and cuts none, which its text encoder refuses."""
    long = "a b c d e f g h i j k l m n o p q r s t u v w x y z a b c d e f g h"
    assert len(finder.find(photo, long)) == len(finder.find(photo, "a")) == 12
    ids = finder.tokenizer([long], padding="max_length", max_length=32, return_tensors="pt")
    with pytest.raises(ValueError, match="32"), torch.no_grad():
        finder.model(pixel_values=torch.zeros(1, 3, 112, 112), **ids)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "no prompt given"),
        ({"text": "  "}, "the text is empty"),
        ({"boxes": [[1, 2, 3, 4]], "labels": [0]}, "every example box has label 0"),
        ({"text": "cat", "labels": [1]}, "labels were given without boxes"),
        ({"text": "cat", "boxes": [[1, 2, 3]]}, r"boxes must be \(K, 4\)"),
        ({"text": "cat", "boxes": [[5, 5, 2, 9]]}, "reversed or empty"),
        ({"text": "cat", "boxes": [[500, 5, 600, 9]]}, "outside the image, which is 90 x 60"),
        ({"text": "cat", "boxes": [[1, 2, 3, 4]], "labels": [2]}, "labels must be 1 .an example. or 0"),
        ({"text": "cat", "boxes": [[1, 2, 3, 4]], "labels": [1, 0]}, "labels must be 1 .an example. or 0"),
    ],
)
def test_prompts_that_mean_nothing(finder, photo, arguments, sentence):
    with pytest.raises(PromptError, match=sentence):
        finder.find(photo, **arguments)


def test_bfloat16(finder, photo):
    expected = finder.find(photo, "cat")
    finder.model.to(torch.bfloat16)
    found = finder.find(photo, "cat", [[9, 6, 45, 30]])
    assert found.scores.dtype == np.float32 and np.isfinite(found.scores).all() and len(found) == len(expected)


def test_a_folder_without_a_tokenizer(tmp_path, monkeypatch):
    """CLIP's own is looked for instead."""
    tiny_sam3.reference().save_pretrained(tmp_path / "model")
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr("sam_hub.inference.concepts.TOKENIZER", str(tmp_path / "empty"))
    with pytest.raises(ModelNotFoundError, match=r"no tokenizer in .*empty; give the folder or Hub id"):
        ConceptFinder.from_pretrained(str(tmp_path / "model"))


def test_a_predictor_of_another_model(finder, photo):
    """It does not understand text itself, and accepts a finder."""
    from sam_hub.inference.predictor import SamPredictor
    from sam_hub.models.modeling_sam import SamModel

    model = SamModel(tiny_config()).eval()
    predictor = SamPredictor(model)
    predictor.set_image(photo)
    with pytest.raises(PromptError, match="this model takes no text; choose"):
        predictor.find("cat")
    predictor = SamPredictor(model, text=finder)
    with pytest.raises(RuntimeError, match="no image is set"):
        predictor.find("cat")
    predictor.set_image(photo)
    cats, dogs = predictor.find(["cat", "dog"])
    np.testing.assert_array_equal(cats.masks, finder.find(photo, "cat").masks)
    assert not np.array_equal(cats.scores, dogs.scores)
    boxes, scores = predictor.find_text("cat")
    np.testing.assert_array_equal(boxes, cats.boxes)
    np.testing.assert_array_equal(scores, cats.scores)
    masks, *_ = predictor.predict(text="cat", multimask_output=False)
    np.testing.assert_array_equal(masks, predictor.predict(box=cats.boxes[0], multimask_output=False)[0])
