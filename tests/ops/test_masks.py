import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from sam_hub.ops.masks import (
    mask_to_box,
    mask_to_polygons,
    mask_to_rle,
    mask_to_uncompressed_rle,
    remove_small_regions,
    rle_area,
    rle_to_mask,
    stability_score,
)

small_masks = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(lambda s: arrays(bool, s))


def test_run_lengths_are_the_original_ones(amg: dict, amg_spec: dict) -> None:
    spec, offsets = amg_spec["rle"], amg["rle.offsets"]
    for i, mask in enumerate(amg["masks"].astype(bool)):
        rle = mask_to_uncompressed_rle(mask)
        assert rle["size"] == spec["size"]
        assert rle["counts"] == amg["rle.counts"][offsets[i] : offsets[i + 1]].tolist(), amg_spec["mask_names"][i]
        assert mask_to_rle(mask) == {"size": spec["size"], "counts": spec["coco_compressed_counts"][i]}
        for form in (rle, mask_to_rle(mask)):
            assert rle_area(form) == spec["area"][i]
            np.testing.assert_array_equal(rle_to_mask(form), mask)


@given(small_masks)
def test_run_lengths_are_those_of_pycocotools(mask: np.ndarray) -> None:
    expected = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert mask_to_rle(mask)["counts"] == expected["counts"].decode()
    assert rle_to_mask(mask_to_rle(mask)).dtype == bool


@given(small_masks, st.integers(0, 2), st.integers(0, 2), st.integers(0, 2), st.integers(0, 2))
def test_a_window_has_the_run_lengths_of_its_frame(
    window: np.ndarray, left: int, right: int, top: int, bottom: int
) -> None:
    frame = np.pad(window, ((top, bottom), (left, right)))
    expected = coco_mask.encode(np.asfortranarray(frame.astype(np.uint8)))["counts"].decode()
    assert mask_to_rle(window, frame.shape, (left, top)) == {"size": list(frame.shape), "counts": expected}


def test_a_window_must_fit() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        mask_to_uncompressed_rle(np.ones((2, 3), bool), size=(4, 4), origin=(2, 0))


def test_boxes(amg: dict) -> None:
    masks = amg["masks"].astype(bool)
    np.testing.assert_array_equal(mask_to_box(masks), amg["boxes.n4"])
    np.testing.assert_array_equal(mask_to_box(masks[9]), amg["boxes.single"])
    batched = masks.reshape(3, 5, *masks.shape[1:])
    np.testing.assert_array_equal(mask_to_box(batched), amg["boxes.batched_3x5"])
    assert mask_to_box(masks[:0]).shape == (0, 4)


def test_stability_score(amg: dict, amg_spec: dict) -> None:
    logits = amg["stability.logits"]
    undefined = 0
    for case in amg_spec["stability"]:
        gold = amg[case["scores"]]
        score = stability_score(logits, case["mask_threshold"], case["threshold_offset"])
        undefined += np.isnan(gold).sum()
        np.testing.assert_allclose(score, np.nan_to_num(gold), rtol=0, atol=1e-6)  # 0 / 0 counts as unstable
    assert undefined


@pytest.mark.parametrize("mode", ["holes", "islands"])
def test_small_regions(amg: dict, amg_spec: dict, mode: str) -> None:
    masks = amg["small_regions.masks"].astype(bool)
    for case in amg_spec["small_regions"]:
        if case["mode"] != mode:
            continue
        for i, mask in enumerate(masks):
            cleaned, changed = remove_small_regions(mask, case["area_thresh"], mode)
            assert cleaned.dtype == bool and changed == case["changed"][i]
            np.testing.assert_array_equal(cleaned, amg[case["out"]][i].astype(bool))


def test_small_regions_wants_a_known_mode() -> None:
    with pytest.raises(ValueError, match="'holes' or 'islands'"):
        remove_small_regions(np.ones((2, 2), bool), 1, "spots")


def signed_area(outline: np.ndarray) -> float:
    """The shoelace formula; positive clockwise on the screen, where y points down."""
    x, y = outline.T.astype(float)
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def even_odd(outlines: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """For each pixel centre: is the number of vertical edges to its left odd?"""
    inside = np.zeros(shape, dtype=bool)
    for outline in outlines:
        for (xa, ya), (xb, yb) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
            if xa == xb:
                inside[min(ya, yb) : max(ya, yb), xa:] ^= True
            else:
                assert ya == yb, "an edge runs along the pixels"
    return inside


@given(small_masks)
def test_outlines_enclose_exactly_the_mask(mask: np.ndarray) -> None:
    outlines = mask_to_polygons(mask)
    np.testing.assert_array_equal(even_odd(outlines, mask.shape), mask)
    assert sum(map(signed_area, outlines)) == mask.sum()
    outer = sum(signed_area(o) > 0 for o in outlines)
    islands = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0] - 1
    assert outer == islands
    for outline in outlines:
        step = np.roll(outline, -1, axis=0) - outline
        assert ((step == 0).sum(axis=1) == 1).all(), "every edge goes along one axis and is not empty"
        assert ((step == 0) != (np.roll(step, 1, axis=0) == 0)).all(), "only corners are listed"


def test_outlines_of_hand_made_masks(amg: dict) -> None:
    assert mask_to_polygons(np.zeros((3, 4), bool)) == []
    one = np.zeros((3, 4), bool)
    one[1, 2] = True
    assert [o.tolist() for o in mask_to_polygons(one)] == [[[2, 1], [3, 1], [3, 2], [2, 2]]]
    ring = np.ones((3, 3), bool)
    ring[1, 1] = False
    outer, hole = mask_to_polygons(ring)
    assert signed_area(outer) == 9 and signed_area(hole) == -1
    for mask in amg["masks"].astype(bool):  # larger ones
        np.testing.assert_array_equal(even_odd(mask_to_polygons(mask), mask.shape), mask)
