"""Text prompts on the page with a model that understands them: no detector is used."""

import numpy as np
from sam_hub.demo.limits import Limits
from sam_hub.demo.models import ModelPool
from sam_hub.demo.service import SegmentationService

from sam_hub.ops.masks import rle_to_mask

from ..models import tiny_sam3
from .conftest import result


def test_every_instance_of_a_phrase(tmp_path, cat):
    tiny_sam3.save_video_folder(tmp_path, tiny_sam3.reference())
    tiny_sam3.save_tokenizer(tmp_path)
    limits = Limits()
    service = SegmentationService(ModelPool([str(tmp_path)], "cpu", limits), limits)
    key = result(service.encode(cat))["id"]
    result(service.words(key, "cat"))
    predictor = service.photos.get(key).predictor
    predictor.backend.words.threshold = 0.0
    masks = result(service.words(key, "cat"))["masks"]
    found = predictor.find("cat")
    assert len(masks) == len(found) == 12
    for told, (mask, score, box) in zip(masks, found, strict=True):
        assert told["name"] == "cat" and abs(told["score"] - score) < 1e-3 and np.allclose(told["box"], box, atol=0.06)
        assert (rle_to_mask(told["rle"]) == mask).all()
