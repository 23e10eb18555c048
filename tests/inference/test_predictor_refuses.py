"""What `SamPredictor` refuses, in one sentence each."""

import numpy as np
import pytest
import torch

from sam_hub.errors import ImageError, PromptError
from sam_hub.inference.predictor import SamPredictor

from .small_model import BOX, LABELS, POINTS, WIDE


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


def test_predict_torch_wants_tensors(predictor):
    with pytest.raises(PromptError, match="boxes must be a tensor here; `predict_each`"):
        predictor.predict_torch(None, None, BOX[None])
