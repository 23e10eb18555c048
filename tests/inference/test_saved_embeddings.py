"""Embeddings are saved, restored and assigned; those of other models are refused."""

import copy

import numpy as np
import pytest
import torch

from sam_hub.errors import CheckpointError
from sam_hub.inference.predictor import SamPredictor
from sam_hub.models.image_processing_sam import SamImageProcessor

from .small_model import LABELS, POINTS, WIDE


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
