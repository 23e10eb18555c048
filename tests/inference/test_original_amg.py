"""Our ``segment_anything.utils.amg`` functions against the original's."""

from types import ModuleType

import numpy as np
import pytest
import torch

from sam_hub.inference import original_amg as ours


@pytest.fixture(scope="module")
def theirs(original: ModuleType) -> ModuleType:
    original.load()
    from segment_anything.utils import amg

    return amg


def blobs(seed: int) -> torch.Tensor:
    """(4, 40, 50) bool, the last of them empty."""
    noise = torch.randn(4, 1, 10, 10, generator=torch.Generator().manual_seed(seed))
    masks = torch.nn.functional.interpolate(noise, (40, 50), mode="bicubic")[:, 0] > 0.4
    masks[-1] = False
    return masks


CROP, IMAGE = [30, 20, 110, 90], [0, 0, 120, 100]
BOXES = torch.tensor([[0, 5, 40, 30], [30.0, 30, 60, 50], [40, 25, 79, 69], [25, 25, 50, 45]])


@pytest.mark.parametrize("seed", [0, 1])
def test_masks(theirs: ModuleType, seed: int) -> None:
    masks = blobs(seed)
    assert torch.equal(ours.batched_mask_to_box(masks), theirs.batched_mask_to_box(masks))
    assert torch.equal(ours.batched_mask_to_box(masks[:, None]), theirs.batched_mask_to_box(masks[:, None]))
    rles = theirs.mask_to_rle_pytorch(masks)
    assert ours.mask_to_rle_pytorch(masks) == rles
    for rle, mask in zip(rles, masks, strict=True):
        assert np.array_equal(ours.rle_to_mask(rle), mask.numpy())
        assert ours.area_from_rle(rle) == theirs.area_from_rle(rle) == mask.sum()
        assert ours.coco_encode_rle(rle) == theirs.coco_encode_rle(rle)
        for mode in ("holes", "islands"):
            (a, changed), (b, also) = (f.remove_small_regions(mask.numpy(), 30, mode) for f in (ours, theirs))
            assert np.array_equal(a, b) and changed == also
    assert torch.equal(
        ours.uncrop_masks(masks, [3, 4, 53, 44], 60, 70), theirs.uncrop_masks(masks, [3, 4, 53, 44], 60, 70)
    )
    logits = torch.randn(3, 20, 30, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(
        ours.calculate_stability_score(logits, 0.0, 0.5), theirs.calculate_stability_score(logits, 0.0, 0.5)
    )


def test_boxes_points_and_crops(theirs: ModuleType) -> None:
    near = ours.is_box_near_crop_edge(BOXES, CROP, IMAGE, 5)
    assert torch.equal(near, theirs.is_box_near_crop_edge(BOXES, CROP, IMAGE, 5)) and near.any() and not near.all()
    assert torch.equal(ours.uncrop_boxes_xyxy(BOXES, CROP), theirs.uncrop_boxes_xyxy(BOXES, CROP))
    assert torch.equal(ours.uncrop_boxes_xyxy(BOXES[None], CROP), theirs.uncrop_boxes_xyxy(BOXES[None], CROP))
    assert torch.equal(ours.uncrop_points(BOXES[:, :2], CROP), theirs.uncrop_points(BOXES[:, :2], CROP))
    assert torch.equal(ours.box_xyxy_to_xywh(BOXES[0]), theirs.box_xyxy_to_xywh(BOXES[0]))
    assert ours.box_xyxy_to_xywh(BOXES)[1].tolist() == [30, 30, 30, 20]
    for a, b in zip(
        ours.build_all_layer_point_grids(8, 2, 2), theirs.build_all_layer_point_grids(8, 2, 2), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-12)
    boxes, layers = ours.generate_crop_boxes((90, 140), 2, 0.3)
    assert (sorted(map(tuple, boxes)), sorted(layers)) == tuple(
        sorted(v) if i else sorted(map(tuple, v)) for i, v in enumerate(theirs.generate_crop_boxes((90, 140), 2, 0.3))
    )
    batches = [list(map(list, b)) for b in ours.batch_iterator(3, range(7), range(7, 14))]
    assert batches == [list(map(list, b)) for b in theirs.batch_iterator(3, range(7), range(7, 14))]
    with pytest.raises(ValueError, match="one length"):
        next(ours.batch_iterator(2, [1], [1, 2]))


def test_nothing_that_callers_import_is_missing(theirs: ModuleType) -> None:
    functions = {n for n, v in vars(theirs).items() if callable(v) and getattr(v, "__module__", "") == theirs.__name__}
    assert functions == set(ours.__all__)


def test_facts_of_masks_stay_together(theirs: ModuleType) -> None:
    """``MaskData``, filtered by flags and by numbers, appended to and turned into arrays."""

    def tell(kind: type) -> dict:
        def new(start: int) -> object:
            numbers = torch.arange(start, start + 4)
            return kind(numbers=numbers, arrays=(numbers * 2).numpy(), names=[f"n{i}" for i in numbers.tolist()])

        data, other = new(0), new(10)
        data.filter(torch.tensor([True, False, True, True]))
        other.filter(torch.tensor([3, 1]))
        other["extra"] = [1, 2]
        data.cat(other)
        del other["names"]
        data.to_numpy()
        assert "names" not in dict(other.items()) and isinstance(data["numbers"], np.ndarray)
        return {name: list(values) for name, values in data.items()}

    assert tell(ours.MaskData) == tell(theirs.MaskData)
    with pytest.raises(TypeError, match="facts must be a list"):
        ours.MaskData(facts=3)
