import numpy as np
import pytest

from sam_hub.ops.boxes import (
    box_iou,
    near_crop_edge,
    nms,
    uncrop_boxes,
    uncrop_masks,
    uncrop_points,
    xyxy_to_xywh,
)


def test_xywh(amg: dict) -> None:
    np.testing.assert_array_equal(xyxy_to_xywh(amg["boxes.n4"]), amg["xywh"])


def test_iou_of_hand_made_boxes() -> None:
    a = np.array([[0, 0, 10, 10], [5, 5, 5, 5]], dtype=np.float64)
    b = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [5, 5, 5, 5]], dtype=np.float64)
    np.testing.assert_allclose(box_iou(a, b), [[1, 50 / 150, 0, 0], [0, 0, 0, np.nan]])


def nms_by_definition(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    """Go down the scores; keep a box unless one that was kept overlaps it by more than the threshold.

    As in torchvision's kernel the quotient is a float32 and the threshold a double: 3 / 10 is above 0.3.
    """
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        x0, y0, x1, y1 = boxes[i]
        for j in kept:
            u0, v0, u1, v1 = boxes[j]
            both = max(0.0, min(x1, u1) - max(x0, u0)) * max(0.0, min(y1, v1) - max(y0, v0))
            union = (x1 - x0) * (y1 - y0) + (u1 - u0) * (v1 - v0) - both
            if float(np.float32(both) / np.float32(union)) > threshold:
                break
        else:
            kept.append(i)
    return kept


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7, 1.0])
def test_nms_by_definition(threshold: float) -> None:
    rng = np.random.default_rng(3)
    corner = rng.integers(0, 60, (300, 2))
    boxes = np.concatenate([corner, corner + rng.integers(1, 40, (300, 2))], axis=1)
    scores = rng.integers(0, 40, 300) / 40  # many ties
    kept = nms(boxes, scores, threshold)
    assert kept.tolist() == nms_by_definition(boxes.astype(float), scores, threshold)
    assert 0 < len(kept) <= 300


def test_nms_edge_cases() -> None:
    assert nms(np.zeros((0, 4)), np.zeros(0), 0.7).shape == (0,)
    twice = np.array([[0, 0, 4, 4], [0, 0, 4, 4]])
    assert nms(twice, np.array([0.1, 0.2]), 0.7).tolist() == [1]
    assert nms(twice, np.array([0.2, 0.2]), 0.7).tolist() == [0]
    empty = np.array([[3, 3, 3, 3], [3, 3, 3, 3]])  # 0 / 0: neither suppresses the other, as in torchvision
    assert nms(empty, np.array([0.1, 0.2]), 0.7).tolist() == [1, 0]
    half = np.array([[0, 0, 4, 2], [0, 0, 4, 4]])  # an IoU equal to the threshold stays
    assert nms(half, np.array([0.1, 0.2]), 0.5).tolist() == [1, 0]


@pytest.mark.parametrize("case", [0, 1, 2])
def test_crop_edges(amg: dict, amg_spec: dict, case: int) -> None:
    spec = amg_spec["crop_edge"][case]
    boxes, crop, image = amg[f"crop_edge.{case}.boxes"], spec["crop_box"], spec["orig_box"]
    for tolerance in (20, 5):
        near = near_crop_edge(boxes, crop, image, tolerance)
        np.testing.assert_array_equal(near, amg[f"crop_edge.{case}.near_atol{tolerance}"].astype(bool))
    np.testing.assert_array_equal(near_crop_edge(boxes, crop, image), near_crop_edge(boxes, crop, image, 20))
    np.testing.assert_array_equal(uncrop_boxes(boxes, crop), amg[f"crop_edge.{case}.uncropped_boxes"])
    np.testing.assert_array_equal(uncrop_points(boxes[:, :2], crop), amg[f"crop_edge.{case}.uncropped_points"])


def test_uncrop_masks(amg: dict, amg_spec: dict) -> None:
    spec = amg_spec["uncrop_masks"]
    out = uncrop_masks(amg["masks"][9:11].astype(bool), spec["crop_box"], (spec["orig_h"], spec["orig_w"]))
    np.testing.assert_array_equal(out, amg["uncrop_masks.out"].astype(bool))
