"""A tiny, untrained detector of transformers: its training data, and masks from its boxes."""

import json

import numpy as np
import pytest
import torch
from transformers import YolosConfig, YolosForObjectDetection, YolosImageProcessor

from sam_hub.data.sa1b import Sample
from sam_hub.engine.automatic import fill_from_boxes, waiting
from sam_hub.engine.detector import Detector, DetectorTraining, masks_of, score_for
from sam_hub.errors import ModelNotFoundError
from sam_hub.ops.masks import mask_to_rle
from sam_hub.ops.run_lengths import rle_to_mask

from .conftest import SIZE


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("yolos")
    config = YolosConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=[48, 64],
        patch_size=16, num_detection_tokens=6, num_labels=91,
    )  # fmt: skip
    YolosForObjectDetection(config).save_pretrained(folder)
    YolosImageProcessor(size={"height": 48, "width": 64}).save_pretrained(folder)
    return str(folder)


def sample(number):
    rng = np.random.default_rng(number)
    image, mask = rng.integers(0, 60, (*SIZE, 3), np.uint8), np.zeros(SIZE, bool)
    y, x = int(rng.integers(2, 10)), int(rng.integers(2, 14))
    mask[y : y + 10, x : x + 14] = True
    image[mask] += 150
    return Sample(f"{number}.png", image, [{"segmentation": mask_to_rle(mask)}])


class BoxModel:
    """Segments a box as the box itself."""

    def set_image(self, image):
        self.size = image.shape[:2]

    def predict_each(self, points, labels, boxes, mask_input, multimask):
        masks = np.zeros((len(boxes), 1, *self.size), bool)
        for mask, (x0, y0, x1, y1) in zip(masks[:, 0], np.rint(boxes).astype(int), strict=True):
            mask[y0:y1, x0:x1] = True
        return masks, np.full((len(boxes), 1), 0.9, np.float32), np.zeros((len(boxes), 1, 4, 4), np.float32)


def test_it_learns_one_class(tiny):
    detector = Detector(tiny, "cpu")
    assert detector.model.config.num_labels == 1 and detector.model.config.id2label == {0: "object"}
    losses = detector.fit([sample(i) for i in range(3)], DetectorTraining(steps=40, rate=2e-3, batch=2))
    assert len(losses) == 40 and np.mean(losses[-8:]) < 0.8 * np.mean(losses[:8])
    boxes, scores = detector.boxes(sample(0).image, 0.0)
    assert boxes.shape[1] == 4 and len(boxes) == len(scores) and (np.diff(scores) <= 0).all()
    assert (boxes >= 0).all() and (boxes <= [SIZE[1], SIZE[0]] * 2).all()


class Boxes:
    """A detector that finds the object of `sample`, and at a lower score something else."""

    def boxes(self, image, least):
        y, x = np.nonzero(image[..., 0] > 140)
        found = np.array([[x.min(), y.min(), x.max() + 1, y.max() + 1], [0, 0, 5, 5]], np.float32)
        scores = np.array([0.8, 0.3], np.float32)
        return found[scores >= least], scores[scores >= least]


def test_the_lowest_score_that_is_right_often_enough():
    learnt, held = [sample(i) for i in range(4)], [sample(i) for i in range(4, 6)]
    chosen = score_for(Boxes(), BoxModel(), learnt, held, 0.9)
    assert 0.3 < chosen.score <= 0.8 and (chosen.precision, chosen.kept) == (1.0, 4)
    assert (chosen.held_precision, chosen.held_kept) == (1.0, 2) and "1.00 of 4" in chosen.words()
    assert score_for(Boxes(), BoxModel(), learnt, [], 0.5).score == 0.05
    (record,) = masks_of(Boxes(), BoxModel(), learnt[0].image, chosen.score)
    assert (rle_to_mask(record["segmentation"]) == learnt[0].mask(0)).all()


def test_photos_are_filled_once(make_project):
    project = make_project(3, held_share=0.01)
    record = {"segmentation": mask_to_rle(sample(0).mask(0)), "predicted_iou": 0.9, "box": [1, 2, 3, 4], "score": 0.8}
    found = fill_from_boxes(project, waiting(project, "semi"), lambda image: [record], "yolos")
    assert (found.photos, found.masks) == (3, 3) and not waiting(project, "semi")
    (row,) = project.objects(1)
    assert row["state"] == "proposed" and json.loads(row["prompts"]) == {"box": [1, 2, 3, 4], "detector": "yolos"}


def test_what_is_no_detector_is_named(tmp_path):
    with pytest.raises(ModelNotFoundError, match="cannot be loaded as a detector"):
        Detector(str(tmp_path))
