"""Everything mode against the original generator on real photos: `pocket`, and the shape of SAM ViT-B."""

import io
import tarfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from sam_hub import SamModel
from sam_hub.inference.amg import SamAutomaticMaskGenerator
from sam_hub.inference.predictor import SamPredictor
from sam_hub.ops.masks import compress_rle, mask_to_rle

LAX = {  # so that there are many masks; those of random weights are much alike, and none is suppressed
    "pocket": dict(pred_iou_thresh=0.3, stability_score_thresh=0.3, stability_score_offset=0.5),
    "vit_shaped": dict(stability_score_thresh=0.8, box_nms_thresh=1.0, crop_nms_thresh=1.0),
}
WORK = [  # crop layers and points per side
    *[(0, 4, mode) for mode in ("binary_mask", "uncompressed_rle", "coco_rle")],
    (1, 2, "coco_rle"),
]


@pytest.fixture(scope="module")
def photos(shared_data: Path) -> list[np.ndarray]:
    """Two photos of each of six sources, the smallest ones."""
    found = []
    for path in sorted((shared_data / "val").glob("*.tar"))[:6]:
        with tarfile.open(path) as shard:
            names = [name for name in shard.getnames() if name.endswith(".jpg")][:2]
            found += [np.asarray(Image.open(io.BytesIO(shard.extractfile(n).read())).convert("RGB")) for n in names]
    assert len(found) >= 10
    return found


def rle(segmentation) -> dict:
    if isinstance(segmentation, np.ndarray):
        return mask_to_rle(segmentation)
    return segmentation if isinstance(segmentation["counts"], str) else compress_rle(segmentation)


@pytest.mark.parametrize("kind", ["pocket", "vit_shaped"])
def test_the_originals_masks_on_photos(original: ModuleType, photos: list, kind: str, request) -> None:
    """At least 99.5 % of them at an IoU of 0.99 and more, no others, in the same order."""
    model = SamModel.from_pretrained("pocket").eval() if kind == "pocket" else request.getfixturevalue(kind)
    predictor, sam = SamPredictor(model, cache_size=0), original.original_sam(model)
    total = matched = 0
    for number, photo in enumerate(photos):
        layers, points, mode = WORK[number % len(WORK)]
        arguments = dict(LAX[kind], points_per_side=points, crop_n_layers=layers, output_mode=mode)
        ours = SamAutomaticMaskGenerator(predictor, **arguments).generate(photo)
        theirs = original.load().SamAutomaticMaskGenerator(sam, **arguments).generate(photo)
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert type(a["segmentation"]) is type(b["segmentation"]) and list(a) == list(b)
            total += 1
            matched += coco_mask.iou([rle(a["segmentation"])], [rle(b["segmentation"])], [0])[0, 0] >= 0.99
            assert a["point_coords"][0] == pytest.approx(b["point_coords"][0]) and a["crop_box"] == b["crop_box"]
    assert total > 2 * len(photos) and matched >= 0.995 * total, f"{matched} of {total}"
